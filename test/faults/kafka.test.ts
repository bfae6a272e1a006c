import { appendFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, expect, test } from 'vitest'
import { makeServed } from '../../connectors/kafka/topics.ts'
import { failureOf } from '../support/accident.ts'
import { startChild } from '../support/child.ts'
import { drained } from '../support/drained.ts'
import { administered, clientOf, everything, highOf, intrude, kafkaRig, startBoth, topicOf, withUnread } from '../support/kafka-rig.ts'
import type { Rig } from '../support/rig.ts'
import { startKafka } from '../support/services/kafka.ts'
import { pair } from '../support/servers.ts'

const [servers, broker] = await Promise.all([pair({ source: 15, destination: 18 }), startKafka()])
afterAll(() => broker.stop())

async function agree(rig: Rig): Promise<void> {
  expect(await rig.destination.query("select 1 from rekey.parked where state <> 'done'")).toEqual([])
  expect(await rig.differences()).toEqual([])
}

/** Removes the records below this offset, as retention would. */
async function trim(rig: Rig, offset: number): Promise<void> {
  await administered(broker, async (admin) => {
    // It knows only topics that it was asked about before.
    await admin.fetchTopicOffsets(topicOf(rig))
    await admin.deleteTopicRecords({ topic: topicOf(rig), partitions: [{ partition: 0, offset: String(offset) }] })
  })
}

/** Sets the one group that remembers where delivery was, or one of such a name, as an operator would. Resolves with what it had. */
async function setGroup(rig: Rig, offset: number): Promise<number> {
  const [groupId = `${rig.config.pipeline}.rekey.operator`, ...others] = await administered(broker, async (admin) =>
    (await admin.listGroups()).groups.map((one) => one.groupId).filter((id) => id.startsWith(`${rig.config.pipeline}.rekey.`)))
  expect(others).toEqual([])
  const [had] = await administered(broker, (admin) => admin.fetchOffsets({ groupId, topics: [topicOf(rig)] }))
  const operator = clientOf(broker).consumer({ groupId })
  await operator.connect()
  await operator.subscribe({ topic: topicOf(rig) })
  await operator.run({ eachBatch: async () => {}, autoCommit: false })
  await operator.commitOffsets([{ topic: topicOf(rig), partition: 0, offset: String(offset) }])
  await operator.disconnect()
  return Number(had?.partitions[0].offset ?? -1)
}

/** So many records of a topic. */
async function everyRecord(topic: string, many: number): Promise<{ key: string | null; value: string | null; headers: Record<string, string> }[]> {
  const found: { key: string | null; value: string | null; headers: Record<string, string> }[] = []
  const consumer = clientOf(broker).consumer({ groupId: `${topic}.look` })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await new Promise<void>((resolve) => {
    void consumer.run({ eachMessage: async ({ message: { key, value, headers } }) => {
      found.push({ key: key?.toString() ?? null, value: value?.toString() ?? null, headers: Object.fromEntries(Object.entries(headers ?? {}).map(([name, one]) => [name, String(one)])) })
      if (found.length === many) resolve()
    } })
  })
  await consumer.disconnect()
  return found
}

test('a topic that is deleted with changes that only it had: the gap is named, and nothing is begun anew', async () => {
  const rig = await kafkaRig(servers, broker)
  try {
    await withUnread(broker, rig)
    await administered(broker, (admin) => admin.deleteTopics({ topics: [topicOf(rig)] }))
    for (const role of ['deliver', 'all'] as const) {
      const failure = await failureOf(rig.start({ role }))
      expect(failure).toMatchObject({ code: 'LOG_GAP', exit: 5 })
      expect(failure.message).toMatch(/is gone; what the source committed from [0-9A-F]+\/[0-9A-F]+ to [0-9A-F]+\/[0-9A-F]+ cannot be read/)
    }
    expect(await failureOf(rig.start({ role: 'capture' }))).toMatchObject({ code: 'LOG_TOPIC' })
    expect(await administered(broker, (admin) => admin.listTopics())).not.toContain(topicOf(rig))
  } finally {
    await rig.close()
  }
})

