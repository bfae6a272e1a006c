import { execFile } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type ClientOptions, openClient } from '../../connectors/kafka/client.ts'
import { kafkaFacts } from '../../connectors/kafka/facts.ts'
import { makeTopic, readTopic } from '../../connectors/kafka/topics.ts'
import { judgeKafka } from '../../src/core/check/kafka.ts'
import type { RekeyError } from '../../src/core/errors.ts'
import { makeCertificates } from '../support/certificates.ts'
import { kafkaJars, startKafka, type Kafka } from '../support/services/kafka.ts'

const run = promisify(execFile)
const { at, remove } = await makeCertificates(['broker', 'client'])
afterAll(remove)

const PASSWORD = 'correct horse'
const files = { ca: at('ca.pem'), cert: at('client.pem'), key: at('client.key') }
const user = (mechanism: NonNullable<ClientOptions['sasl']>['mechanism'], password = PASSWORD) => ({ mechanism, username: mechanism === 'plain' ? 'app' : mechanism, password })

let broker: Kafka

/** TLS with certificates on both sides, and a user name with a password: on the one listener that there is. */
beforeAll(async () => {
  const pem = async (name: string): Promise<string> => (await readFile(at(name), 'utf8')).trim().replaceAll('\n', '\\n')
  const login = 'org.apache.kafka.common.security'
  broker = await startKafka({
    'listener.security.protocol.map': 'PLAINTEXT:SASL_SSL,CONTROLLER:PLAINTEXT', 'sasl.enabled.mechanisms': 'PLAIN,SCRAM-SHA-256,SCRAM-SHA-512',
    'sasl.mechanism.inter.broker.protocol': 'PLAIN',
    'listener.name.plaintext.plain.sasl.jaas.config': `${login}.plain.PlainLoginModule required username="app" password="${PASSWORD}" user_app="${PASSWORD}" user_stranger="${PASSWORD}";`,
    'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
    'super.users': 'User:ANONYMOUS;User:app;User:scram-sha-256;User:scram-sha-512',
    'listener.name.plaintext.scram-sha-256.sasl.jaas.config': `${login}.scram.ScramLoginModule required;`,
    'listener.name.plaintext.scram-sha-512.sasl.jaas.config': `${login}.scram.ScramLoginModule required;`,
    'listener.name.plaintext.ssl.client.auth': 'required', 'ssl.keystore.type': 'PEM', 'ssl.truststore.type': 'PEM',
    'ssl.keystore.certificate.chain': await pem('broker.pem'), 'ssl.keystore.key': await pem('broker.key'), 'ssl.truststore.certificates': await pem('ca.pem'),
  }, {
    ssl: { ca: await readFile(files.ca), cert: await readFile(files.cert), key: await readFile(files.key) }, sasl: { mechanism: 'plain', username: 'app', password: PASSWORD },
  })
  const properties = {
    'security.protocol': 'SASL_SSL', 'sasl.mechanism': 'PLAIN', 'sasl.jaas.config': `${login}.plain.PlainLoginModule required username="app" password="${PASSWORD}";`,
    'ssl.truststore.type': 'PEM', 'ssl.truststore.certificates': await pem('ca.pem'), 'ssl.keystore.type': 'PEM',
    'ssl.keystore.certificate.chain': await pem('client.pem'), 'ssl.keystore.key': await pem('client.key'),
  }
  await writeFile(at('admin.properties'), Object.entries(properties).map(([name, value]) => `${name}=${value}\n`).join(''))
  const classes = `${await kafkaJars()}/*`
  await Promise.all(['scram-sha-256', 'scram-sha-512'].map((name) => run('java', ['-cp', classes, 'kafka.admin.ConfigCommand', '--bootstrap-server', broker.bootstrap,
    '--command-config', at('admin.properties'), '--alter', '--entity-type', 'users', '--entity-name', name, '--add-config', `${name.toUpperCase()}=[password=${PASSWORD}]`])))
})
afterAll(() => broker?.stop())

const wish = (topic: string) => ({ topic, batchBytes: 1 << 19, replication: null })

