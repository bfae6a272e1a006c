import { folderStore } from '../../connectors/folder/store.ts'
import { openS3Store } from '../../connectors/s3/store.ts'
import type { Config } from '../config/config.ts'
import type { StoreConfig } from '../config/objects-schema.ts'
import { RekeyError } from '../core/errors.ts'
import type { Mapping, StoreRule } from '../core/mapping.ts'
import type { Problem } from '../core/problem.ts'
import { newPace, type Pace } from '../mirror/pace.ts'
import { pacedStore } from '../mirror/paced-store.ts'
import type { ObjectStore } from '../ports.ts'

export type ObjectsConfig = NonNullable<Config['objects']>

/** The stores of rekey.yaml that the mapping uses, by their names on each side. */
export interface Stores {
  source(name: string): ObjectStore
  destination(name: string): ObjectStore
  /** Whether objects of this source store can have access lists of their own. */
  hasAccessLists(name: string): boolean
  /** Requests that may be under way at the store that may be asked least: it falls while a store says that it is too much. */
  inFlightLimit(): number
  close(): void
}

/** Opening asks nothing of a store: one that does not answer is found out when it is used. */
export async function openStores(objects: ObjectsConfig, rules: Iterable<Pick<StoreRule, 'name' | 'to'>>): Promise<Stores> {
  const closing: (() => void)[] = []
  const paces: Pace[] = []
  const { requests, rate, bandwidth } = objects.limits
  const pace = { most: requests, requestsPerSecond: rate ?? null, bytesPerSecond: bandwidth ?? null }
  const open = async (config: StoreConfig): Promise<ObjectStore> => {
    if ('folder' in config) return folderStore(config.folder)
    const { credentials, encryption, endpoint, pathStyle, ...s3 } = config.s3
    const made = await openS3Store({
      ...s3, endpoint: endpoint ?? null, pathStyle: pathStyle ?? endpoint !== undefined, sockets: requests,
      credentials: credentials ? { accessKeyId: credentials.accessKeyId, secretAccessKey: credentials.secretAccessKey,
        ...(credentials.sessionToken === undefined ? {} : { sessionToken: credentials.sessionToken }) } : null,
      encryption: encryption ? { mode: encryption.mode, key: encryption.key ?? null } : null,
    })
    closing.push(() => made.close())
    return made
  }
  const side = async (configs: ObjectsConfig['source'], names: readonly string[]): Promise<(name: string) => ObjectStore> => {
    const stores = new Map<string, ObjectStore>()
    for (const name of new Set(names)) {
      if (!configs[name]) continue
      const own = newPace(pace)
      paces.push(own)
      stores.set(name, pacedStore(await open(configs[name]), own))
    }
    return (name) => {
      const found = stores.get(name)
      if (!found) throw new RekeyError('CONFIG', `there is no store ${name} in rekey.yaml`)
      return found
    }
  }
  const used = [...rules]
  return {
    source: await side(objects.source, used.map(({ name }) => name)),
    destination: await side(objects.destination, used.map(({ to }) => to)),
    hasAccessLists: (name) => 's3' in objects.source[name],
    inFlightLimit: () => Math.min(objects.limits.requests, ...paces.map((one) => one.allowed)),
    close: () => closing.forEach((one) => one()),
  }
}

/**
 * Stores of the mapping that rekey.yaml does not have. Without any, rows only leave their jobs for a later run, which is worth a warning,
 * unless rows wait for their objects.
 */
export function storeProblems({ stores, tables }: Pick<Mapping, 'stores' | 'tables'>, { objects }: Pick<Config, 'objects'>): Problem[] {
  if (stores.size === 0) return []
  if (objects === undefined) {
    const waits = [...tables.values()].some((rule) => rule.objects.some((one) => one.when === 'before'))
    return [{
      code: 'NO_STORES', severity: waits ? 'error' : 'warning', where: 'objects',
        fix: 'Add `objects` with the stores of both sides to rekey.yaml.',
      message: `rekey.yaml names no stores: objects are not carried${waits ? ', and rows wait for them' : ''}`,
    }]
  }
  const missing = (side: 'source' | 'destination', name: string, where: string): Problem[] => (objects[side][name] ? [] : [{
    code: 'UNKNOWN_STORE', severity: 'error', where, message: `rekey.yaml has no store ${name} at the ${side}`,
    fix: `Add it under objects.${side}.`,
  }])
  return [...stores.values()].flatMap(({ name, to }) =>
    [...missing('source', name, `objects.${name}`), ...missing('destination', to, `objects.${name}.to`)])
}
