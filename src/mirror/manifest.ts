import { createHash } from 'node:crypto'

/**
 * The root of a Merkle tree over lines (RFC 6962, 2.1: a leaf is hashed behind a zero byte, a node behind a one), so that one line can be
 * shown to belong to a manifest without the others. Memory grows with the logarithm of the number of lines.
 */
export interface MerkleTree {
  add(line: string): void
  /** Hex. Of no line: the digest of nothing. */
  root(): string
}

export function merkleTree(): MerkleTree {
  /** Complete trees, from the largest to the smallest. */
  const trees: { readonly leaves: number; readonly hash: Buffer }[] = []
  return {
    add(line) {
      let tree = { leaves: 1, hash: digest(0, [Buffer.from(line, 'utf8')]) }
      for (let last = trees.at(-1); last?.leaves === tree.leaves; last = trees.at(-1)) {
        trees.pop()
        tree = { leaves: 2 * tree.leaves, hash: digest(1, [last.hash, tree.hash]) }
      }
      trees.push(tree)
    },
    root() {
      if (trees.length === 0) return createHash('sha256').digest('hex')
      return trees.map(({ hash }) => hash).reduceRight((right, left) => digest(1, [left, right])).toString('hex')
    },
  }
}

function digest(kind: 0 | 1, parts: readonly Buffer[]): Buffer {
  const hash = createHash('sha256').update(Uint8Array.of(kind))
  for (const part of parts) hash.update(part)
  return hash.digest()
}
