import { setTimeout as sleep } from 'node:timers/promises'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { makeServed } from '../../connectors/kafka/topics.ts'
import type { Finding } from '../../src/core/check/finding.ts'
import { type CommandLine, commandLine } from '../support/command-line.ts'
import { freePort } from '../support/free-port.ts'
import { administered } from '../support/kafka-rig.ts'
import { pair } from '../support/servers.ts'
import { startKafka } from '../support/services/kafka.ts'

const [{ source: from, destination: to }, broker] = await Promise.all([pair({ source: 16, destination: 18 }), startKafka()])
const TOPIC = 'clitest.changes'
const topics = (): Promise<string[]> => administered(broker, async (admin) => (await admin.listTopics()).filter((name) => name.startsWith('clitest')).sort())
const groups = (): Promise<string[]> => administered(broker, async (admin) => (await admin.listGroups()).groups.map((one) => one.groupId))
const make = (topic: string, settings: Record<string, string> = {}, numPartitions = 1) => administered(broker, (admin) => makeServed(admin, [
  { topic, numPartitions, configEntries: Object.entries(settings).map(([name, value]) => ({ name, value })) }]))
const drop = (topic: string) => administered(broker, (admin) => admin.deleteTopics({ topics: [topic] }))

let line: CommandLine
let written = ''
/** Has rekey.yaml say this of Kafka. */
const kafka = (text: string, bootstrap = broker.bootstrap): Promise<void> =>
  writeFile(join(line.folder, 'rekey.yaml'), written.replace(/^log: kafka$[^]*/m, `log: kafka\nkafka: { brokers: ['${bootstrap}'], ${text} }\n`))

beforeAll(async () => {
  line = await commandLine(from, to, 'log: kafka\n')
  written = await readFile(join(line.folder, 'rekey.yaml'), 'utf8')
})
beforeEach(() => kafka('topics: per-table'))
afterAll(async () => {
  await kafka('topics: per-table')
  await line.close()
})

const found = async (): Promise<(Finding & { text: string })[]> =>
  ((await line.json(['check'])).findings as Finding[]).filter((one) => one.code.startsWith('KAFKA')).map((one) => ({ ...one, text: `${one.group} ${one.severity} ${one.code} ${one.subject}` }))

