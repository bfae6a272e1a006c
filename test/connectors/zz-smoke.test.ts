import { readFileSync, writeFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { readCatalog } from '../../src/catalog.ts'
import { parseMapping } from '../../src/config/mapping-files.ts'
import { compileMapping } from '../../src/core/compile.ts'
import { readDdlFacts } from '../../src/ddl-facts.ts'
import { ddl } from '../../src/ddl.ts'
import { init, readSeen, todosOf } from '../../src/init.ts'
import { client, createDatabase, type Database } from '../support/database.ts'
import { server } from '../support/servers.ts'

const s = JSON.parse(readFileSync('/work/shared/osparc/schema.json', 'utf8'))
const q = (n: string) => `"${n}"`
function sql(): string {
  const out: string[] = []
  for (const [n, labels] of Object.entries<string[]>(s.enums)) out.push(`create type ${q(n)} as enum (${labels.map((l) => `'${l}'`).join(', ')})`)
  for (const [n, t] of Object.entries<any>(s.tables)) {
    const cols = t.columns.map((c: any) => {
      const type = c.default === 'serial' ? (c.type === 'integer' ? 'serial' : 'bigserial') : c.type.replace(/^enum /, '')
      return `${q(c.name)} ${type} ${c.nullable ? '' : 'not null'}`
    })
    if (t.primary_key?.length) cols.push(`primary key (${t.primary_key.map(q).join(', ')})`)
    for (const u of t.unique ?? []) if (u.columns.every((c: string) => t.columns.some((x: any) => x.name === c))) cols.push(`unique (${u.columns.map(q).join(', ')})`)
    out.push(`create table ${q(n)} (${cols.join(', ')})`)
    if (!t.primary_key?.length && Math.random() < 0.5) out.push(`alter table ${q(n)} replica identity full`)
  }
  for (const [n, t] of Object.entries<any>(s.tables)) for (const f of t.foreign_keys ?? []) {
    out.push(`alter table ${q(n)} add constraint ${q(f.name)} foreign key (${f.columns.map(q).join(', ')}) references ${q(f.ref_table)} (${f.ref_columns.map(q).join(', ')}) on update ${f.on_update} on delete ${f.on_delete}`)
  }
  return out.join(';\n')
}
async function side(d: Database) {
  const c = await client(d.url)
  const text = async (x: string, p: readonly unknown[]) => (await c.query<(string | null)[]>({ text: x, values: [...p], rowMode: 'array' })).rows
  try {
    const catalog = await readCatalog(async (x, p) => (await c.query(x, p)).rows)
    return { catalog, facts: await readDdlFacts(text), seen: await readSeen(text, catalog) }
  } finally { await c.end() }
}
it('osparc', async () => {
  const sv = await server(14)
  const text = sql()
  const [a, b, e] = [await createDatabase(sv), await createDatabase(sv), await createDatabase(sv)]
  try {
    await a.query(text); await b.query(text)
    await b.query(`insert into groups (gid, name, description, type, created, modified) values (1, 'e', 'e', 'EVERYONE', now(), now())`).catch((x) => console.log(String(x)))
    for (const d of [e, b]) {
      const [A, D] = [await side(a), await side(d)]
      const t0 = Date.now()
      const files = init({ catalogs: { source: A.catalog, destination: D.catalog }, application: 'osparc', seen: D.seen })
      console.log('init ms', Date.now() - t0, 'todos', todosOf(files['mapping.yaml']).length)
      writeFileSync(`/tmp/smoke/${d === e ? 'empty' : 'living'}.yaml`, files['mapping.yaml'])
      const spec = parseMapping('m', new Map([['mapping.yaml', files['mapping.yaml']]])).source
      if (d === e) {
        const out = ddl({ source: A, destination: D, spec })
        writeFileSync('/tmp/smoke/empty.sql', out)
        await d.query(out)
      }
      const after = await side(d)
      expect(compileMapping(spec, A.catalog, after.catalog).problems.filter((p) => p.severity === 'error')).toEqual([])
      if (d === e) {
        // The living way: the prefixed mapping against the integer destination.
        const out = ddl({ source: A, destination: await side(b), spec })
        writeFileSync('/tmp/smoke/living.sql', out)
        const c = await createDatabase(sv)
        await c.query(text)
        await c.query(ddl({ source: A, destination: await side(c), spec }))
        expect(compileMapping(spec, A.catalog, (await side(c)).catalog).problems.filter((p) => p.severity === 'error')).toEqual([])
        await c.drop()
      }
    }
  } finally { await a.drop(); await b.drop(); await e.drop() }
}, 120_000)
