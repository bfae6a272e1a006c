import { LogicalReplicationService } from 'pg-logical-replication'
import type { Client } from 'pg'
import { RekeyError, type ErrorCode } from '../../src/core/errors.ts'
import { formatLsn, parseLsn, type Lsn } from '../../src/core/lsn.ts'
import { quoteIdent, quoteLiteral } from '../../src/core/quote.ts'
import type { Transaction } from '../../src/core/change.ts'
import { assemble, type Assembler } from './assemble.ts'
import { clientConfig, remoteError } from './connect.ts'
import { socketOf } from './frames.ts'
import { pacer, tap } from './pace.ts'
import { pgoutput } from './pgoutput.ts'
import { startStatus, timingsOf, type Confirmed, type Status } from './status.ts'

export interface ReceiveOptions {
  readonly url: string
  readonly slot: string
  readonly publication: string
  readonly epoch: number
  /** Transactions at or below this commit LSN are not given out. */
  readonly after: Lsn
  /** Transactions waiting for the consumer, in bytes, before the socket is left alone. Default 16 MB. */
  readonly queueBytes?: number
}

/** An address told by a keepalive is passed on this often; sooner only when the server asks for an answer. */
const REACHED_MS = 10_000
const CLOSE_MS = 1_000
const TERMINATE = Buffer.from([88, 0, 0, 0, 4])
/** 42704 (undefined object) is the slot before the stream has begun and the publication after that. */
const START_CODES: Readonly<Record<string, ErrorCode>> = { 42704: 'SLOT_MISSING', 55000: 'SLOT_LOST', '58P01': 'SLOT_LOST' }
const RUN_CODES: Readonly<Record<string, ErrorCode>> = { 42704: 'PUBLICATION', 55000: 'SLOT_LOST', '58P01': 'SLOT_LOST' }

export interface Receiver {
  /** Resolves when there is something to take or the stream has ended. */
  ready(): Promise<void>
  take(): readonly Transaction[]
  /** The reason of the end; undefined while it runs. */
  ended(): RekeyError | undefined
  close(): Promise<void>
}

type Plugin = Parameters<LogicalReplicationService['subscribe']>[0]

/** One connection's state. `client` and what follows are there from the moment the connection is. */
interface Connection {
  readonly options: ReceiveOptions
  readonly confirmed: Confirmed
  readonly service: LogicalReplicationService
  readonly assembler: Assembler
  failure: RekeyError | undefined
  wake: () => void
  begun: { readonly client: Client; readonly status: Status; readonly flow: ReturnType<typeof tap> } | undefined
}

/** Opens a replication connection and decodes what it sends; see Receiver. Throws RekeyError CONFIG; all else is told by ended(). */
export function receive(options: ReceiveOptions, confirmed: Confirmed): Receiver {
  const service = new LogicalReplicationService(clientConfig(options.url), {
    // Its own timer would confirm what was only received, and its flow control is per message: both are ours.
    acknowledge: { auto: false, timeoutSeconds: 0 },
    flowControl: { enabled: false },
  })
  const assembler = assemble({ epoch: options.epoch, after: options.after })
  const it: Connection = { options, confirmed, service, assembler, failure: undefined, wake: () => {}, begun: undefined }
  const done = run(it)
  return {
    ready: () => new Promise((resolve) => {
      it.wake = resolve
      if (it.failure || assembler.bytes() > 0) resolve()
    }),
    take() {
      const taken = assembler.take()
      it.begun?.flow.full(false)
      return taken
    },
    ended: () => it.failure,
    async close() {
      terminate(it)
      const timer = setTimeout(() => it.begun && socketOf(it.begun.client).destroy(), CLOSE_MS)
      await done
      clearTimeout(timer)
      await service.destroy().catch(() => {})
    },
  }
}

function run(it: Connection): Promise<void> {
  const { service, options } = it
  let codes = START_CODES
  // The same errors come as the rejection of subscribe().
  service.on('error', () => {})
  service.on('start', () => {
    codes = RUN_CODES
    it.begun?.status.send(false)
  })
  service.on('heartbeat', heartbeat(it))
  const plugin = { name: 'pgoutput', parse: parser(it), start: (client: Client) => start(it, client) }
  return service.subscribe(plugin as unknown as Plugin, options.slot, formatLsn(options.after)).then(
    () => end(it, new RekeyError('REMOTE', 'the source ended the replication stream')),
    (error: unknown) => end(it, remoteError(error, 'read the replication stream', codes)),
  )
}

