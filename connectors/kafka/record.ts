/** What a producer is given for one record. Its bytes must stay as they are until the broker has them. */
export interface NewRecord {
  readonly key: Buffer | null
  readonly value: Buffer
  readonly headers: { readonly rekey: string }
  /** Default 0. */
  readonly partition?: number
}

/** A record of a per-table topic; one without a value says that its key is gone. */
export interface TableRecord {
  readonly topic: string
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: Readonly<Record<string, Buffer>>
}

/** What a consumer has of one record. */
export interface StoredRecord {
  readonly offset: string
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers?: Readonly<Record<string, Buffer | string | (Buffer | string)[] | undefined>>
}

/** A record that we did not write, or that is damaged. Names what is wrong with it and never what is in it. */
export class Unreadable extends Error {}
