import { afterAll, expect, test } from 'vitest'
import { makeServed } from '../../connectors/kafka/topics.ts'
import { topicSettings } from '../../src/core/topic.ts'
import { failureOf } from '../support/accident.ts'
import { administered, everything, highOf, kafkaRig, startBoth, topicOf, withUnread } from '../support/kafka-rig.ts'
import type { Rig, Running } from '../support/rig.ts'
import { startKafka } from '../support/services/kafka.ts'
import { pair } from '../support/servers.ts'

const [servers, broker] = await Promise.all([pair({ source: 16, destination: 16 }), startKafka()])
afterAll(() => broker.stop())

/** Deletes the topic and makes one of the same name and settings, as an operator would. */
async function makeAnew(rig: Rig): Promise<void> {
  const topic = topicOf(rig)
  const configEntries = [...topicSettings({ topic, batchBytes: 1 << 19, replication: null }, 1)].map(([name, value]) => ({ name, value }))
  await administered(broker, async (admin) => {
    await admin.deleteTopics({ topics: [topic] })
    await expect.poll(() => admin.listTopics()).not.toContain(topic)
    await makeServed(admin, [{ topic, numPartitions: 1, replicationFactor: 1, configEntries }])
  })
}

async function notedId(rig: Rig): Promise<string | null> {
  const [row] = await rig.destination.query('select id from rekey.topic_id')
  return row?.id ?? null
}

const warnings = ({ notes }: Running): string[] => notes.filter(({ event, level }) => event === 'topic' && level === 'warn').map(({ text }) => text)

test('a topic that is made anew without changes that only it had: the gap is named at each start, whatever comes to it later', async () => {
  const rig = await kafkaRig(servers, broker)
  try {
    await withUnread(broker, rig)
    const [id, before] = [await notedId(rig), await everything(rig)]
    expect(id).toMatch(/^[\w-]{22}$/)
    await makeAnew(rig)
    const gap = 'what the source committed from [0-9A-F]+/[0-9A-F]+ to [0-9A-F]+/[0-9A-F]+ cannot be read$'
    const empty = await failureOf(rig.start({ role: 'deliver' }))
    expect(empty).toMatchObject({ code: 'LOG_GAP', exit: 5, message: expect.stringMatching(`was deleted and made anew, and is empty; ${gap}`) as string })
    const capture = rig.start({ role: 'capture' })
    await rig.source.query("update parents set name = 'later'")
    await expect.poll(() => highOf(broker, rig)).toBeGreaterThan(0)
    for (let i = 0; i < 2; i++) {
      const failure = await failureOf(rig.start({ role: 'deliver' }))
      expect(failure).toMatchObject({ code: 'LOG_GAP', exit: 5, message: expect.stringMatching(`was deleted and made anew; ${gap}`) as string })
    }
    await capture.stop()
    expect([await notedId(rig), await everything(rig)]).toEqual([id, before])
  } finally {
    await rig.close()
  }
})

test('a topic that is made anew when all of it was read is told of and taken, also with changes that came to it since', async () => {
  const rig = await kafkaRig(servers, broker)
  try {
    const first = startBoth(rig)
    await rig.caughtUp(first.running)
    await first.running.stop()
    const id = await notedId(rig)
    await makeAnew(rig)
    const capture = rig.start({ role: 'capture' })
    await rig.source.query("update parents set name = 'later'")
    await expect.poll(() => highOf(broker, rig)).toBeGreaterThan(0)
    const deliver = rig.start({ role: 'deliver' })
    await rig.caughtUp(deliver)
    await deliver.stop()
    expect(await rig.differences()).toEqual([])
    const now = await notedId(rig)
    expect(now).toMatch(/^[\w-]{22}$/)
    expect(warnings(deliver)).toEqual([`topic ${topicOf(rig)} was deleted and made anew (its id is ${now}, and was ${id}); nothing of it was missing`])
    const again = rig.start({ role: 'deliver' })
    await rig.caughtUp(again)
    await again.stop()
    expect(warnings(again)).toEqual([])
    // An installation of before ids were noted takes the one that it finds.
    await rig.destination.query('drop table rekey.topic_id')
    const older = rig.start({ role: 'deliver' })
    await rig.caughtUp(older)
    await Promise.all([older.stop(), capture.stop()])
    expect([warnings(older), await notedId(rig)]).toEqual([[], now])
  } finally {
    await rig.close()
  }
})

test('a capture that comes back and finds another topic stops', async () => {
  const rig = await kafkaRig(servers, broker)
  try {
    // So that it writes nothing while there is no topic.
    Object.assign(rig.config, { heartbeat: 60_000 })
    const { capture, deliver, running } = startBoth(rig)
    await rig.caughtUp(running)
    // The copy alone may have brought all of it; this comes through the topic.
    await rig.source.query("update parents set name = 'streams'")
    await rig.caughtUp(running)
    await deliver.stop()
    await makeAnew(rig)
    await rig.source.query(`select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = 'rekey_${rig.config.pipeline}'`)
    expect(await failureOf(capture)).toMatchObject({ code: 'LOG_TOPIC', exit: 5, message: expect.stringContaining('was deleted and made anew under way') as string })
  } finally {
    await rig.close()
  }
})