test('a topic that is deleted when all of it was read is made again', async () => {
  const rig = await kafkaRig(servers, broker)
  try {
    const first = startBoth(rig)
    await rig.caughtUp(first.running)
    await first.capture.stop()
    await first.deliver.stop()
    await administered(broker, (admin) => admin.deleteTopics({ topics: [topicOf(rig)] }))
    await rig.source.query("update parents set name = 'later'")
    const running = rig.start()
    await rig.caughtUp(running)
    await running.stop()
    await agree(rig)
  } finally {
    await rig.close()
  }
})

test('a topic that is deleted under a running capture stops it', async () => {
  const rig = await kafkaRig(servers, broker)
  try {
    const { capture, deliver, running } = startBoth(rig)
    await rig.caughtUp(running)
    await deliver.stop()
    await administered(broker, (admin) => admin.deleteTopics({ topics: [topicOf(rig)] }))
    await rig.source.query("update parents set name = 'nowhere'")
    expect(await failureOf(capture)).toMatchObject({ code: 'LOG_TOPIC', exit: 5 })
  } finally {
    await rig.close()
  }
})

test('records that retention has removed before they were read are a gap that is named', async () => {
  const rig = await kafkaRig(servers, broker)
  try {
    await withUnread(broker, rig)
    const high = await highOf(broker, rig)
    await trim(rig, high - 1)
    const before = await everything(rig)
    const failure = await failureOf(rig.start({ role: 'deliver' }))
    expect(failure).toMatchObject({ code: 'LOG_GAP', exit: 5 })
    expect(failure.message).toMatch(/does not hold what the source committed from [0-9A-F]+\/[0-9A-F]+ to [0-9A-F]+\/[0-9A-F]+/)
    await trim(rig, high)
    expect(await failureOf(rig.start({ role: 'deliver' }))).toMatchObject({ code: 'LOG_GAP', message: expect.stringContaining('is empty') as string })
    expect(await everything(rig)).toEqual(before)
  } finally {
    await rig.close()
  }
})

test('a topic that would lose records is refused before anything is made at the source', async () => {
  const rig = await kafkaRig(servers, broker)
  const right = { 'retention.ms': '-1', 'retention.bytes': '-1', 'cleanup.policy': 'delete', 'max.message.bytes': '1048588' }
  try {
    await administered(broker, (admin) => makeServed(admin, [{ topic: topicOf(rig), numPartitions: 1 }]))
    for (const [name, value, message] of [
      ['retention.ms', '1000', 'its retention.ms is 1000 and must be -1'],
      ['cleanup.policy', 'compact', 'its cleanup.policy is compact and must be delete'],
      ['max.message.bytes', '100000', 'its max.message.bytes is 100000, less than kafka.batch needs'],
    ]) {
      const configEntries = Object.entries({ ...right, [name]: value }).map(([key, set]) => ({ name: key, value: set }))
      await administered(broker, (admin) => admin.alterConfigs({ validateOnly: false, resources: [{ type: 2, name: topicOf(rig), configEntries }] }))
      expect(await failureOf(rig.start())).toMatchObject({ code: 'LOG_TOPIC', exit: 5, message: `topic ${topicOf(rig)}: ${message}${message.endsWith('needs') ? ' (589824)' : ', or changes are removed before they are read'}` })
    }
    expect(await rig.source.query(`select 1 from pg_replication_slots where slot_name = 'rekey_${rig.config.pipeline}'`)).toEqual([])
  } finally {
    await rig.close()
  }
})

