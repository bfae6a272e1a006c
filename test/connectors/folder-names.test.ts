import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { bytesOf, placeOf } from '../../connectors/folder/names.ts'
import { isObjectKey } from '../../src/core/objects/object.ts'

const unit = fc.oneof(fc.constantFrom('/', '.', '..', '+', '~', '%', '=', ',', ';', '!', 'A', 'a', '\\', '\0'), fc.string({ unit: 'binary', maxLength: 3 }))
const key = fc.array(unit, { maxLength: 300 }).map((units) => units.join('')).filter(isObjectKey)

describe('file names for keys', () => {
  it('lead back to the key, so no two keys share a file', () => {
    fc.assert(fc.property(key, (text) => {
      const { folders, name } = placeOf(text)
      const bytes = [...folders.map((folder) => bytesOf(folder, true)), bytesOf(name, false)]
      expect(Buffer.concat(bytes.map((part) => part!)).toString('utf8')).toBe(text)
    }), { numRuns: 2_000 })
  })

  it('are plain, short and inside the folder, whatever the key', () => {
    fc.assert(fc.property(key, (text) => {
      const { folders, name } = placeOf(text)
      for (const folder of folders) expect(folder).toMatch(/^[a-z0-9_%!-][a-z0-9_.%!-]{0,202}[+~]$/)
      expect(name).toMatch(/^[a-z0-9_.%!-]{1,202}$/)
      expect([...folders, name]).not.toContain('..')
      expect(name).not.toBe('.')
    }), { numRuns: 2_000 })
  })

  it.each(['.', '..', '.txt'])('do not begin with a dot, nor does what is cut off a long one: %s', (end) => {
    const text = `${'a'.repeat(200)}${end}`
    expect(placeOf(text)).toEqual({ folders: [`${'a'.repeat(200)}~`], name: `%2e${end.slice(1)}` })
  })

  it('stay apart where the file system folds case', () => {
    fc.assert(fc.property(key, key, (one, two) => {
      const path = (text: string): string => [...placeOf(text).folders, placeOf(text).name].join('/')
      expect(path(one).toLowerCase() === path(two).toLowerCase()).toBe(one === two)
      expect(path(one)).toBe(path(one).toLowerCase())
    }))
  })
})
