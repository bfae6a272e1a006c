import { readFileSync } from 'node:fs'
import { parser } from '@prometheus-io/lezer-promql'
import { parse } from 'yaml'
import { dashboard } from '../../grafana/dashboard.ts'
import { openMetrics } from '../../src/metrics/registry.ts'

export interface Asked {
  /** Where it stands: a panel's title or an alert's name. */
  readonly where: string
  readonly expr: string
}

export interface Alert {
  readonly alert: string
  readonly expr: string
  readonly labels: { readonly severity: string }
  readonly annotations: { readonly summary: string; readonly description: string; readonly runbook: string }
}

export const RULES = 'grafana/prometheus/rules.yml'

export function alerts(): Alert[] {
  const { groups } = parse(readFileSync(RULES, 'utf8')) as { groups: { rules: Alert[] }[] }
  return groups.flatMap((group) => group.rules)
}

/** Every query of the dashboard, with what Grafana puts in for its variables. */
export function panelQueries(): Asked[] {
  return dashboard.rows.flatMap((row) => row.panels).flatMap((panel) =>
    panel.queries.map(({ expr }) => ({ where: panel.title, expr: withoutVariables(expr) })))
}

export function withoutVariables(expr: string): string {
  return expr.replaceAll('$__rate_interval', '1m').replaceAll('$pipeline', '.*').replaceAll('$table', '.*')
}

/** Series that a query selects: the metric's name, and the labels that it asks for. Throws where it cannot be parsed. */
export function selected({ where, expr }: Asked): { metric: string; labels: string[] }[] {
  const found: { metric: string; labels: string[] }[] = []
  parser.parse(expr).iterate({
    enter(node) {
      if (node.type.isError) throw new Error(`${where}: ${expr.slice(0, node.from)}▶${expr.slice(node.from)}`)
      if (node.name === 'VectorSelector') found.push({ metric: '', labels: [] })
      if (node.name === 'Identifier' && node.node.parent?.name === 'VectorSelector') found.at(-1)!.metric = expr.slice(node.from, node.to)
      if (node.name === 'LabelName' && node.matchContext(['LabelMatchers', 'UnquotedLabelMatcher'])) found.at(-1)!.labels.push(expr.slice(node.from, node.to))
    },
  })
  return found
}

/** Numbers that a comparison of this query is against. */
export function comparedWith(expr: string): number[] {
  const found: number[] = []
  parser.parse(expr).iterate({
    enter(node) {
      if (node.name !== 'BinaryExpr' || !/^(Gtr|Lss|Gte|Lte)$/.test(node.node.firstChild?.nextSibling?.name ?? '')) return
      const right = node.node.lastChild!
      const text = expr.slice(right.from, right.to)
      const number = /^[0-9.]+/.exec(text)
      if (number) found.push(Number(number[0]))
    },
  })
  return found
}

/** Names of all series that a process of ours exports, those without a sample included, with the labels of ours. */
export async function exported(): Promise<Set<string>> {
  const { text } = await openMetrics('any').scrape()
  return new Set([...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].flatMap(([, name, type]) =>
    (type === 'histogram' ? [`${name}_bucket`, `${name}_sum`, `${name}_count`] : [name])))
}

/** Metrics of others: Prometheus itself, kafka_exporter, kafka-lag-exporter, postgres_exporter (before and since 0.20), redis_exporter. */
export const OF_OTHERS: ReadonlySet<string> = new Set([
  'up',
  'kafka_consumergroup_lag', 'kafka_consumergroup_group_lag', 'kafka_consumergroup_group_max_lag', 'kafka_consumergroup_group_max_lag_seconds',
  'pg_replication_slots_active', 'pg_replication_slot_slot_is_active', 'pg_replication_slots_slot_is_active', 'pg_stat_database_deadlocks',
  'redis_up',
])
