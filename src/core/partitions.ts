import { quoteIdent, quoteName } from './quote.ts'
import { nameOf, type TableName } from './relation.ts'

/** A partition with rows of a partitioned table that is carried, as the source has it. */
export interface Leaf extends TableName {
  /** The partitioned table; `root` by nameOf(). */
  readonly rootName: TableName
  readonly root: string
  readonly oid: string
  /** What ties it to its root: another text after it, or what is between them, was detached and attached. */
  readonly link: string
  /** It and all between it and the root were made as partitions, and it has its first file: nothing was written to it past the root. */
  readonly born: boolean
  /** The file of its rows: another one after a rewrite, which gives rows new writers and puts none in the stream. */
  readonly file: string
  /** It is unlogged or foreign: its changes are in no stream. */
  readonly silent: boolean
  /** One that may be written to itself, to have its rows in the stream; null where there is none. */
  readonly column: string | null
  /** Some of its values may be stored apart, which an update leaves out that does not change them. */
  readonly large: boolean
  /** Replica identities, as SQL has them: its own, and its root's. */
  readonly identity: string
  readonly rootIdentity: string
}

export interface KnownLeaf {
  readonly name: string
  readonly link: string
  /** Rows of transactions before this one (64 bits) are not known to be in the stream. */
  readonly from?: string
  /** The file to which `from` belongs. */
  readonly file?: string
  /** It was detached or dropped. */
  readonly gone?: true
}

/** By root and oid: what a run has seen. */
export type KnownLeaves = Readonly<Record<string, Readonly<Record<string, KnownLeaf>>>>

export interface PartitionNews {
  readonly known: KnownLeaves
  /** Leaves that were attached: `from` is of KnownLeaf. */
  readonly prove: readonly { readonly leaf: Leaf; readonly from: string }[]
  readonly refused: readonly Refused[]
}

/** What cannot be followed, as a sentence, and what to do before the next start; null where only a new run helps. */
export interface Refused {
  readonly text: string
  readonly fix: string | null
}

/** A run begins with these: the initial copy reads all of them through their roots. */
export function firstLeaves(roots: readonly TableName[], leaves: readonly Leaf[]): KnownLeaves {
  const of = (root: string): Record<string, KnownLeaf> =>
    Object.fromEntries(leaves.filter((leaf) => leaf.root === root).map((leaf) => [leaf.oid, { name: nameOf(leaf), link: leaf.link }]))
  return Object.fromEntries(roots.map(nameOf).map((root) => [root, of(root)]))
}

/**
 * Changes of a partition are published as its root's only while it is one (manual, CREATE PUBLICATION, publish_via_partition_root). So what
 * was written to it before, and what was deleted while it was away, is in no stream. `next`: every transaction that wrote before what was
 * read has a lower id than this.
 */
export function partitionNews(known: KnownLeaves, leaves: readonly Leaf[], next: string): PartitionNews {
  const here = new Map(leaves.map((leaf) => [leaf.oid, leaf]))
  const refused: Refused[] = []
  const prove: { leaf: Leaf; from: string }[] = []
  const now: Record<string, Record<string, KnownLeaf>> = {}
  for (const [root, was] of Object.entries(known)) {
    now[root] = Object.fromEntries(Object.entries(was).map(([oid, leaf]) => [oid, here.has(oid) ? leaf : { ...leaf, gone: true }]))
  }
  for (const leaf of leaves) {
    const name = nameOf(leaf)
    const was = now[leaf.root]?.[leaf.oid]
    const doubted = (from: string): KnownLeaf => ({ name, link: leaf.link, from, file: leaf.file })
    if (leaf.silent) {
      now[leaf.root] = { ...now[leaf.root], [leaf.oid]: doubted(next) }
      const fix = `alter table ${quoteName(leaf)} set logged; or, where it is a foreign table, detach it.`
      refused.push({ text: `the changes of ${name}, a partition of ${leaf.root}, are in no stream: it is unlogged or foreign`, fix })
    } else if (was && (was.gone || was.link !== leaf.link)) {
      const text = `${name} was detached from ${leaf.root} and attached again: what was changed in it meanwhile is in no stream`
      refused.push({ text, fix: null })
    } else {
      const sure = was ? was.from === undefined : leaf.born
      const from = was?.from !== undefined && was.file === leaf.file ? was.from : next
      if (!sure) prove.push({ leaf, from })
      now[leaf.root] = { ...now[leaf.root], [leaf.oid]: sure ? { name, link: leaf.link } : doubted(from) }
      if (leaf.rootIdentity === 'full' && leaf.identity !== 'full') refused.push(otherIdentity(leaf))
    }
  }
  return { known: now, prove, refused }
}

/** A new partition has the identity DEFAULT whatever its root has; the stream then calls old rows whole of which it has the key alone. */
function otherIdentity(leaf: Leaf): Refused {
  return {
    text: `${nameOf(leaf)} has not the replica identity FULL, as its root ${leaf.root} has: old rows are told as whole that are not`,
    fix: `alter table only ${quoteName(leaf)} replica identity full;`,
  }
}

/** These were found to have no row of before. */
export function provenLeaves(known: KnownLeaves, proven: readonly Leaf[]): KnownLeaves {
  const now: Record<string, Record<string, KnownLeaf>> = { ...known }
  for (const leaf of proven) now[leaf.root] = { ...now[leaf.root], [leaf.oid]: { name: nameOf(leaf), link: leaf.link } }
  return now
}

/**
 * What to run at the source so that all rows of these come in the stream. Large values come along only as parts of a whole old row: the
 * partition's replica identity has it written, the root's has it told; in one transaction, as no other partition may be read so meanwhile.
 */
export function writeAgain(leaves: readonly Leaf[]): string {
  return leaves.map((leaf) => {
    const column = quoteIdent(leaf.column ?? '')
    const update = `update only ${quoteName(leaf)} set ${column} = ${column};`
    if (!leaf.large) return update
    const identify = (own: string, its: string): string =>
      `alter table only ${quoteName(leaf.rootName)} replica identity ${its}; alter table only ${quoteName(leaf)} replica identity ${own};`
    return `begin; ${identify('full', 'full')} ${update} ${identify(leaf.identity, leaf.rootIdentity)} commit;`
  }).join(' ')
}

const NAMED = 5

/** A sentence for each table of which partitions are gone: nothing says what is to become of their rows. */
export function goneSentences(known: KnownLeaves): string[] {
  return Object.entries(known).flatMap(([root, leaves]) => {
    const names = Object.values(leaves).filter((leaf) => leaf.gone).map((leaf) => leaf.name).sort()
    if (names.length === 0) return []
    const more = names.length > NAMED ? ` and ${names.length - NAMED} more` : ''
    return [`${names.slice(0, NAMED).join(', ')}${more} of ${root} was detached or dropped at the source: ` +
      'its rows stay at the destination as they were; delete them there if they are not wanted']
  })
}
