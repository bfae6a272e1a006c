/** A process that is to have a share of the partitions. */
export interface Sharer {
  readonly id: string
  /** Partitions that it has taken, each with the writer's number under which it did: of two who think they have one, the higher one has. */
  readonly held: ReadonlyMap<number, bigint>
}

/**
 * Who is to apply which partitions: as many each, some one more where it does not come out even. Nothing depends on the order in which
 * processes are named, and partitions move only from those who have too many, or are gone, to those who have too few.
 */
export function shareOut(sharers: readonly Sharer[], partitions: number): Map<string, number[]> {
  const shares = new Map(sharers.map(({ id }) => [id, [] as number[]]))
  const free: number[] = []
  for (let partition = 0; partition < partitions; partition++) {
    const holder = holderOf(partition, sharers)
    if (holder === null) free.push(partition)
    else shares.get(holder)!.push(partition)
  }
  // Who has most keeps one more, so that fewer have to move.
  const order = [...shares].sort(([a, mine], [b, theirs]) => theirs.length - mine.length || (a < b ? -1 : 1))
  const least = Math.floor(partitions / sharers.length)
  const share = (i: number): number => least + (i < partitions % sharers.length ? 1 : 0)
  order.forEach(([, mine], i) => free.push(...mine.splice(share(i))))
  free.sort((a, b) => a - b)
  order.forEach(([, mine], i) => mine.push(...free.splice(0, share(i) - mine.length)))
  return shares
}

function holderOf(partition: number, sharers: readonly Sharer[]): string | null {
  let latest: { readonly id: string; readonly writer: bigint } | null = null
  for (const { id, held } of sharers) {
    const writer = held.get(partition)
    if (writer === undefined) continue
    if (latest === null || writer > latest.writer || (writer === latest.writer && id < latest.id)) latest = { id, writer }
  }
  return latest?.id ?? null
}
