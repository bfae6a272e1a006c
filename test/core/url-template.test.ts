import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isUrlTemplate, urlOf } from '../../src/core/url-template.ts'

describe('templates of URLs', () => {
  it('have a fixed host and one place for the id behind it', () => {
    const good = ['https://new.example/users/{id}', 'http://h:8080/?user={id}', 'https://h/#/u/{id}/view', 'https://h/a{id}b']
    for (const one of good) expect([one, isUrlTemplate(one)]).toEqual([one, true])
    const bad = ['https://{id}/', 'https://h.{id}/x', 'https://h{id}', 'https://u@h/{id}', 'https://h/', 'https://h/{id}/{id}', 'javascript:{id}',
      '//h/{id}', '/{id}', 'ftp://h/{id}', 'https://h/{x}{id}', 'https:///{id}', 'https://h/ {id}', 'https://h\\{id}', '']
    for (const one of bad) expect([one, isUrlTemplate(one)]).toEqual([one, false])
  })

  it('whatever the id, scheme, host and the text around it stay', () => {
    const evil = fc.constantFrom('/', '//evil.example', '@evil.example', '..', '.', '%2e%2e', '\\', '?x', '#x', '\r\nx: y', 'ä 漢', '$&', "'!()*")
    const ids = fc.oneof(fc.string({ unit: 'binary' }), evil)
    const templates = ['https://new.example/users/{id}/view', 'https://new.example/?id={id}&x=1', 'https://new.example/app#{id}']
    fc.assert(fc.property(ids, fc.constantFrom(...templates), (id, template) => {
      let url: string | null
      try {
        url = urlOf(template, id)
      } catch (error) {
        // A lone surrogate is no text that a database holds.
        expect(error).toBeInstanceOf(URIError)
        return
      }
      if (url === null) {
        expect(['', '.', '..']).toContain(id)
        return
      }
      const [lead, tail] = template.split('{id}')
      expect(url.startsWith(lead) && url.endsWith(tail)).toBe(true)
      expect(url).toMatch(/^[\x21-\x7e]+$/)
      expect(decodeURIComponent(url.slice(lead.length, url.length - tail.length))).toBe(id)
      const parsed = new URL(url)
      expect(parsed.origin).toBe('https://new.example')
      expect(parsed.href.startsWith(lead)).toBe(true)
    }))
  })
})
