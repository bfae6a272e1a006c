import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { dashboard } from '../../grafana/dashboard.ts'
import { ABOVE_NOTHING, render } from '../../grafana/render.ts'
import { STAGES } from '../../src/meter.ts'
import { METRICS, type MetricName } from '../../src/metrics/set.ts'
import { alerts, comparedWith, exported, OF_OTHERS, panelQueries, selected, withoutVariables } from '../support/panel-queries.ts'

interface Placed {
  readonly id: number
  readonly type: string
  readonly title: string
  readonly description?: string
  readonly datasource?: { readonly uid: string }
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number }
  readonly fieldConfig?: { readonly defaults: { readonly unit: string; readonly thresholds: { readonly steps: readonly { readonly value: number | null }[] } } }
  readonly targets?: readonly { readonly expr: string; readonly refId: string; readonly datasource: { readonly uid: string } }[]
}
interface Board {
  readonly uid: string
  readonly panels: readonly Placed[]
  readonly templating: { readonly list: readonly { readonly name: string; readonly type: string; readonly query: string | { readonly query: string } }[] }
}

const text = readFileSync('grafana/dashboards/rekey.json', 'utf8')
const board = JSON.parse(text) as Board
const panels = board.panels.filter((panel) => panel.type !== 'row')
const queries = [...panelQueries(), ...alerts().map(({ alert, expr }) => ({ where: alert, expr }))]
const ours = await exported()

describe('the dashboard', () => {
  it('is what its description makes (npm run dashboards)', () => expect(text).toBe(render(dashboard)))

  it('has its rows in order, under an address that stays', () => {
    expect(board.uid).toBe('rekey')
    const order = ['Can I cut over?', 'Source and slot', 'Kafka', 'Apply', 'Id map', 'Verification', 'Objects', 'Process']
    const titles = board.panels.filter((panel) => panel.type === 'row').map((panel) => panel.title)
    expect(titles).toEqual(order.filter((title) => titles.includes(title)))
    expect(titles.length).toBeGreaterThanOrEqual(5)
    for (const { title, panels: some } of dashboard.rows) expect(some.length, title).toBeGreaterThan(0)
  })

  it('has panels that say what they show, in a unit, from the data source that was chosen', () => {
    expect(panels.length).toBeGreaterThan(20)
    for (const { title, description, fieldConfig, datasource, targets = [] } of panels) {
      expect(title).not.toBe('')
      expect(description, title).toMatch(/\.$/)
      expect(fieldConfig!.defaults.unit, title).toMatch(/^(none|short|s|bytes|binBps|percentunit|rowsps|cps)$/)
      expect([datasource, ...targets.map((t) => t.datasource)].map((source) => source!.uid), title).toEqual(Array(targets.length + 1).fill('${datasource}'))
      expect(targets.length, title).toBeGreaterThan(0)
    }
    for (const of of [panels.map((p) => p.title), board.panels.map((p) => p.id)]) expect(new Set<unknown>(of).size).toBe(of.length)
  })

  it('has no panel over another, or too small to read', () => {
    const taken = new Map<string, string>()
    for (const { title, type, gridPos: { x, y, w, h } } of board.panels) {
      expect(x + w, title).toBeLessThanOrEqual(24)
      if (type !== 'row') expect(w >= 4 && h >= 4, title).toBe(true)
      for (let i = x; i < x + w; i++) {
        for (let j = y; j < y + h; j++) {
          expect(taken.get(`${i} ${j}`), `${title} over another`).toBeUndefined()
          taken.set(`${i} ${j}`, title)
        }
      }
    }
  })

  it('lets the data source, pipelines and tables be chosen', () => {
    const list = board.templating.list
    expect(list.map(({ name, type }) => `${name} ${type}`)).toEqual(['datasource datasource', 'pipeline query', 'table query'])
    for (const { query } of list) {
      if (typeof query === 'string') continue
      const inner = /^label_values\((.*), \w+\)$/.exec(query.query)![1]
      for (const { metric } of selected({ where: query.query, expr: withoutVariables(inner) })) expect(ours.has(metric), metric).toBe(true)
    }
    for (const { expr = '' } of panels.flatMap((panel) => panel.targets ?? [])) if (/rekey_/.test(expr)) expect(expr).toContain('pipeline=~"$pipeline"')
  })

  it('draws its thresholds where the alerts are', () => {
    const all = new Map(alerts().map((alert) => [alert.alert, alert.expr]))
    const marked = dashboard.rows.flatMap((row) => row.panels).filter((panel) => panel.alerts)
    expect(marked.length).toBeGreaterThan(4)
    for (const { title, alerts: named = [] } of marked) {
      for (const { name, at } of named) expect(comparedWith(all.get(name) ?? ''), `${title}: ${name}`).toContain(at)
      const steps = panels.find((panel) => panel.title === title)!.fieldConfig!.defaults.thresholds.steps
      expect(steps.map((step) => step.value), title).toEqual([null, ...named.map(({ at }) => (at === 0 ? ABOVE_NOTHING : at)).sort((a, b) => a - b)])
    }
  })
})