function end(it: Connection, error: RekeyError): void {
  it.failure ??= error
  it.begun?.status.stop()
  if (it.begun) socketOf(it.begun.client).destroy()
  it.wake()
}

/** A last status, then Terminate: the walsender reads both even while it is sending, leaves at once and frees the slot. */
function terminate(it: Connection): void {
  if (it.begun && !it.failure) {
    it.begun.status.send(false)
    socketOf(it.begun.client).end(TERMINATE)
    it.begun.flow.full(false)
  }
  it.failure ??= new RekeyError('REMOTE', 'the replication stream was closed')
  it.begun?.status.stop()
  it.wake()
}

/** Decodes at once, for the bytes are overwritten by the next read. An exception would be the process's, so it is kept. */
function parser(it: Connection): (message: Buffer) => null {
  const decode = pgoutput(it.assembler)
  return (message) => {
    if (it.failure) return null
    try {
      decode(message, 0, message.length)
    } catch (error) {
      end(it, error instanceof RekeyError ? error : new RekeyError('INTERNAL', 'replication stream: not decodable', { cause: error }))
    }
    return null
  }
}

function heartbeat(it: Connection): (lsn: string, time: number, asked: boolean) => void {
  let told = performance.now()
  return (lsn, _time, asked) => {
    if (it.failure) return
    const now = performance.now()
    if (asked || now - told >= REACHED_MS) {
      it.assembler.reached(parseLsn(lsn), Date.now() * 1000)
      told = now
    }
    if (asked) it.begun?.status.send(false)
  }
}

async function start(it: Connection, client: Client): Promise<unknown> {
  const facts = await slotFacts(client, it.options)
  const socket = socketOf(client)
  const flow = tap(socket)
  const status = startStatus({
    confirmed: it.confirmed,
    timings: timingsOf(facts.timeoutMs),
    floor: facts.confirmed,
    isReading: () => !flow.isFull(),
    write: (lsn, ask) => void it.service.acknowledge(lsn, ask),
    dead: (error) => end(it, error),
  })
  // Newer servers leave out the changes of a publication that is missing, with no more than this warning.
  client.on('notice', (notice) => {
    if (notice.code === '55000') end(it, new RekeyError('PUBLICATION', `the source has lost publication ${it.options.publication}`))
  })
  it.begun = { client, status, flow }
  if (it.failure) end(it, it.failure)
  const { queueBytes = 16 << 20 } = it.options
  const shouldRest = pacer()
  // After the library's own listener, so that the chunk has been decoded.
  socket.on('data', (chunk: Buffer) => {
    const now = performance.now()
    status.heard(now)
    if (it.failure) return
    if (it.assembler.bytes() >= queueBytes) flow.full(true)
    else flow.rest(shouldRest(chunk.length, now))
    if (it.assembler.bytes() > 0) it.wake()
  })
  return client.query(startCommand(it.options, facts.versionNum))
}

interface SlotFacts {
  readonly versionNum: number
  readonly timeoutMs: number
  readonly confirmed: Lsn
}

interface FactsRow {
  readonly version: string
  readonly timeout: string
  readonly confirmed: string | null
  readonly published: boolean
}

async function slotFacts(client: Client, options: ReceiveOptions): Promise<SlotFacts> {
  const { slot, publication } = options
  const answer = await client.query<FactsRow>(
    "select current_setting('server_version_num') as version, " +
    "(select setting from pg_settings where name = 'wal_sender_timeout') as timeout, " +
    `(select confirmed_flush_lsn::text from pg_replication_slots where slot_name = ${quoteLiteral(slot)}) as confirmed, ` +
    `exists (select from pg_publication where pubname = ${quoteLiteral(publication)}) as published`)
  const { version, timeout, confirmed, published } = answer.rows[0]
  if (confirmed === null) throw new RekeyError('SLOT_MISSING', `the source has no logical replication slot ${slot}`)
  if (!published) throw new RekeyError('PUBLICATION', `the source has no publication ${publication}`)
  return { versionNum: Number(version), timeoutMs: Number(timeout), confirmed: parseLsn(confirmed) }
}

function startCommand(options: ReceiveOptions, versionNum: number): string {
  const names = quoteLiteral(quoteIdent(options.publication))
  // Older servers refuse the option, and so send no logical messages.
  const messages = versionNum >= 140_000 ? ", messages 'true'" : ''
  return `START_REPLICATION SLOT ${quoteIdent(options.slot)} LOGICAL ${formatLsn(options.after)} ` +
    `(proto_version '1', publication_names ${names}${messages})`
}
