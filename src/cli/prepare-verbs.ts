import { writeFile } from 'node:fs/promises'
import type { Command } from 'commander'
import { readMapping } from '../config/mapping-files.ts'
import { ddl } from '../ddl.ts'
import { readDdlFacts } from '../ddl-facts.ts'
import { examples, type Invocation, verb } from './session.ts'

/** The verbs before a run: they read both databases and change neither. */
export function addPreparing(program: Command, invocation: Invocation): void {
  addDdl(program, invocation)
}

function addDdl(program: Command, invocation: Invocation): void {
  program.command('ddl')
    .description('print the SQL that makes the destination ready for the mapping; it is never run')
    .option('--out <file>', 'write it to a file')
    .addHelpText('after', examples('ddl > destination.sql', 'ddl --out destination.sql'))
    .action(verb<{ out?: string }>(invocation, async (session, { out }) => {
      const config = await session.config()
      const { source: spec } = await readMapping(config.mapping)
      const sql = await session.world.operate(config, async ({ opened }) => ddl({
        spec,
        source: { catalog: opened.catalogs.source, facts: await readDdlFacts(opened.source.query) },
        destination: { catalog: opened.catalogs.destination, facts: await readDdlFacts(opened.destination.query) },
      }))
      if (out !== undefined) await writeFile(out, sql)
      session.answer(out === undefined ? { sql } : { file: out }, out === undefined ? sql : `Wrote ${out}.`)
      return 0
    }))
}