describe('check asks the brokers, too', () => {
  it('has nothing to say where topics can be made, and makes none', async () => {
    expect(await found()).toEqual([])
    expect(await topics()).toEqual([])
  })

  it('says when no broker answers', async () => {
    await kafka('', `127.0.0.1:${await freePort()}`)
    const { exit, out } = await line.rekey(['check'])
    expect([exit, out.match(/KAFKA_\w+/g)]).toEqual([5, ['KAFKA_AWAY']])
    expect(out).toContain('Correct kafka.brokers')
  })

  it('names a file of certificates that cannot be read', async () => {
    await kafka('ssl: { ca: nowhere.pem }')
    expect((await found()).map(({ text, message }) => [text, message])).toEqual([['connectivity error KAFKA_CONFIG kafka', `kafka.ssl.ca: ${join(line.folder, 'nowhere.pem')} cannot be read`]])
  })

  it.each([
    [{ 'retention.ms': '1000' }, 1, 'its retention.ms is 1000 and must be -1', `kafka-configs.sh --alter --entity-type topics --entity-name ${TOPIC} --add-config retention.ms=-1`],
    [{ 'cleanup.policy': 'compact' }, 1, 'its cleanup.policy is compact', 'cleanup.policy=delete'],
    [{ 'max.message.bytes': '100000' }, 1, 'its max.message.bytes is 100000', 'max.message.bytes=589824'],
    [{}, 3, 'it has 3 partitions', 'Set kafka.partitions to 3'],
  ])('says what a topic must be: %o, %i partitions', async (settings, partitions, message, fix) => {
    await make(TOPIC, { 'retention.ms': '-1', ...settings }, partitions)
    try {
      const all = await found()
      expect(all.map((one) => one.text)).toEqual([`replication error KAFKA_TOPIC topic ${TOPIC}`, `capacity warning KAFKA_COPIES topic ${TOPIC}`])
      expect([all[0].message, all[0].fix]).toEqual([expect.stringContaining(message), expect.stringContaining(fix)])
    } finally {
      await drop(TOPIC)
    }
  })

  it('says when more copies are wanted than there are brokers', async () => {
    await kafka('replication: 2')
    const [finding] = await found()
    expect([finding.text, finding.message]).toEqual([`access error KAFKA_TOPIC_ACCESS topic ${TOPIC}`, `could not make topic ${TOPIC}: INVALID_REPLICATION_FACTOR`])
    expect(finding.fix).toContain('--replication-factor 2 --config cleanup.policy=delete --config retention.ms=-1')
  })

  it('says what makes several partitions go as one', async () => {
    await kafka('partitions: 2')
    const mapping = (await readFile('mappings/demo/mapping.yaml', 'utf8')).replace(/^ {2}nodes:\n/m, '  nodes:\n    where: { id: [1] }\n')
    await mkdir(join(line.folder, 'filtered'))
    await writeFile(join(line.folder, 'filtered', 'mapping.yaml'), mapping)
    const text = await readFile(join(line.folder, 'rekey.yaml'), 'utf8')
    await writeFile(join(line.folder, 'rekey.yaml'), text.replace(/^mapping: .*$/m, `mapping: ${line.folder}/filtered`))
    const { findings } = await line.json(['check']) as { findings: Finding[] }
    expect(findings).toContainEqual(expect.objectContaining({
      group: 'mapping', severity: 'warning', code: 'ALL_PARTITIONS', subject: expect.stringMatching(/tables\.nodes\.where$/) as string, fix: expect.stringContaining('replica identity full') as string }))
  })
})

describe('remove takes the topics along that the pipeline has made', () => {
  beforeAll(async () => {
    await kafka('topics: per-table')
    await make('clitest.public.users')
    await make('clitest2.changes')
    let streams = false
    // Its reader joins a group a moment later, and a run that ends before has none.
    const joined = async (): Promise<void> => {
      while (!(await groups()).some((id) => id.startsWith('clitest.rekey.'))) await sleep(100)
    }
    await line.rekey(['run', '--json'], {
      on(text, signal) {
        if (!streams && (streams = text.includes('"phase":"stream"'))) void joined().then(signal)
      },
    })
  })

  it('not while Kafka is away, and says how to go on', async () => {
    expect(await topics()).toEqual(expect.arrayContaining([TOPIC, 'clitest.public.groups', 'clitest.public.users', 'clitest2.changes']))
    await kafka('', `127.0.0.1:${await freePort()}`)
    const { exit, err } = await line.rekey(['remove', '--yes'])
    expect([exit, err]).toEqual([6, expect.stringContaining('--keep-topics')])
    expect(await line.destination.query('select pipeline from rekey.checkpoint')).toEqual([{ pipeline: 'clitest' }])
  })

  it('after asking; those of others stay', async () => {
    const asked = await line.rekey(['remove'], { answer: 'no' })
    expect(asked.exit).toBe(2)
    expect((await topics()).length).toBeGreaterThan(5)
    expect((await groups()).some((id) => id.startsWith('clitest.rekey.'))).toBe(true)
    const { topics: said, destination } = await line.json(['remove', '--yes'])
    expect(said).toEqual({ removed: expect.arrayContaining([TOPIC, 'clitest.public.groups']) as string[], left: ['clitest.public.users'], groups: expect.any(Number) as number })
    expect(said.groups).toBeGreaterThan(0)
    expect(destination).toBe('schema dropped')
    expect(await topics()).toEqual(['clitest.public.users', 'clitest2.changes'])
    expect((await groups()).filter((id) => id.startsWith('clitest.rekey.'))).toEqual([])
    expect((await line.json(['remove', '--yes'])).topics).toEqual({ removed: [], left: ['clitest.public.users'], groups: 0 })
  })
})
