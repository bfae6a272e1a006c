import { readFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { RekeyError } from '../core/errors.ts'
import { configSchema, type Config } from './config-schema.ts'
import type { StoreConfig } from './objects-schema.ts'
import { describeIssues, parseYaml, placeOf, type YamlFile } from './problems.ts'

export type { Config } from './config-schema.ts'

type Environment = Readonly<Record<string, string | undefined>>

/** Reads rekey.yaml; paths become absolute. Throws RekeyError CONFIG or SAME_DATABASE that names file, line and key. */
export async function readConfig(file: string, env: Environment): Promise<Config> {
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw new RekeyError('CONFIG', `${file} cannot be read`, {
      cause, hint: 'Name the configuration with --config, or have a first one written by `rekey init`; nothing was touched.',
    })
  })
  const config = parseConfig(file, text, env)
  return withPaths(config, dirname(file))
}

/** Folders and files are relative to the file that names them. */
function withPaths(config: Config, folder: string): Config {
  const { objects, redis, kafka } = config
  const file = (path: string | null): string | null => (path === null ? null : resolve(folder, path))
  const ssl = typeof kafka?.ssl === 'object' ? { ca: file(kafka.ssl.ca), cert: file(kafka.ssl.cert), key: file(kafka.ssl.key) } : kafka?.ssl
  const absolute = (stores: Stores): Stores => Object.fromEntries(Object.entries(stores).map(([name, store]) =>
    [name, 'folder' in store ? { folder: resolve(folder, store.folder) } : store]))
  return {
    ...config, mapping: resolve(folder, config.mapping),
    ...(redis && { redis: { ...redis, ca: file(redis.ca) } }),
    ...(kafka && { kafka: { ...kafka, ssl: ssl! } }),
    ...(objects && { objects: { ...objects, source: absolute(objects.source), destination: absolute(objects.destination) } }),
  }
}

type Stores = Readonly<Record<string, StoreConfig>>

/** The same from text. All faults are told at once; values, and so secrets, never. */
export function parseConfig(file: string, text: string, env: Environment): Config {
  const yaml = parseYaml(file, text, 'CONFIG')
  const unset: { readonly path: readonly PropertyKey[]; readonly name: string }[] = []
  const value = substitute(yaml.value ?? {}, { env, missing: (path, name) => unset.push({ path, name }), path: [] })
  const parsed = configSchema.safeParse(value)
  // What an unset variable leaves behind is no fault of its own.
  const issues = (parsed.error?.issues ?? []).filter(({ path }) => !unset.some((one) => one.path.join('\n') === path.join('\n')))
  if (!parsed.success || unset.length > 0) {
    const faults = [...unset.map(({ path, name }) => missing(yaml, path, name)), ...describeIssues(yaml, issues)]
    throw new RekeyError('CONFIG', faults.join('\n'), issues.length > 0 ? {} : { hint: hintFor(unset.map(({ name }) => name)) })
  }
  if (sameDatabase(parsed.data.source.url, parsed.data.destination.url)) {
    throw new RekeyError('SAME_DATABASE', `${placeOf(yaml, ['destination', 'url'])} destination.url names the same database as source.url`)
  }
  return parsed.data
}

function hintFor(names: readonly string[]): string {
  return `Set ${[...new Set(names)].join(', ')} in the environment of the command and run it again; nothing was touched.`
}

function missing(yaml: YamlFile, path: readonly PropertyKey[], name: string): string {
  return `${placeOf(yaml, path)} ${path.map(String).join('.')}: the environment variable ${name} is not set`
}

interface Substitution {
  readonly env: Environment
  readonly path: readonly PropertyKey[]
  missing(path: readonly PropertyKey[], name: string): void
}

/** `${NAME}` in texts; `$${` stands for `${`. A variable that is not set leaves its spelling. */
function substitute(value: unknown, at: Substitution): unknown {
  if (typeof value === 'string') {
    return value.replace(/\$(\$\{)|\$\{([A-Za-z_][A-Za-z0-9_]*)\}/g, (all, escaped: string | undefined, name: string) => {
      if (escaped !== undefined) return escaped
      const found = at.env[name]
      if (found === undefined || found === '') at.missing(at.path, name)
      return found || all
    })
  }
  if (Array.isArray(value)) return value.map((item, i) => substitute(item, { ...at, path: [...at.path, i] }))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, substitute(item, { ...at, path: [...at.path, key] })]))
}

/** Host, port and database name as they are written; whether two names mean one server is asked of the servers later. */
export function sameDatabase(a: string, b: string): boolean {
  const [one, other] = [identity(a), identity(b)]
  return one !== null && one === other
}

function identity(url: string): string | null {
  const parsed = urlOf(url)
  if (parsed === null) return null
  const host = (parsed.searchParams.get('host') ?? parsed.hostname).toLowerCase()
  const port = parsed.searchParams.get('port') ?? parsed.port
  const database = decodeURIComponent(parsed.pathname.slice(1)) || decodeURIComponent(parsed.username)
  return [/^(127\.0\.0\.1|\[?::1\]?|localhost|)$/.test(host) ? 'localhost' : host, port || '5432', database].join(' ')
}

/** A connection URL that may be shown: without password, and without any parameter (they can hold passwords and key files). */
export function redact(url: string): string {
  const parsed = urlOf(url)
  if (parsed === null) return 'postgres://…'
  if (parsed.password !== '') parsed.password = '***'
  parsed.search = ''
  parsed.hash = ''
  return parsed.href
}

function urlOf(url: string): URL | null {
  try {
    return new URL(url)
  } catch {
    return null
  }
}
