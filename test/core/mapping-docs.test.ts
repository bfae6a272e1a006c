import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { parseMapping } from '../../src/config/mapping-files.ts'
import { publishedSchemas } from '../../src/config/publish-schema.ts'

const docs = readFileSync('docs/mapping.md', 'utf8')
const blocks = [...docs.matchAll(/```yaml\n([\s\S]*?)```/g)].map(([, text]) => text)
const HEAD = 'application: x\ncontexts: [{ name: all, tables: [users] }]\n'

test('every example of the documentation is read', () => {
  expect(blocks.length).toBeGreaterThan(5)
  for (const block of blocks) {
    const files = block.startsWith('application:') ? [['mapping.yaml', block]] as const : [['mapping.yaml', HEAD], ['part.yaml', block]] as const
    expect(() => parseMapping('docs', new Map(files)), block).not.toThrow()
  }
})

/** Names of the members of every object that a JSON schema describes. */
function words(schema: unknown): string[] {
  if (typeof schema !== 'object' || schema === null) return []
  const own = 'properties' in schema ? Object.keys(schema.properties as object) : []
  return [...own, ...Object.values(schema).flatMap(words)]
}

test('every word of the language is explained', () => {
  const known = new Set(words(JSON.parse(publishedSchemas().get('mapping.schema.json')!)))
  expect(known.size).toBeGreaterThan(40)
  expect([...known].filter((word) => !new RegExp(`\\b${word}\\b`).test(docs))).toEqual([])
})
