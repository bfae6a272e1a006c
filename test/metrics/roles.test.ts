import { Kafka, logLevel } from 'kafkajs'
import { afterEach, describe, expect, it } from 'vitest'
import { createObjectRig } from '../support/object-rig.ts'
import { createRig, demo, type Rig, type Running } from '../support/rig.ts'
import { scraped } from '../support/scrape.ts'
import { startKafka } from '../support/services/kafka.ts'
import { pair } from '../support/servers.ts'

const [servers, broker] = await Promise.all([pair({ source: 16, destination: 16 }), startKafka()])
const LISTEN = 'metrics: { listen: "127.0.0.1:0" }'
let rig: Rig | null = null
let started: Running[] = []
const start = (role: 'all' | 'capture' | 'deliver' | 'mirror'): Running => {
  const running = rig!.start({ role })
  started.push(running)
  return running
}

afterEach(async () => {
  await Promise.all(started.map((one) => one.stop()))
  started = []
  await rig?.close()
  rig = null
})

const ready = async (running: Running): Promise<unknown> => (await scraped(running).get('/readyz')).json()
const stages = (samples: ReadonlyMap<string, number>, name: string): string[] =>
  [...samples.keys()].flatMap((key) => (key.startsWith(`${name}{`) ? /stage="(\w+)"/.exec(key)![1] : [])).sort()

describe('with a log in Kafka', () => {
  const kafkaRig = async (): Promise<Rig> => {
    rig = await createRig({ servers, ...(await demo()), config: `log: kafka\nkafka: { brokers: ['${broker.bootstrap}'], foreign: dead-letter }\n${LISTEN}` })
    await rig.source.query("insert into groups values (1, 'everyone', 'everyone')")
    return rig
  }
  const work = async (running: Running): Promise<void> => {
    await rig!.source.query("insert into groups values (2, 'crew', 'team')")
    await rig!.caughtUp(running)
  }

  it('capture and delivery each tell of their own stages', async () => {
    await kafkaRig()
    const [capture, deliver] = [start('capture'), start('deliver')]
    await rig!.caughtUp(deliver)
    await work(deliver)
    await Promise.all([scraped(capture), scraped(deliver)].map((one) => one.until('rekey_slot_active', (value) => value === 1)))
    for (const one of [capture, deliver]) expect(await ready(one)).toEqual({ ready: true, state: 'stream', reasons: [] })

    const captured = await scraped(capture).samples()
    expect(stages(captured, 'rekey_lag_seconds')).toEqual(['decode'])
    expect(stages(captured, 'rekey_transactions_total')).toEqual(['decode'])
    expect(captured.get('rekey_changes_total{table="public.groups",op="insert",stage="decode"}')).toBe(1)
    expect(captured.get('rekey_lag_seconds{stage="decode"}')).toBeLessThan(10)
    expect(captured.has('rekey_parked_rows')).toBe(false)

    const delivered = await scraped(deliver).samples()
    expect(stages(delivered, 'rekey_lag_seconds')).toEqual(['apply', 'end_to_end', 'kafka'])
    expect(stages(delivered, 'rekey_transactions_total')).toEqual(['apply', 'kafka'])
    expect(delivered.get('rekey_changes_total{table="public.groups",op="insert",stage="apply"}')).toBe(1)
    expect(delivered.get('rekey_lag_seconds{stage="end_to_end"}')).toBeLessThan(10)
    expect(delivered.get('rekey_heartbeat_age_seconds')).toBeLessThan(10)
    expect(delivered.get('rekey_leader')).toBe(1)
  })

  it('one process tells of all, and of what was put aside', async () => {
    await kafkaRig()
    const running = start('all')
    await rig!.caughtUp(running)
    await work(running)
    const samples = await scraped(running).samples()
    expect(stages(samples, 'rekey_lag_seconds')).toEqual(['apply', 'decode', 'end_to_end', 'kafka'])
    for (const stage of ['decode', 'apply']) expect(samples.get(`rekey_changes_total{table="public.groups",op="insert",stage="${stage}"}`)).toBe(1)
    expect(samples.get('rekey_dlq_records_total')).toBe(0)
    const producer = new Kafka({ brokers: [broker.bootstrap], logLevel: logLevel.NOTHING }).producer()
    await producer.connect()
    await producer.send({ topic: `${rig!.config.pipeline}.changes`, messages: [{ value: 'of somebody else' }] })
    await producer.disconnect()
    await scraped(running).until('rekey_dlq_records_total', (value) => value === 1)
  })
})

describe('objects', () => {
  it('are told of by who carries them, alone or beside rows', async () => {
    const objects = await createObjectRig({ servers, config: LISTEN })
    rig = objects
    await rig.source.query("insert into users values (1, 'u@lab.test'); insert into projects values (7, 1, 'p')")
    for (const name of ['a', 'b']) {
      await objects.put(`7/${name}`, 'four')
      await rig.source.query(`insert into files values ('7/${name}', 7, '${name}', 4, false)`)
    }
    const [all, mirror] = [start('all'), start('mirror')]
    await rig.caughtUp(all)
    await objects.settled(all)
    await objects.put('7/late', 'seven b')
    await rig.source.query("insert into files values ('7/late', 7, 'late', 7, false), ('7/none', 7, 'none', 1, false)")
    await scraped(all).until('rekey_objects{state="verified"}', (value) => value === 3)
    await scraped(mirror).until('rekey_objects_bytes{state="verified"}', (value) => value === 15)
    await scraped(mirror).until('rekey_object_oldest_pending_seconds', (value) => value !== undefined && value > 1)
    expect(await ready(mirror)).toEqual({ ready: true, state: 'mirror', reasons: [] })
    const both = await Promise.all([scraped(all).samples(), scraped(mirror).samples()])
    expect(both.reduce((sum, one) => sum + (one.get('rekey_object_bytes_total') ?? 0), 0)).toBe(15)
    expect(both.reduce((sum, one) => sum + (one.get('rekey_object_errors_total{code="OBJECT_MISSING"}') ?? 0), 0)).toBeGreaterThan(0)
    for (const one of both) expect(one.get('rekey_object_inflight_limit')).toBeGreaterThan(0)
    expect(both[1].get('rekey_leader')).toBe(0)
  })
})
