import { chownSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { crc32c } from '../../connectors/kafka/crc32c.ts'
import { client } from './database.ts'
import type { Server } from './postgres.ts'

/** Offsets in ControlFileData and CheckPoint (catalog/pg_control.h) and in the first page of a WAL file (access/xlog_internal.h). */
const CONTROL = { state: 16, checkPoint: 32, copy: 40 }
const CHECKPOINT = { redo: 0, timeline: 8, nextXid: 24, bytes: 88 }
const SHUT_DOWN = 1
const XLP_LONG_HEADER = 2
const LONG_PAGE_HEADER = 40
const RECORD_HEADER = 24
/** Transactions in a file of pg_xact, and its bytes (access/slru.h, clog.c). */
const XACTS = 1 << 20
const XACT_BYTES = 256 << 10

export interface Reset {
  /** Id of the next transaction, 64 bits. */
  readonly nextXid: bigint
  /** Number of the WAL file to begin with: address / 16 MB. */
  readonly segment: number
}

/**
 * What pg_resetwal -x and -l do, which the packages of servers lack: after it the server gives these transaction ids and WAL addresses.
 * Every row that is there is frozen first, as its writer would lie in the future. No slot may be there. Resolves when the server is up again.
 */
export async function resetWal(server: Server, to: Reset): Promise<void> {
  await freezeAll(server)
  await server.stop({ keep: true })
  const wal = join(server.dataDir, 'pg_wal')
  const files = readdirSync(wal).filter((name) => /^[0-9A-F]{24}$/.test(name))
  const first = readFileSync(join(wal, files[0]))
  const control = readFileSync(join(server.dataDir, 'global', 'pg_control'))
  const sumAt = sumOf(control)
  if (control.readInt32LE(CONTROL.state) !== SHUT_DOWN) throw new Error('the server was not shut down cleanly')
  const segmentBytes = first.readUInt32LE(32)
  const page = BigInt(to.segment) * BigInt(segmentBytes)
  const checkpoint = control.subarray(CONTROL.copy, CONTROL.copy + CHECKPOINT.bytes)
  checkpoint.writeBigUInt64LE(page + BigInt(LONG_PAGE_HEADER), CHECKPOINT.redo)
  checkpoint.writeBigUInt64LE(to.nextXid, CHECKPOINT.nextXid)
  control.writeBigUInt64LE(page + BigInt(LONG_PAGE_HEADER), CONTROL.checkPoint)
  control.writeUInt32LE(crc32c(control, 0, sumAt), sumAt)
  const put = (name: string, bytes: Buffer): void => putFile(server.dataDir, name, bytes)
  put('global/pg_control', control)
  for (const name of files) rmSync(join(wal, name))
  const segment = Buffer.alloc(segmentBytes)
  first.copy(segment, 0, 0, LONG_PAGE_HEADER)
  segment.writeUInt16LE(XLP_LONG_HEADER, 2)
  segment.writeBigUInt64LE(page, 8)
  segment.writeUInt32LE(0, 16)
  record(checkpoint).copy(segment, LONG_PAGE_HEADER)
  const hex = (n: number): string => n.toString(16).toUpperCase().padStart(8, '0')
  const perLog = 2 ** 32 / segmentBytes
  put(`pg_wal/${hex(checkpoint.readUInt32LE(CHECKPOINT.timeline))}${hex(Math.floor(to.segment / perLog))}${hex(to.segment % perLog)}`, segment)
  const statuses = Number((to.nextXid & 0xffffffffn) / BigInt(XACTS)).toString(16).toUpperCase().padStart(4, '0')
  put(`pg_xact/${statuses}`, Buffer.alloc(XACT_BYTES))
  await server.restart()
}

/** As the server's own user. */
function putFile(dataDir: string, name: string, bytes: Buffer): void {
  const { uid, gid } = statSync(join(dataDir, 'PG_VERSION'))
  writeFileSync(join(dataDir, name), bytes, { mode: 0o600 })
  if (process.getuid?.() === 0) chownSync(join(dataDir, name), uid, gid)
}

async function freezeAll(server: Server): Promise<void> {
  const admin = await client(server.url())
  await admin.query('alter database template0 allow_connections true')
  const { rows } = await admin.query<{ datname: string }>('select datname from pg_database')
  await admin.end()
  for (const { datname } of rows) {
    const session = await client(server.url(datname))
    await session.query('vacuum (freeze)')
    await session.end()
  }
}

/** A shutdown checkpoint, which begins and ends a history (access/xlogrecord.h: header, one block of data below 256 bytes). */
function record(checkpoint: Buffer): Buffer {
  const it = Buffer.alloc(RECORD_HEADER + 2 + checkpoint.length)
  it.writeUInt32LE(it.length, 0)
  it[RECORD_HEADER] = 0xff
  it[RECORD_HEADER + 1] = checkpoint.length
  checkpoint.copy(it, RECORD_HEADER + 2)
  const summed = Buffer.concat([it.subarray(RECORD_HEADER), it.subarray(0, RECORD_HEADER - 4)])
  it.writeUInt32LE(crc32c(summed, 0, summed.length), RECORD_HEADER - 4)
  return it
}

/** The sum stands at the end of the structure, whose length is the version's. */
function sumOf(control: Buffer): number {
  for (let at = CONTROL.copy + CHECKPOINT.bytes; at < 512; at += 4) if (crc32c(control, 0, at) === control.readUInt32LE(at)) return at
  throw new Error('pg_control has no sum where one is looked for')
}