test('partitions that are added while it runs change no order; the next start refuses them', async () => {
  const rig = await kafkaRig(servers, broker)
  try {
    const { running, capture } = startBoth(rig)
    await rig.caughtUp(running)
    await rig.source.query("update parents set name = 'streams'")
    await rig.caughtUp(running)
    await administered(broker, (admin) => admin.createPartitions({ topicPartitions: [{ topic: topicOf(rig), count: 3 }] }))
    for (let i = 0; i < 20; i++) await rig.source.query(`update parents set name = 'n${i}' where id = 1 + ${i} % 5; insert into parents values (${100 + i}, 'x')`)
    await rig.caughtUp(running)
    await running.stop()
    await agree(rig)
    const offsets = await administered(broker, (admin) => admin.fetchTopicOffsets(topicOf(rig)))
    expect(offsets.filter((one) => one.high !== '0').map((one) => one.partition)).toEqual([0])
    for (const role of ['capture', 'deliver'] as const) {
      expect(await failureOf(rig.start({ role }))).toMatchObject({ code: 'LOG_TOPIC', message: expect.stringContaining('3 partitions') as string })
    }
    await capture.stop()
  } finally {
    await rig.close()
  }
})

test('a record of somebody else stops delivery, or is kept aside and passed; the rows come all the same', async () => {
  const rig = await kafkaRig(servers, broker)
  try {
    const both = startBoth(rig)
    await rig.caughtUp(both.running)
    await intrude(broker, topicOf(rig), [
      { value: 'hello' }, { value: null, key: 'k' }, { value: '{"before":null}', headers: { rekey: 'a;b' } },
    ])
    expect(await failureOf(both.deliver)).toMatchObject({ code: 'LOG_RECORD', exit: 5, message: expect.stringMatching(/partition 0, offset \d+: it has no rekey header$/) as string })
    await rig.source.query("update parents set name = 'behind it'")
    expect(await failureOf(rig.start({ role: 'deliver' }))).toMatchObject({ code: 'LOG_RECORD' })
    const letters = `${rig.config.pipeline}.letters`
    Object.assign(rig.config.kafka!, { foreign: 'dead-letter', deadLetterTopic: letters })
    const deliver = rig.start({ role: 'deliver' })
    await rig.caughtUp(deliver)
    await deliver.stop()
    await both.capture.stop()
    await agree(rig)
    const kept = await rig.destination.query('select reason, encode(key, $1) as key, encode(value, $1) as value, headers::text as headers from rekey.dead_letter where pipeline = $2 order by "offset"', ['escape', rig.config.pipeline])
    expect(kept).toEqual([
      { reason: 'it has no rekey header', key: null, value: 'hello', headers: '{}' }, { reason: 'it has no rekey header', key: 'k', value: null, headers: '{}' },
      { reason: 'its rekey header is cut off', key: null, value: '{"before":null}', headers: '{"rekey":"613b62"}' },
    ])
    // The same in a topic, as tools for Kafka Connect's dead letters read them (KIP-298).
    const found = await everyRecord(letters, 3)
    expect(found.map(({ key, value }) => [key, value])).toEqual([[null, 'hello'], ['k', null], [null, '{"before":null}']])
    expect(found[2].headers).toEqual({
      'rekey': 'a;b', '__connect.errors.topic': topicOf(rig), '__connect.errors.partition': '0', '__connect.errors.offset': expect.stringMatching(/^\d+$/) as string,
      '__connect.errors.connector.name': rig.config.pipeline, '__connect.errors.task.id': '0', '__connect.errors.stage': 'VALUE_CONVERTER',
      '__connect.errors.class.name': 'rekey', '__connect.errors.exception.class.name': 'LOG_RECORD',
      '__connect.errors.exception.message': 'its rekey header is cut off', '__connect.errors.exception.stacktrace': '',
    })
    expect(await rig.destination.query('select topic from rekey.topic order by 1')).toEqual([{ topic: topicOf(rig) }, { topic: letters }])
  } finally {
    await rig.close()
  }
})

