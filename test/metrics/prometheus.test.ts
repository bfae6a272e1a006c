import { readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createObjectRig, type ObjectRig } from '../support/object-rig.ts'
import type { Running } from '../support/rig.ts'
import { server } from '../support/servers.ts'
import { startPostgres, type Server } from '../support/postgres.ts'
import { type Prometheus, promtool, startPrometheus } from '../support/services/prometheus.ts'
import { alerts, panelQueries, RULES } from '../support/panel-queries.ts'

const FOLDER = dirname(RULES)

describe('promtool', () => {
  it('finds the rules and the configuration well formed', async () => {
    expect(await promtool(['check', 'rules', 'rules.yml'], FOLDER)).toMatchObject({ code: 0 })
    expect(await promtool(['check', 'config', '--syntax-only', 'prometheus.yml'], FOLDER)).toMatchObject({ code: 0 })
  })

  it('sees each alert fire, and each stay silent', async () => {
    const { code, output } = await promtool(['test', 'rules', 'rules.test.yml'], FOLDER)
    expect({ code, output: code === 0 ? '' : output }).toEqual({ code: 0, output: '' })
    const tests = readFileSync(`${FOLDER}/rules.test.yml`, 'utf8')
    for (const { alert } of alerts()) {
      expect(tests, alert).toMatch(new RegExp(`- \\{ eval_time: \\w+, alertname: ${alert} \\}`))
      expect(tests, alert).toMatch(new RegExp(`alertname: ${alert}\\n +exp_alerts:\\n +- exp_labels`))
    }
  })

  it('is told by a broken rule', async () => {
    expect((await promtool(['check', 'rules', 'none.yml'], FOLDER)).code).not.toBe(0)
  })
})

describe('a Prometheus beside a running bridge', async () => {
  const destination = await server(16, 'destination')
  let source: Server
  let rig: ObjectRig
  let running: Running
  let prometheus: Prometheus
  let url: string

  const ask = async <T>(path: string): Promise<T> => {
    const answer = (await (await fetch(`${prometheus.url}/api/v1/${path}`)).json()) as { status: string; error?: string; data: T }
    expect(answer.error).toBeUndefined()
    expect(answer.status).toBe('success')
    return answer.data
  }
  const query = async (expr: string): Promise<readonly { readonly value: readonly [number, string] }[]> =>
    (await ask<{ result: { value: [number, string] }[] }>(`query?query=${encodeURIComponent(expr)}`)).result
  const until = async (what: string, test: () => Promise<boolean>): Promise<void> => {
    for (const end = Date.now() + 30_000; !(await test());) {
      if (Date.now() > end) throw new Error(`waited too long for ${what}`)
      await sleep(200)
    }
  }

  beforeAll(async () => {
    source = await startPostgres({ major: 15, settings: { max_slot_wal_keep_size: '1GB' } })
    rig = await createObjectRig({ servers: { source, destination }, config: 'metrics: { listen: "127.0.0.1:0" }' })
    await rig.source.query("insert into users values (1, 'u1@lab.test'); insert into projects values (7, 1, 'p'); analyze")
    await rig.destination.query(`alter table users add constraint no_zoe check (email <> 'zoe')`)
    running = rig.start()
    await rig.caughtUp(running)
    url = /http:\S+/.exec(running.notes.find((note) => note.event === 'metrics')!.text)![0]
    prometheus = await startPrometheus({ jobs: { rekey: Number(new URL(url).port) }, rules: [RULES], interval: '1s' })
    await until('the first scrape', async () => (await query('rekey_up')).length > 0)
    for (let i = 2; i < 6; i++) {
      await rig.source.query(`insert into users values (${i}, '${i === 5 ? 'zoe' : `u${i}@lab.test`}')`)
      await rig.put(`7/${i}.txt`, 'text')
      // One of them is not there.
      await rig.source.query(`insert into files values ('7/${i === 4 ? 'none' : i}.txt', 7, 'e${i}', 4, false); update projects set name = 'p${i}'`)
      await sleep(1_000)
    }
    await rig.caughtUp(running)
    await until('an object that fails', async () => (await query('rekey_object_errors_total > 0')).length > 0)
    await until('the parked row', async () => (await query('rekey_parked_rows > 0')).length > 0)
  })
  afterAll(async () => {
    await prometheus?.stop()
    await running?.stop()
    await rig?.close()
    await source?.stop()
  })

  it('takes what we export for well formed', async () => {
    const lines = (await (await fetch(`${url}/metrics`)).text()).split('\n')
    const ours = lines.filter((line) => /^(# (HELP|TYPE) )?rekey_/.test(line))
    expect(await promtool(['check', 'metrics'], FOLDER, `${ours.join('\n')}\n`)).toEqual({ code: 0, output: '' })
  })

  it('answers the query of every panel', async () => {
    // No stage has failed, there is no copy of the ledger, and no exporter of Kafka.
    const expected = [
      'Consumer Group Lag In Time Per Group Over Offset Lag', 'Consumer Group Lag Partition Offsets', 'Copy of the ledger in Redis', 'Errors in an hour',
      'Errors, by stage and code',
    ]
    const without = async (): Promise<string[]> => {
      const panels = new Set<string>()
      for (const { where, expr } of panelQueries()) {
        const result = await query(expr)
        for (const { value } of result) expect(value[1], where).not.toMatch(/NaN|Inf/)
        if (result.length === 0) panels.add(where)
      }
      return [...panels].sort()
    }
    // A rate needs two scrapes.
    await until('two scrapes', async () => (await without()).length <= expected.length)
    expect(await without()).toEqual(expected)
  })

  it('shows in them what happened', async () => {
    const value = async (expr: string): Promise<number> => Number((await query(expr))[0]?.value[1])
    const result = await ask<{ result: { metric: { blocker: string } }[] }>(
      `query?query=${encodeURIComponent(panelQueries().find(({ where }) => where === 'What stands in the way')!.expr)}`)
    expect(result.result.map(({ metric }) => metric.blocker).sort()).toEqual(['objects are not carried', 'rows are parked'])
    expect(await value('max(rekey_lag_seconds{stage="end_to_end"})')).toBeLessThan(30)
    expect(await value('sum(increase(rekey_changes_total{stage="apply", op="update"}[1m]))')).toBeGreaterThan(0)
    expect(await value('rekey_pipeline_state{state="stream"}')).toBe(1)
  })

  it('evaluates every alert, of which only that of the parked row begins', async () => {
    interface Rule { readonly name: string; readonly health: string; readonly state: string }
    const rules = async (): Promise<Rule[]> => (await ask<{ groups: { rules: Rule[] }[] }>('rules')).groups.flatMap((group) => group.rules)
    const begun = async (): Promise<string[]> => (await rules()).filter((rule) => rule.state !== 'inactive').map((rule) => `${rule.name} ${rule.state}`)
    await until('the rules', async () => (await rules()).every((rule) => rule.health === 'ok') && (await begun()).length > 0)
    expect((await rules()).map((rule) => rule.name).sort()).toEqual(alerts().map((alert) => alert.alert).sort())
    expect(await begun()).toEqual(['RekeyParked pending'])
  })
})
