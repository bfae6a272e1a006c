import { createRequire } from 'node:module'
import { afterAll, expect, test } from 'vitest'
import { destinationState } from '../../connectors/postgres-destination/state.ts'
import { type Child, startChild } from '../support/child.ts'
import { drained } from '../support/drained.ts'
import { administered, kafkaRig, topicOf } from '../support/kafka-rig.ts'
import type { Rig } from '../support/rig.ts'
import { pair } from '../support/servers.ts'
import { startKafka } from '../support/services/kafka.ts'

const [servers, broker] = await Promise.all([pair({ source: 16, destination: 17 }), startKafka()])
afterAll(() => broker.stop())

const { AssignerProtocol } = createRequire(import.meta.url)('kafkajs') as typeof import('kafkajs')
const PARTITIONS = 6

interface Group {
  readonly state: string
  /** Partitions of each member that has any, by its id. */
  readonly members: Map<string, number[]>
}

/** As `kafka-consumer-groups.sh --describe` shows it. */
async function groupOf(rig: Rig): Promise<Group> {
  const { groups: [{ state, members }] } = await administered(broker, (admin) => admin.describeGroups([`${rig.config.pipeline}.rekey`]))
  const partitions = ({ memberAssignment }: (typeof members)[number]): number[] =>
    AssignerProtocol.MemberAssignment.decode(memberAssignment)?.assignment[topicOf(rig)] ?? []
  return { state, members: new Map(members.map((one) => [one.memberId, partitions(one)])) }
}

/** Resolves when all is shared out among so many members. */
async function shared(rig: Rig, members: number): Promise<Group['members']> {
  let found: Group = { state: '', members: new Map() }
  await expect.poll(async () => {
    found = await groupOf(rig)
    return [found.state, found.members.size, [...found.members.values()].flat().sort((a, b) => a - b)]
  }).toEqual(['Stable', members, Array.from({ length: PARTITIONS }, (_, i) => i)])
  return found.members
}

/** The process that applies each partition, by what stands at the destination. */
async function takers(rig: Rig): Promise<(string | null)[]> {
  const state = destinationState(async (sql, params) => (await rig.destination.query(sql, params)).map((row) => Object.values(row)), rig.config.pipeline)
  return (await state.lanes()).map(({ member }) => member)
}

test('deliver processes are the members of one group, which shows how far they are; what one that dies had goes to the others, and nothing else moves', async () => {
  const rig = await kafkaRig(servers, broker, { kafka: `partitions: ${PARTITIONS}` })
  const children: Child[] = []
  const start = (role: 'capture' | 'deliver'): Child => {
    const child = startChild(rig.config, { role })
    children.push(child)
    return child
  }
  const insert = (from: number, to: number) => rig.source.query(`insert into parents select i, 'p' || i from generate_series(${from}, ${to}) i`)
  try {
    start('capture')
    const delivering = [start('deliver'), start('deliver'), start('deliver')]
    const before = await shared(rig, 3)
    expect([...before.values()].map((mine) => mine.length)).toEqual([2, 2, 2])
    await insert(1_000, 1_300)
    await drained(rig)
    await expect.poll(async () => new Set(await takers(rig)).size).toBe(3)
    expect(await takers(rig)).not.toContain(null)
    // What Kafka's tools show as lag goes to nothing.
    const lags = () => administered(broker, async (admin) => {
      const [{ partitions }] = await admin.fetchOffsets({ groupId: `${rig.config.pipeline}.rekey`, topics: [topicOf(rig)] })
      const high = new Map((await admin.fetchTopicOffsets(topicOf(rig))).map((one) => [one.partition, Number(one.high)]))
      return partitions.map(({ partition, offset }) => high.get(partition)! - Number(offset))
    })
    // A heartbeat that came meanwhile is not told of yet.
    await expect.poll(async () => Math.max(...(await lags()))).toBeLessThan(10)

    const begun = (): number => children.flatMap(({ lines }) => lines.filter((line) => /: takes partition \d/.test(line))).length
    const had = begun()
    delivering[1].kill('SIGKILL')
    await insert(2_000, 2_300)
    const after = await shared(rig, 2)
    for (const [member, mine] of after) expect(mine).toEqual(expect.arrayContaining(before.get(member)!))
    await drained(rig)
    expect(new Set(await takers(rig)).size).toBe(2)
    // Those that stayed where they were were not begun anew.
    expect(begun() - had).toBe(2)
    expect(await rig.differences()).toEqual([])

    // One that is told to end leaves, and is not waited for.
    const told = performance.now()
    delivering[0].kill('SIGTERM')
    expect((await delivering[0].ended).code).toBe(0)
    const [[, all]] = await shared(rig, 1)
    expect(all.length).toBe(PARTITIONS)
    expect(performance.now() - told).toBeLessThan(20_000)
    await insert(3_000, 3_100)
    await drained(rig)
    expect(await rig.differences()).toEqual([])
  } catch (error) {
    for (const child of children) console.error(child.pid, child.lines.filter((line) => !line.startsWith('at ')).slice(-12))
    throw error
  } finally {
    for (const child of children) child.kill('SIGKILL')
    await Promise.all(children.map((child) => child.ended))
    await rig.close()
  }
}, 120_000)

test('the broker is killed under load: when it is back, so is the group, and nothing is missing', async () => {
  const rig = await kafkaRig(servers, broker, { kafka: 'partitions: 6' })
  const running = [rig.start({ role: 'capture' }), rig.start({ role: 'deliver' }), rig.start({ role: 'deliver' })]
  try {
    await shared(rig, 2)
    await rig.source.query("insert into parents select i, 'p' || i from generate_series(1000, 1300) i")
    await broker.kill()
    await rig.source.query("update parents set name = name || ' again'")
    await broker.restart()
    await rig.source.query("insert into parents select i, 'p' || i from generate_series(2000, 2300) i")
    await shared(rig, 2)
    await drained(rig)
    expect(await rig.differences()).toEqual([])
  } finally {
    await Promise.all(running.map((one) => one.stop().catch(() => {})))
    await rig.close()
  }
}, 90_000)

test('a run that another version began, with its leases, goes on in the group', async () => {
  const rig = await kafkaRig(servers, broker, { kafka: 'partitions: 2' })
  const lanes = async (): Promise<number> => (await rig.destination.query('select from rekey.lane').catch(() => [])).length
  try {
    const first = rig.start()
    await expect.poll(lanes).toBe(2)
    await first.stop()
    await rig.destination.query(`drop table rekey.taken, rekey.united, rekey.topic_id;
      create table rekey.member (pipeline text, member text, alive_until timestamptz); create table rekey.lease (pipeline text, partition integer, member text)`)
    expect(await takers(rig)).toEqual([null, null])
    await rig.source.query("update parents set name = 'later'")
    const second = rig.start()
    await rig.caughtUp(second)
    await second.stop()
    expect(await rig.differences()).toEqual([])
    expect(await rig.destination.query("select to_regclass('rekey.lease') as lease, to_regclass('rekey.member') as member")).toEqual([{ lease: null, member: null }])
  } finally {
    await rig.close()
  }
}, 60_000)