test('a record of ours that was damaged is no loss that goes unnoticed', async () => {
  const rig = await kafkaRig(servers, broker, { kafka: 'foreign: dead-letter' })
  try {
    await withUnread(broker, rig)
    const records: { value: Buffer; rekey: Buffer }[] = []
    const consumer = clientOf(broker).consumer({ groupId: `${topicOf(rig)}.look` })
    await consumer.connect()
    await consumer.subscribe({ topic: topicOf(rig), fromBeginning: true })
    const high = await highOf(broker, rig)
    await new Promise<void>((resolve) => {
      void consumer.run({ eachMessage: async ({ message }) => {
        records.push({ value: message.value!, rekey: message.headers!['rekey'] as Buffer })
        if (records.length === high) resolve()
      } })
    })
    await consumer.disconnect()
    // The topic once more, with one record of what is unread cut off.
    await trim(rig, high)
    const at = records.findIndex(({ value }) => value.includes('missed'))
    await intrude(broker, topicOf(rig), records.map(({ value, rekey }, i) => ({ value: i === at ? value.subarray(0, 40) : value, headers: { rekey } })))
    const failure = await failureOf(rig.start({ role: 'deliver' }))
    expect(failure).toMatchObject({ code: 'LOG_GAP' })
    expect(await rig.destination.query("select count(*) from parents where name = 'missed'")).toEqual([{ count: '0' }])
  } finally {
    await rig.close()
  }
})

test('a group that an operator resets to the beginning has everything read again, and nothing changed', async () => {
  const rig = await kafkaRig(servers, broker)
  try {
    const first = startBoth(rig)
    await rig.caughtUp(first.running)
    await rig.source.query("update parents set name = 'once'; delete from children where id = 3; delete from parents where id = 3")
    await rig.caughtUp(first.running)
    await sleep(1_100)
    await first.running.stop()
    const before = await everything(rig)
    expect(await setGroup(rig, 0)).toBeGreaterThan(20)
    const again = startBoth(rig)
    await rig.caughtUp(again.running)
    expect(await everything(rig)).toEqual(before)
    await again.running.stop()
    await agree(rig)
  } finally {
    await rig.close()
  }
})

test('a group that an operator sets to the end: what it has skipped is noticed and read', async () => {
  const rig = await kafkaRig(servers, broker)
  try {
    await withUnread(broker, rig)
    await setGroup(rig, await highOf(broker, rig))
    const { running } = startBoth(rig)
    await rig.caughtUp(running)
    await running.stop()
    await agree(rig)
    expect(await rig.destination.query("select count(*) from parents where name = 'missed'")).toEqual([{ count: '20' }])
  } finally {
    await rig.close()
  }
})

test('a row of five megabytes, quotes and all, passes a topic that takes one', async () => {
  const rig = await kafkaRig(servers, broker)
  try {
    const both = startBoth(rig)
    await rig.caughtUp(both.running)
    await rig.source.query(`insert into parents select 1000, string_agg(md5(i::text) || '"\\', E'\\t') from generate_series(1, 150000) i; update parents set name = 'small' where id = 1`)
    await rig.source.query("update children set note = (select name from parents where id = 1000) where id = 2; update parents set id = 1001 where id = 1000")
    await rig.caughtUp(both.running)
    await both.running.stop()
    await agree(rig)
    expect(Number((await rig.source.query('select max(length(name)) as n from parents'))[0].n)).toBeGreaterThan(5_000_000)
  } finally {
    await rig.close()
  }
})

test('a column that the mapping does not know stops delivery, and nothing is skipped; it goes on over changes of every shape', async () => {
  const rig = await kafkaRig(servers, broker)
  try {
    const { running, deliver, capture } = startBoth(rig)
    await rig.caughtUp(running)
    await rig.source.query("insert into parents values (500, 'before')")
    await rig.caughtUp(running)
    await rig.source.query("alter table parents add column added text; insert into parents values (501, 'after', 'x')")
    await rig.source.query("insert into parents values (502, 'later', 'y')")
    const failure = await failureOf(deliver)
    expect(failure).toMatchObject({ code: 'SCHEMA_CHANGED', exit: 5, message: 'public.parents has the column added, for which the mapping has no verdict' })
    expect(await rig.destination.query("select name from parents where name in ('before', 'after', 'later')")).toEqual([{ name: 'before' }])
    await rig.source.query("alter table parents rename column name to called; update parents set called = 'renamed' where id = 502; delete from parents where id = 7")
    await capture.stop()
    await rig.destination.query("alter table parents add column added text; alter table parents rename column name to called")
    await appendFile(join(rig.config.mapping, 'mapping.yaml'), 'tables: { parents: { former: { name: called } } }\n')
    const again = startBoth(rig)
    await rig.caughtUp(again.running)
    await again.running.stop()
    await agree(rig)
  } finally {
    await rig.close()
  }
})

