import type { JsonEdit, JsonStep } from '../mapping.ts'

/**
 * A place in a document as the paths of the edits see it. All paths are followed at once; each edit's steps have consecutive numbers,
 * and the number behind its last step means "the path leads here". Places that look the same to all paths are one object, so a
 * document is followed by look-ups alone, and there are only as many as the paths can tell apart.
 */
export interface Place {
  /** Numbers of the steps that are next here. Empty: no path leads here or below. */
  readonly next: readonly number[]
  /** Edits that lead to the value here, and to the keys of the object here, in their declared order. */
  readonly values: readonly JsonEdit[]
  readonly keys: readonly JsonEdit[]
  readonly children: Map<string | number | symbol, Place>
}

export interface Program {
  readonly start: Place
  /** Names of the members that conditions ask for. */
  readonly conditions: ReadonlySet<string>
  /** From a container to its child: a member by name, an item by index. */
  child(place: Place, child: string | number): Place
}

/** Children that no path names are alike. */
const OTHER_MEMBER = Symbol('member')
const OTHER_ITEM = Symbol('item')

const programs = new WeakMap<readonly JsonEdit[], Program>()

/** Remembered per list of edits, since a mapping's lists live as long as the run. */
export function compileEdits(edits: readonly JsonEdit[]): Program {
  const known = programs.get(edits)
  if (known !== undefined) return known
  const steps = edits.flatMap((edit) => [...edit.path, edit])
  const named = new Set(steps.map((s) => ('map' in s ? null : s.kind === 'member' ? s.name : s.kind === 'index' ? s.index : null)))
  const places = new Map<string, Place>()
  const intern = (next: number[]) => {
    const id = next.sort((a, b) => a - b).join()
    const place = places.get(id) ?? placeOf(steps, next)
    places.set(id, place)
    return place
  }
  const begins: number[] = []
  steps.forEach((_, n) => {
    if (n === 0 || 'map' in steps[n - 1]) add(steps, begins, n)
  })
  const program: Program = {
    start: intern(begins),
    conditions: new Set(edits.flatMap((edit) => (edit.when === null ? [] : [edit.when.member]))),
    child(place, child) {
      const look = named.has(child) ? child : typeof child === 'string' ? OTHER_MEMBER : OTHER_ITEM
      let found = place.children.get(look)
      if (found === undefined) {
        found = intern(advance(steps, place.next, child))
        place.children.set(look, found)
      }
      return found
    },
  }
  programs.set(edits, program)
  return program
}

/** Steps of all paths; behind an edit's last step the edit itself. */
type Steps = readonly (JsonStep | JsonEdit)[]

function placeOf(steps: Steps, next: readonly number[]): Place {
  const here = next.map((n) => steps[n]).filter((step) => 'map' in step)
  return { next, values: here.filter((e) => e.at === 'value'), keys: here.filter((e) => e.at === 'keys'), children: new Map() }
}

function advance(steps: Steps, places: readonly number[], child: string | number): number[] {
  const next: number[] = []
  for (const n of places) {
    const step = steps[n]
    if ('map' in step) continue
    if (step.kind === 'deep') add(steps, next, n)
    else if (leadsTo(step, child)) add(steps, next, n + 1)
  }
  return next
}

/** `..` leads to the place itself as well as to everything below it, so the step behind it is next at the same place. */
function add(steps: Steps, next: number[], n: number): void {
  if (next.includes(n)) return
  next.push(n)
  const step = steps[n]
  if (!('map' in step) && step.kind === 'deep') add(steps, next, n + 1)
}

function leadsTo(step: JsonStep, child: string | number): boolean {
  switch (step.kind) {
    case 'member':
      return step.name === child
    case 'members':
      return typeof child === 'string'
    case 'index':
      return step.index === child
    case 'items':
      return typeof child === 'number'
    case 'deep':
      return true
  }
}