async function refused(options: Partial<ClientOptions>): Promise<RekeyError> {
  const kafka = openClient({ brokers: [broker.bootstrap], ssl: files, sasl: user('plain'), codec: 'lean', ...options })
  return readTopic(kafka, wish('none')).then(() => { throw new Error('it was let in') }, (error: RekeyError) => error)
}

describe('a broker that wants certificates and a password', () => {
  test.each(['plain', 'scram-sha-256', 'scram-sha-512'] as const)('lets in who has both, by %s', async (mechanism) => {
    const kafka = openClient({ brokers: [broker.bootstrap], ssl: files, sasl: user(mechanism), codec: 'lean' })
    await makeTopic(kafka, wish(`by.${mechanism}`))
    expect(await readTopic(kafka, wish(`by.${mechanism}`))).toEqual({ id: expect.stringMatching(/^[\w-]{22}$/) as string, low: 0n, high: 0n, partitions: [{ low: 0n, high: 0n }] })
  })

  test.each(['plain', 'scram-sha-256'] as const)('a wrong password is a matter of privileges, and is not told: %s', async (mechanism) => {
    const error = await refused({ sasl: user(mechanism, 'wrong horse') })
    expect(error).toMatchObject({ code: 'PRIVILEGE', exit: 5 })
    expect(error.message).not.toContain('horse')
  })

  test('a certificate of an authority that is not known is refused', async () => {
    expect(await refused({ ssl: { ...files, ca: null } })).toMatchObject({ code: 'PRIVILEGE' })
  })

  test('a certificate for another name is refused', async () => {
    expect(await refused({ brokers: [broker.bootstrap.replace('127.0.0.1', 'localhost')] })).toMatchObject({ code: 'PRIVILEGE' })
  })

  test('who shows no certificate, or speaks without TLS, is not let in', async () => {
    expect((await refused({ ssl: { ...files, cert: null, key: null } })).exit).toBeGreaterThan(1)
    expect(await refused({ ssl: null })).toMatchObject({ code: 'REMOTE' })
  })

  test('check tells what was refused, and each right that is lacking', async () => {
    const asking = (sasl: ClientOptions['sasl']) => kafkaFacts(() => openClient({ brokers: [broker.bootstrap], ssl: files, sasl, codec: 'lean' }), {
      changes: wish('its.changes'), knownId: null, tables: { prefix: 'its', tables: [{ schema: 'public', table: 'users' }], replication: null, batchBytes: 1 << 19 }, group: 'its.rekey' })
    const judged = async (sasl: ClientOptions['sasl']): Promise<string[]> =>
      judgeKafka({ brokers: [broker.bootstrap], tls: true, sasl: 'plain', facts: await asking(sasl) }).map((one) => `${one.group} ${one.severity} ${one.code} ${one.subject}: ${one.message}`)
    expect(await judged(user('plain'))).toEqual([])
    expect(await judged(user('plain', 'wrong horse'))).toEqual([expect.stringMatching(/^access error KAFKA_REFUSED kafka: /)])
    expect(await judged({ ...user('plain'), username: 'stranger' })).toEqual([
      'access error KAFKA_TOPIC_ACCESS topic its.changes: could not read topic its.changes: TOPIC_AUTHORIZATION_FAILED',
      'access error KAFKA_TOPIC_ACCESS topic its.public.users: could not read topic its.public.users: TOPIC_AUTHORIZATION_FAILED',
      'access error KAFKA_WRITE kafka: could not begin a producer: CLUSTER_AUTHORIZATION_FAILED',
      // The library looks for the group's coordinator, whatever it is told, and says that it found none.
      'access error KAFKA_GROUP kafka: could not use groups its.rekey.*: KafkaJSGroupCoordinatorNotFound',
    ])
  })

  test('a file that cannot be read is named', () => {
    const open = (): unknown => openClient({ brokers: [broker.bootstrap], ssl: { ...files, ca: at('missing.pem') }, sasl: null, codec: 'lean' })
    expect(open).toThrowError(expect.objectContaining({ code: 'CONFIG', message: `kafka.ssl.ca: ${at('missing.pem')} cannot be read` }) as Error)
  })
})
