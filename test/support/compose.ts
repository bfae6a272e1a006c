import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parse } from 'yaml'

export interface ComposeService {
  readonly image?: string
  readonly build?: string
  readonly command?: readonly string[]
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
  return parse(readFileSync(`${ROOT}docker-compose.yml`, 'utf8')) as Compose
}

/** What Compose makes of a text: `${NAME:-default}` is the default (nothing is set), `$$` a dollar. */
export function interpolated(text: string): string {
  return text.replace(/\$\$|\$\{[A-Z_]+:-([^}]*)\}/g, (found, fallback: string | undefined) => (found === '$$' ? '$' : fallback ?? ''))
}