describe('queries of the dashboard and of the alerts', () => {
  it('can be parsed, and a broken one would be found', () => {
    expect(queries.length).toBeGreaterThan(50)
    for (const query of queries) expect(selected(query).length, query.where).toBeGreaterThan(0)
    expect(() => selected({ where: 'broken', expr: 'sum(rate(rekey_up[5m])' })).toThrow('broken')
  })

  it('name only metrics that we export, or those of others that are listed, and only labels that these have', () => {
    const used = new Set<string>()
    for (const query of queries) {
      for (const { metric, labels } of selected(query)) {
        used.add(metric)
        expect(ours.has(metric) || OF_OTHERS.has(metric), `${query.where}: ${metric}`).toBe(true)
        const known = METRICS[metric.replace(/_(bucket|sum|count)$/, '') as MetricName]?.labels ?? []
        const wrong = ours.has(metric) ? labels.filter((label) => label !== 'pipeline' && !(known as readonly string[]).includes(label)) : []
        expect(wrong, `${query.where}: ${metric}`).toEqual([])
      }
    }
    expect([...OF_OTHERS].filter((name) => !used.has(name))).toEqual([])
  })

  it('show every metric of ours somewhere', () => {
    const used = new Set(queries.flatMap((query) => selected(query)).map(({ metric }) => metric.replace(/_(bucket|sum|count)$/, '')))
    expect(Object.keys(METRICS).filter((name) => !used.has(name))).toEqual([])
  })

  it('name stages of the one list', () => {
    const stages = queries.flatMap(({ expr }) => [...expr.matchAll(/stage!?="(\w+)"/g)].map((found) => found[1]))
    expect(stages.length).toBeGreaterThan(5)
    for (const stage of stages) expect(STAGES).toContain(stage)
  })
})

describe('the documentation', () => {
  const docs = readFileSync('docs/operations.md', 'utf8')

  it('says of each alert what it means and what to do', () => {
    for (const { alert, labels, annotations } of alerts()) {
      const section = new RegExp(`^### ${alert}\\n(Critical|Warning)\\. \\S`, 'm').exec(docs)
      expect(section?.[1].toLowerCase(), alert).toBe(labels.severity)
      expect(annotations.runbook).toBe(`docs/operations.md#${alert.toLowerCase()}`)
    }
    expect([...docs.matchAll(/^### ([A-Z]\w+)$/gm)].map((found) => found[1]).filter((name) => name !== 'Metrics').sort())
      .toEqual(alerts().map((alert) => alert.alert).sort())
  })

  it('lists each metric with its labels', () => {
    const rows = Object.entries(METRICS).map(([name, { help, labels }]) => `| \`${name}\` | ${labels.map((label) => `\`${label}\``).join(', ')} | ${help} |`)
    expect(docs.split('\n').filter((line) => line.startsWith('| `rekey_'))).toEqual(rows)
  })
})

describe('provisioning', () => {
  it('is YAML, and finds the dashboard and the data source', () => {
    const read = (file: string): Record<string, any> => parse(readFileSync(file, 'utf8'))
    expect(read('grafana/provisioning/dashboards/rekey.yml')).toMatchObject({ apiVersion: 1, providers: [{ type: 'file' }] })
    expect(read('grafana/provisioning/datasources/prometheus.yml')).toMatchObject({ apiVersion: 1, datasources: [{ type: 'prometheus' }] })
    expect(read('grafana/prometheus/prometheus.yml')).toMatchObject({ rule_files: ['rules.yml'], scrape_configs: [{ job_name: 'rekey' }] })
  })
})
