import { RekeyError } from '../../src/core/errors.ts'
import { etagMeans, isObjectKey, type ObjectInfo, type ObjectName } from '../../src/core/objects/object.ts'
import { ask } from './ask.ts'
import type { Session } from './client.ts'
import { infoOf } from './info.ts'

/** What every request for one object says. */
export function addressOf({ options }: Session, { key, version }: ObjectName) {
  if (!isObjectKey(key)) throw new RekeyError('OBJECT_REFUSED', 'an object key is 1 to 1,024 bytes of well-formed text')
  return { Bucket: options.bucket, Key: key, ...(version === null ? {} : { VersionId: version }) }
}

export async function head(session: Session, name: ObjectName): Promise<ObjectInfo | null> {
  const { sdk, client } = session
  const address = addressOf(session, name)
  try {
    const said = await ask(session, {}, (how) => client.send(new sdk.HeadObjectCommand({ ...address, ChecksumMode: 'ENABLED' }), how))
    const info = infoOf(name.key, said, said.ContentLength ?? 0)
    const [tags, partSize] = await Promise.all([info.tags ?? tagsOf(session, name), partSizeOf(session, name, info)])
    return { ...info, tags, partSize }
  } catch (error) {
    if (error instanceof RekeyError && error.code === 'OBJECT_MISSING') return null
    throw error
  }
}

async function tagsOf(session: Session, name: ObjectName): Promise<Record<string, string>> {
  const { sdk, client } = session
  const { TagSet = [] } = await ask(session, {}, (how) => client.send(new sdk.GetObjectTaggingCommand(addressOf(session, name)), how))
  return Object.fromEntries(TagSet.map(({ Key, Value }) => [Key ?? '', Value ?? '']))
}

/** Of an object in parts: the length of its first one, where the server keeps that (API Reference, HeadObject, `partNumber`). */
async function partSizeOf(session: Session, name: ObjectName, info: ObjectInfo): Promise<number | null> {
  if (etagMeans(info.etag)?.parts == null) return null
  const { sdk, client } = session
  const first = { ...addressOf(session, name), PartNumber: 1, IfMatch: info.etag }
  const said = await client.send(new sdk.HeadObjectCommand(first)).catch(() => null)
  // Servers that do not know the parameter answer for the whole object.
  const size = said?.PartsCount === undefined || said.PartsCount < 2 ? undefined : said.ContentLength
  return size ?? null
}
