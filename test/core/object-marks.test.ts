import { describe, expect, it } from 'vitest'
import type { ObjectInfo } from '../../src/core/objects/object.ts'
import { aboutText, lossesOf, marked, verdictOn } from '../../src/core/objects/marks.ts'

const ONE = '11111111111111111111111111111111'
const TWO = '22222222222222222222222222222222'
const info = (more: Partial<ObjectInfo> = {}): ObjectInfo => ({
  key: 'k', size: 10, etag: ONE, version: null, modified: 0, headers: {}, metadata: {}, tags: {}, sha256: null, partSize: null,
  particulars: {}, ...more,
})
const ours = { 'rekey-run': 'p', 'rekey-source': ONE }
const kms = { particulars: { encryption: 'aws:kms' } }

describe('what is under the key', () => {
  it.each<[string, Partial<ObjectInfo>, Partial<ObjectInfo>, string]>([
    ['equal MD5s', {}, {}, 'present'],
    ['equal ETags that are no MD5s', kms, kms, 'compare'],
    ['equal digests, other ETags', { etag: `${ONE}-2`, sha256: 'ab' }, { sha256: 'ab' }, 'present'],
    ['digests of parts prove nothing', { etag: `${TWO}-2`, sha256: 'ab-2' }, { sha256: 'ab-2' }, 'compare'],
    ['ours, of this source', { etag: `${TWO}-2`, metadata: ours }, {}, 'present'],
    ['ours, of this source, with other bytes', { etag: TWO, metadata: ours }, {}, 'replace'],
    ['ours, of this source, and all that it says', { metadata: { ...ours, 'rekey-about': 'now' } }, {}, 'present'],
    ['ours, of this source, which said something else then', { metadata: { ...ours, 'rekey-about': 'then' } }, {}, 'replace'],
    ['another’s, whatever its marks say', { metadata: { 'rekey-about': 'then' } }, {}, 'present'],
    ['ours, of an earlier source', { etag: TWO, metadata: ours }, { etag: TWO.replace('2', '3') }, 'replace'],
    ['ours, of another size', { size: 9, metadata: ours }, {}, 'replace'],
    ['of another pipeline', { etag: TWO, metadata: { ...ours, 'rekey-run': 'q' } }, {}, 'conflict'],
    ['another’s, other bytes', { etag: TWO }, {}, 'conflict'],
    ['another’s, another size', { size: 11 }, {}, 'conflict'],
    ['another’s, in other parts', { etag: `${TWO}-2` }, { etag: `${ONE}-3` }, 'compare'],
  ])('%s: %#', (_, there, source, verdict) => {
    expect(verdictOn(info(there), info(source), { run: 'p', existing: 'fail', about: 'now' })).toBe(verdict)
  })

  it('another’s object is kept or overwritten where that was asked for', () => {
    expect(verdictOn(info({ etag: TWO }), info(), { run: 'p', existing: 'keep', about: 'now' })).toBe('kept')
    expect(verdictOn(info({ etag: TWO }), info(), { run: 'p', existing: 'overwrite', about: 'now' })).toBe('replace')
  })
})

describe('metadata of a copy', () => {
  it('is the source’s and our marks; earlier marks are not carried on', () => {
    const source = info({ metadata: { a: '1', 'rekey-run': 'other', 'rekey-sha256': 'x' } })
    expect(marked(source, { run: 'p', about: 'now', sha256: null })).toEqual({ metadata: { a: '1', ...ours, 'rekey-about': 'now' }, lost: [] })
    expect(marked(source, { run: 'p', about: 'now', sha256: 'ff' }).metadata['rekey-sha256']).toBe('ff')
  })

  it('is the source’s alone where S3 would not take both, which is told', () => {
    const metadata = { a: 'x'.repeat(1_994) }
    expect(marked(info({ metadata }), { run: 'p', about: 'now', sha256: null })).toEqual({ metadata, lost: [{ what: 'mark', name: 'rekey-run' }] })
  })
})

describe('what an object says of itself', () => {
  const one = info({ headers: { 'content-type': 'a', expires: 'b' }, metadata: { x: '1', y: '2' }, tags: { t: '1' } })
  it('is another text when anything of it is another, in whatever order it comes, and whatever our marks are', () => {
    const same = { ...one, headers: { expires: 'b', 'content-type': 'a' }, metadata: { y: '2', 'rekey-run': 'p', x: '1' } }
    expect(aboutText(same)).toBe(aboutText(one))
    const others = [{ headers: {} }, { metadata: { x: '1' } }, { tags: { t: '2' } }, { metadata: { x: '1', y: '2', t: '1' }, tags: {} }]
    expect(new Set([one, ...others.map((more) => ({ ...one, ...more }))].map(aboutText)).size).toBe(5)
  })
})

describe('what a copy has not', () => {
  it('its ETag where it is another, and what is not carried, by name and never by value', () => {
    const source = info({ particulars: { 'storage-class': 'GLACIER_IR', 'lock-mode': 'COMPLIANCE' } })
    expect(lossesOf(source, ONE)).toEqual([{ what: 'particular', name: 'storage-class' }, { what: 'particular', name: 'lock-mode' }])
    expect(lossesOf(info(), `${ONE}-2`)).toEqual([{ what: 'etag', name: 'etag' }])
  })
})
