import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { z } from 'zod'
import { configSchema } from './config-schema.ts'
import { mappingPartSchema, mappingSchema } from './mapping-schema.ts'

/** The JSON Schemas that editors use, as files of the folder schema/. A mapping file is either mapping.yaml or a part beside it. */
export function publishedSchemas(): ReadonlyMap<string, string> {
  const mapping = z.union([mappingSchema, mappingPartSchema])
  return new Map([
    ['rekey.schema.json', print('rekey.yaml', configSchema)],
    ['mapping.schema.json', print('A mapping of rekey', mapping)],
  ])
}

function print(title: string, schema: z.ZodType): string {
  const { $schema, ...rest } = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' })
  return `${JSON.stringify({ $schema, title, ...rest }, null, 2)}\n`
}

/** Run as a script (`tsx src/config/publish-schema.ts [folder]`) it writes them. */
if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const folder = process.argv[2] ?? 'schema'
  await mkdir(folder, { recursive: true })
  for (const [name, text] of publishedSchemas()) await writeFile(join(folder, name), text)
}
