import type { Query } from './lookup.ts'

/** A record of the change log that cannot be read, as it stood there. */
export interface StoredLetter {
  readonly topic: string
  readonly partition: number
  readonly offset: string
  readonly reason: string
  readonly key: Buffer | null
  readonly value: Buffer | null
  /** Hexadecimal, by name. */
  readonly headers: Readonly<Record<string, string>>
}

/** Keeps a record for a person to look at. One that is met again, because the log is read again, is kept once. */
export async function keepLetter(query: Query, pipeline: string, letter: StoredLetter): Promise<void> {
  const hex = (bytes: Buffer | null): string | null => (bytes === null ? null : bytes.toString('hex'))
  const { topic, partition, offset, reason, key, value, headers } = letter
  await query(
    `insert into rekey.dead_letter (pipeline, topic, partition, "offset", reason, key, value, headers)
     values ($1, $2, $3, $4, $5, decode($6, 'hex'), decode($7, 'hex'), $8) on conflict do nothing`,
    [pipeline, topic, partition, offset, reason, hex(key), hex(value), JSON.stringify(headers)])
}

export async function isKept(query: Query, pipeline: string, { topic, partition, offset }: Pick<StoredLetter, 'topic' | 'partition' | 'offset'>): Promise<boolean> {
  const sql = 'select 1::text from rekey.dead_letter where pipeline = $1 and topic = $2 and partition = $3 and "offset" = $4'
  return (await query(sql, [pipeline, topic, partition, offset])).length > 0
}

/** How many there are. A database that an earlier rekey has set up has no place for them, and none. */
export async function countLetters(query: Query, pipeline: string): Promise<number> {
  if ((await query("select (to_regclass('rekey.dead_letter') is not null)::text", []))[0][0] !== 'true') return 0
  return Number((await query('select count(*)::text from rekey.dead_letter where pipeline = $1', [pipeline]))[0][0])
}
