import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parse } from 'yaml'

export interface ComposeService {
  readonly image?: string
  readonly build?: string
  readonly entrypoint?: readonly string[]
  readonly command?: readonly string[]
  readonly restart?: string
  readonly environment?: Readonly<Record<string, string>>
  readonly volumes?: readonly string[]
  readonly configs?: readonly { readonly source: string; readonly target: string }[]
  readonly ports?: readonly string[]
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>
  readonly healthcheck?: { readonly test: readonly string[] }
}

export interface Compose {
  readonly services: Readonly<Record<string, ComposeService>>
  readonly volumes: Readonly<Record<string, unknown>>
  readonly configs: Readonly<Record<string, { readonly content: string }>>
}

export const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** docker-compose.yml as it is written. */
export function composeFile(): Compose {
  return parse(readFileSync(`${ROOT}docker-compose.yml`, 'utf8'), { merge: true }) as Compose
}

/** The services that run rekey, by name. */
export function roles({ services }: Compose): (readonly [string, ComposeService])[] {
  return Object.entries(services).filter(([, { image, command }]) => image === 'rekey:local' && command?.[0] === 'run')
}

/** The environment of a service where nothing is set. */
export function environmentOf({ environment = {} }: ComposeService): Record<string, string> {
  return Object.fromEntries(Object.entries(environment).map(([name, text]) => [name, interpolated(text)]))
}

/** What Compose makes of a text: `${NAME:-default}` is the default (nothing is set), `$$` a dollar. */
export function interpolated(text: string): string {
  return text.replace(/\$\$|\$\{[A-Z0-9_]+:-([^}]*)\}/g, (found, fallback: string | undefined) => (found === '$$' ? '$' : fallback ?? ''))
}
