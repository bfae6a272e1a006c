import { afterEach, describe, expect, it } from 'vitest'
import { isLoopback, parseAddress } from '../../src/core/address.ts'
import { RekeyError } from '../../src/core/errors.ts'
import { listen, type Listening } from '../../src/server/http.ts'

const TOKEN = 'a-token-of-enough-characters'
let open: Listening | undefined
afterEach(() => open?.close())

async function serve(token?: string): Promise<string> {
  open = await listen({ listen: '127.0.0.1:0', token }, (app) => {
    app.get('/fine', () => ({ fine: true }))
    app.get('/broken', () => {
      throw new Error('the value was hunter2')
    })
    app.post('/echo', (request) => request.body)
  })
  return open.url
}

describe('addresses', () => {
  it('are read', () => {
    expect(parseAddress('127.0.0.1:9187')).toEqual({ host: '127.0.0.1', port: 9187 })
    expect(parseAddress('[::1]:0')).toEqual({ host: '::1', port: 0 })
    expect(parseAddress('metrics.lab.test:80')).toEqual({ host: 'metrics.lab.test', port: 80 })
    for (const text of ['', '9187', ':9187', '::1:9187', 'a b:1', 'h:70000', 'http://h:1', '[::1]']) expect(parseAddress(text), text).toBeNull()
  })

  it('are of the own machine or not', () => {
    const own = (text: string): boolean => isLoopback(parseAddress(text)!)
    for (const text of ['127.0.0.1:1', '127.9.9.9:1', 'localhost:1', 'LOCALHOST:1', '[::1]:1']) expect(own(text), text).toBe(true)
    for (const text of ['0.0.0.0:1', '[::]:1', '10.0.0.1:1', '127.0.0.1.lab.test:1', '1127.0.0.1:1', '[::ffff:10.0.0.1]:1']) expect(own(text), text).toBe(false)
  })
})

describe('a listener', () => {
  it('is refused beyond the own machine without a token, and for an address that cannot be had', async () => {
    for (const text of ['0.0.0.0:0', '[::]:0', 'nowhere']) {
      await expect(listen({ listen: text }, () => {})).rejects.toMatchObject({ code: 'CONFIG', exit: 2 })
    }
    const url = await serve()
    const again = listen({ listen: new URL(url).host }, () => {})
    await expect(again).rejects.toThrow(RekeyError)
    await expect(again).rejects.toThrow('EADDRINUSE')
  })

  it('answers without a token where none is wanted', async () => {
    const url = await serve()
    expect(await (await fetch(`${url}/fine`)).json()).toEqual({ fine: true })
  })

  it('answers only who has the token, whatever is asked for', async () => {
    const url = await serve(TOKEN)
    const ask = (path: string, authorization?: string) => fetch(url + path, authorization === undefined ? {} : { headers: { authorization } })
    for (const wrong of [undefined, '', 'Bearer', `Bearer ${TOKEN}x`, `Bearer ${TOKEN.slice(1)}`, `Basic ${TOKEN}`, TOKEN]) {
      for (const path of ['/fine', '/nowhere', '/broken']) {
        const answer = await ask(path, wrong)
        expect(answer.status).toBe(401)
        expect(answer.headers.get('www-authenticate')).toBe('Bearer')
        expect(await answer.text()).not.toContain(TOKEN)
      }
    }
    expect(await (await ask('/fine', `Bearer ${TOKEN}`)).json()).toEqual({ fine: true })
    expect((await ask('/nowhere', `Bearer ${TOKEN}`)).status).toBe(404)
  })

  it('tells nothing of what went wrong inside', async () => {
    const url = await serve()
    const answer = await fetch(`${url}/broken`)
    expect(answer.status).toBe(500)
    expect(await answer.json()).toEqual({ error: { code: 'INTERNAL', message: 'it failed' } })
    const garbled = await fetch(`${url}/echo`, { method: 'POST', body: '{"hunter2', headers: { 'content-type': 'application/json' } })
    expect(garbled.status).toBe(400)
    expect(await garbled.text()).not.toContain('hunter2')
  })
})