test('killed and ended with an error at every place, each half on its own', async () => {
  const rig = await kafkaRig(servers, broker, { config: 'batch: { rows: 50 }' })
  const stop = new AbortController()
  const busy = (async () => {
    for (let i = 0; !stop.signal.aborted; i++) {
      await rig.source.query(`insert into parents values (${1_000 + i}, 'p'); insert into children values (${1_000 + i}, ${1_000 + i}, 1, 'n'); update parents set name = 'q${i}' where id = ${1_000 + (i >> 1)}`)
      await sleep(5)
    }
  })()
  try {
    let deliver = startChild(rig.config, { role: 'deliver' })
    await deliver.reached('stream')
    for (const failpoints of ['produce.acked=kill@1', 'produce.acked=kill@20', 'slot.before_ack=kill@3', 'produce.acked=error@3']) {
      const capture = startChild(rig.config, { role: 'capture', failpoints })
      if (failpoints.includes('kill')) expect(await capture.ended).toEqual({ code: null, signal: 'SIGKILL' })
      else {
        await capture.reached('stream')
        await sleep(500)
        capture.kill('SIGTERM')
        expect(await capture.ended).toEqual({ code: 0, signal: null })
        expect(capture.lines.join('\n')).toContain('capture begins again')
      }
    }
    const capture = startChild(rig.config, { role: 'capture' })
    deliver.kill('SIGKILL')
    await deliver.ended
    for (const failpoints of ['apply.committed=kill@5']) {
      deliver = startChild(rig.config, { role: 'deliver', failpoints })
      expect([(await deliver.ended).signal, deliver.lines.filter((line) => line.startsWith('failed'))]).toEqual(['SIGKILL', []])
    }
    deliver = startChild(rig.config, { role: 'deliver' })
    await deliver.reached('stream')
    const began = Date.now()
    deliver.kill('SIGTERM')
    expect(await deliver.ended).toEqual({ code: 0, signal: null })
    expect(Date.now() - began).toBeLessThan(10_000)
    stop.abort()
    await busy
    deliver = startChild(rig.config, { role: 'deliver' })
    await drained(rig, { failed: () => capture.lines.concat(deliver.lines).find((line) => line.startsWith('failed')) })
    for (const child of [capture, deliver]) {
      child.kill('SIGTERM')
      expect(await child.ended).toEqual({ code: 0, signal: null })
    }
    await agree(rig)
  } finally {
    stop.abort()
    await busy
    await rig.close()
  }
}, 120_000)

test('the broker is killed under load and comes back', async () => {
  const rig = await kafkaRig(servers, broker)
  const stop = new AbortController()
  const { running } = startBoth(rig)
  const busy = (async () => {
    for (let i = 0; !stop.signal.aborted; i++) {
      await rig.source.query(`insert into parents values (${1_000 + i}, 'p'); update parents set name = 'q${i}' where id = ${1_000 + (i >> 1)}`)
      await sleep(5)
    }
  })()
  try {
    await rig.caughtUp(running)
    await sleep(300)
    await broker.kill()
    await sleep(1_000)
    await broker.restart()
    await sleep(500)
    stop.abort()
    await busy
    await rig.caughtUp(running)
    await running.stop()
    await agree(rig)
  } finally {
    stop.abort()
    await busy
    await rig.close()
  }
}, 120_000)
