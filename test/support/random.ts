/** A repeatable source of chance for tests and workloads: the same seed gives the same sequence on every machine. */
export interface Random {
  readonly seed: number
  /** At least 0, below 1. */
  next(): number
  /** A whole number from lo to hi, both included. */
  int(lo: number, hi: number): number
  pick<T>(from: readonly T[]): T
  /** True with this probability. */
  chance(probability: number): boolean
  /** A shuffled copy. */
  shuffle<T>(items: readonly T[]): T[]
}

/** The seed is `seed`, else the environment's REKEY_SEED, else drawn; unless `quiet`, it is printed, so that a failure can be repeated. */
export function random(options: { readonly seed?: number; readonly quiet?: boolean } = {}): Random {
  const seed = options.seed ?? seedFromEnvironment() ?? Math.floor(Math.random() * 2 ** 32)
  if (!options.quiet) console.info(`REKEY_SEED=${seed}`)
  const next = mulberry32(seed)
  const int = (lo: number, hi: number) => lo + Math.floor(next() * (hi - lo + 1))
  return {
    seed, next, int,
    pick(from) {
      if (from.length === 0) throw new RangeError('pick from nothing')
      return from[int(0, from.length - 1)]
    },
    chance: (probability) => next() < probability,
    shuffle(items) {
      const out = [...items]
      for (let i = out.length - 1; i > 0; i--) {
        const j = int(0, i)
        ;[out[i], out[j]] = [out[j], out[i]]
      }
      return out
    },
  }
}

function seedFromEnvironment(): number | undefined {
  const text = process.env['REKEY_SEED']
  if (text === undefined || text === '') return undefined
  if (!/^\d{1,10}$/.test(text)) throw new Error(`REKEY_SEED is not a whole number: ${text}`)
  return Number(text) >>> 0
}

/** Tommy Ettinger's generator: 32 bits of state, enough for test data. */
function mulberry32(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}
