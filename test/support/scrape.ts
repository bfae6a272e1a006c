import type { Running } from './rig.ts'

/** What a run in this process answers over HTTP; its configuration must say `metrics: { listen: "127.0.0.1:0" }`. */
export interface Scraped {
  get(path: string): Promise<Response>
  /** Values by name and labels, `rekey_up` or `rekey_lag_seconds{stage="apply"}`; the pipeline's label is left out. */
  samples(): Promise<Map<string, number>>
  /** Resolves when the value passes; rejects after 20 s. */
  until(name: string, test: (value: number | undefined) => boolean): Promise<void>
}

export function scraped(running: Pick<Running, 'notes'>, token?: string): Scraped {
  const url = (): string => /http:\S+/.exec(running.notes.find((note) => note.event === 'metrics')!.text)![0]
  const get = (path: string): Promise<Response> => fetch(url() + path, token === undefined ? {} : { headers: { authorization: `Bearer ${token}` } })
  const samples = async (): Promise<Map<string, number>> => {
    const lines = (await (await get('/metrics')).text()).split('\n').filter((line) => line !== '' && !line.startsWith('#'))
    return new Map(lines.map((line) => {
      const at = line.lastIndexOf(' ')
      return [line.slice(0, at).replace(/,?pipeline="\w+",?/, '').replace('{}', ''), Number(line.slice(at + 1))]
    }))
  }
  return {
    get, samples,
    async until(name, test) {
      for (const end = Date.now() + 20_000; ;) {
        const value = (await samples()).get(name)
        if (test(value)) return
        if (Date.now() > end) throw new Error(`${name} is still ${value}`)
        await new Promise((resolve) => setTimeout(resolve, 200))
      }
    },
  }
}
