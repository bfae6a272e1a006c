import type { Random } from '../test/support/random.ts'

const FIRST = ['Ada', 'Grace', 'Alan', 'Barbara', 'Edsger', 'Frances', 'Donald', 'Hedy', 'Niklaus', 'Radia', 'Tony', 'Margaret', 'Ken',
  'Sophie', 'José', 'Zoë']
const LAST = ['Lovelace', 'Hopper', 'Turing', 'Liskov', 'Dijkstra', 'Allen', 'Knuth', 'Lamarr', 'Wirth', 'Perlman', 'Hoare', 'Hamilton',
  'Müller']

export interface Person {
  readonly first: string
  readonly last: string
  readonly name: string
  /** As this person typed it: with capital letters. */
  readonly email: string
}

/** Person number `i` is the same one on both sides. */
export function person(i: number): Person {
  const first = FIRST[i % FIRST.length]
  const last = LAST[(i * 5) % LAST.length]
  const ascii = (text: string): string => text.normalize('NFD').replace(/[^A-Za-z]/g, '')
  return { first, last, name: `${ascii(first).toLowerCase()}${i}`, email: `${ascii(first)}.${ascii(last)}${i}@Example.org` }
}

/** Who lives where. Numbers of people, so that both sides and the writers mean the same ones. */
export const isShared = (i: number): boolean => i % 4 === 1
export const isNamesake = (i: number): boolean => i % 10 === 3 && !isShared(i)
/** People of the destination who sign up at the source while the demo runs. */
export const GUEST = 100_000
/** People of the destination alone. */
export const LOCAL = 200_000

/** How many of everything. */
export interface Sizes {
  readonly users: number
  readonly groups: number
  readonly products: number
  readonly workspaces: number
  readonly folders: number
  readonly projects: number
  readonly nodesPerProject: number
  readonly events: number
  /** At the destination. */
  readonly guests: number
  readonly locals: number
  readonly theirProjects: number
}

export function sizesOf(scale: number): Sizes {
  const at = (n: number, least: number): number => Math.max(least, Math.round(n * scale))
  return {
    users: at(200, 40), groups: at(40, 8), products: 6, workspaces: at(20, 4), folders: at(300, 30), projects: at(3_000, 60),
    nodesPerProject: 5,
    events: at(30_000, 300), guests: at(200, 60), locals: at(100, 20), theirProjects: at(400, 20),
  }
}

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz'

/** An id as the destination's own application makes it: prefix and 26 characters, with the version digit of a UUIDv7. */
export function nativeId(random: Random, prefix: string): string {
  const digits = Array.from({ length: 26 }, (_, i) => (i === 0 ? '0' : i === 10 ? 'e' : ALPHABET[random.int(0, 31)]))
  return `${prefix}_${digits.join('')}`
}

/** A time in text, `minutes` after the beginning of 2024. */
export function timeOf(minutes: number): string {
  return new Date(Date.UTC(2024, 0, 1) + minutes * 60_000).toISOString()
}
