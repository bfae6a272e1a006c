import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { destinationState } from '../../connectors/postgres-destination/state.ts'
import { openSession } from '../../connectors/postgres/session.ts'
import { createRig, demo, type Rig, type Running } from '../support/rig.ts'
import { scraped } from '../support/scrape.ts'
import { pair } from '../support/servers.ts'

const { source, destination } = await pair({ source: 16, destination: 17 })
const TOKEN = 'a-token-that-must-not-show'
let rig: Rig
let running: Running

const get = (path: string, token = TOKEN): Promise<Response> => scraped(running, token).get(path)
const samples = (): Promise<Map<string, number>> => scraped(running, TOKEN).samples()
const until = (name: string, test: (value: number | undefined) => boolean): Promise<void> => scraped(running, TOKEN).until(name, test)

beforeAll(async () => {
  rig = await createRig({
    servers: { source, destination }, ...(await demo()), config: `metrics: { listen: "127.0.0.1:0", token: ${TOKEN} }`,
  })
  await rig.source.query(`
    insert into groups values (1, 'everyone', 'everyone');
    insert into users (id, email, name, first_name, last_name)
      values (1, 'Ann@lab.test', 'ann', 'Ann', 'A'), (2, 'bob@lab.test', 'bob', 'Bob', 'B');
    analyze`)
  running = rig.start()
  await rig.caughtUp(running)
})
afterAll(async () => {
  await running.stop()
  await rig.close()
})

describe('the metrics of a running bridge', () => {
  it('are for those who have the token', async () => {
    for (const path of ['/metrics', '/healthz', '/readyz']) {
      expect((await get(path, 'another-token-of-the-size')).status).toBe(401)
    }
    await until('rekey_slot_active', (value) => value === 1)
    expect((await get('/healthz')).status).toBe(200)
    expect(await (await get('/readyz')).json()).toEqual({ ready: true, state: 'stream', reasons: [] })
  })

  it('count what was copied and what is streamed', async () => {
    await rig.source.query(`update users set first_name = 'Anna' where id = 1`)
    await rig.source.query(`delete from users where id = 2; insert into groups values (2, 'crew', 'team')`)
    await rig.caughtUp(running)
    const seen = await samples()
    expect(seen.get('rekey_snapshot_rows_total{table="public.users"}')).toBe(2)
    expect(seen.get('rekey_snapshot_rows_estimated{table="public.users"}')).toBe(2)
    expect(seen.get('rekey_snapshot_chunks_remaining')).toBe(0)
    expect(seen.get('rekey_epoch')).toBe(1)
    const ledger = await rig.destination.query("select count(*)::text as n from rekey.id_map where entity = 'users'")
    await until('rekey_idmap_entries{table="public.users"}', (value) => value === Number(ledger[0].n))
    expect(seen.get('rekey_leader')).toBe(1)
    for (const stage of ['decode', 'apply']) {
      expect(seen.get(`rekey_changes_total{table="public.users",op="update",stage="${stage}"}`)).toBe(1)
      expect(seen.get(`rekey_changes_total{table="public.users",op="delete",stage="${stage}"}`)).toBe(1)
      expect(seen.get(`rekey_changes_total{table="public.groups",op="insert",stage="${stage}"}`)).toBe(1)
      expect(seen.get(`rekey_bytes_total{stage="${stage}"}`)).toBeGreaterThan(0)
    }
    expect(seen.get('rekey_transactions_total{stage="apply"}')).toBeGreaterThanOrEqual(2)
  })

  it('show the slot, and lag in seconds by the clock of the source', async () => {
    await until('rekey_slot_active', (value) => value === 1)
    const seen = await samples()
    expect(seen.get('rekey_source_connected')).toBe(1)
    expect(seen.get('rekey_slot_wal_status{status="reserved"}')).toBe(1)
    expect(seen.get('rekey_lag_seconds{stage="end_to_end"}')).toBeLessThan(10)
    expect(seen.get('rekey_heartbeat_age_seconds')).toBeLessThan(10)
    const [slot] = await rig.source.query(
      `select pg_wal_lsn_diff(confirmed_flush_lsn, '0/0')::text as confirmed from pg_replication_slots where slot_name = 'rekey_${rig.config.pipeline}'`)
    expect(seen.get('rekey_source_confirmed_flush_lsn')).toBeGreaterThan(0)
    expect(seen.get('rekey_source_confirmed_flush_lsn')).toBeLessThanOrEqual(Number(slot.confirmed))
  })

  it('agree with `rekey status` about what waits', async () => {
    await rig.destination.query('alter table users add constraint no_zoe check (name <> \'zoe\')')
    await rig.source.query(`insert into users (id, email, name, first_name, last_name) values (9, 'zoe@lab.test', 'zoe', 'Zoe', 'Z')`)
    await rig.caughtUp(running)
    await until('rekey_parked_rows', (value) => value === 1)
    const session = await openSession(rig.destination.url, 'destination')
    const counts = await destinationState(session.query, rig.config.pipeline).parkedCounts()
    await session.close()
    expect(counts).toMatchObject([{ state: 'waiting', rows: 1 }])
    const seen = await samples()
    expect(seen.get('rekey_changes_total{table="public.users",op="park",stage="apply"}')).toBe(1)
    expect(seen.get('rekey_apply_retries_total{reason="23514"}')).toBe(1)
  })

  it('see a long transaction at the source', async () => {
    const held = await openSession(rig.source.url, 'source')
    await held.query('begin')
    await held.query('select pg_current_xact_id()')
    await until('rekey_oldest_open_transaction_seconds', (value) => value !== undefined && value > 1)
    await held.close()
    await until('rekey_oldest_open_transaction_seconds', (value) => value === 0)
  })

  it('hold no secret', async () => {
    const texts = await Promise.all(['/metrics', '/healthz', '/readyz', '/nowhere'].map(async (path) => (await get(path)).text()))
    const passwords = [rig.config.source.url, rig.config.destination.url].map((text) => new URL(text).password).filter((text) => text !== '')
    for (const secret of [TOKEN, rig.config.secret, ...passwords, 'zoe', 'ann@lab.test']) {
      expect(texts.join('\n').toLowerCase()).not.toContain(secret.toLowerCase())
      expect(running.notes.map((note) => note.text).join('\n')).not.toContain(secret)
    }
  })
})
