import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import { finished } from 'node:stream/promises'
import { type Command, InvalidArgumentError } from 'commander'
import { RekeyError } from '../core/errors.ts'
import { JOB_STATES, type JobState } from '../core/objects/job.ts'
import { verifyObjects } from '../mirror/verify-objects.ts'
import { isJobState, listObjects, renderObjects, renderVerified, writeManifest, type ObjectsVerified } from './objects.ts'
import { checkIds } from './parked.ts'
import { atLeastOne, confirm, examples, type Invocation, verb } from './session.ts'
import { counted, formatBytes } from './text.ts'

/** Exit code of an answer that found something wrong, or did not find what was named. */
const FOUND = 4

export function addObjects(program: Command, invocation: Invocation): void {
  const objects = program.command('objects').description('objects that go with the rows: list them, have them copied again, check them, write a manifest')
  addList(objects, invocation)
  addRetry(objects, invocation)
  addApprove(objects, invocation)
  addVerify(objects, invocation)
  addManifest(objects, invocation)
}

function addList(objects: Command, invocation: Invocation): void {
  objects.command('list')
    .description('what every job has come to, and the jobs themselves, oldest first')
    .option('--state <state>', `only these (more than once): ${JOB_STATES.join(', ')}`, oneMoreState, [] as JobState[])
    .option('--limit <n>', 'at most so many', atLeastOne, 100)
    .addHelpText('after', examples('objects list', 'objects list --state parked --state wanted --limit 20'))
    .action(verb<{ state: JobState[]; limit: number }>(invocation, async (session, { state, limit }) => {
      const config = await session.config()
      const list = await session.world.operate(config, (operated) => listObjects(operated.objects, { states: state, limit }))
      session.answer(list, renderObjects(list))
      return 0
    }))
}

function oneMoreState(text: string, before: readonly JobState[]): JobState[] {
  if (!isJobState(text)) throw new InvalidArgumentError(`Not one of ${JOB_STATES.join(', ')}.`)
  return [...before, text]
}

function addRetry(objects: Command, invocation: Invocation): void {
  objects.command('retry [ids...]')
    .description('have objects copied again: parked ones, or by id verified ones, too')
    .option('--all', 'all that are parked')
    .addHelpText('after', `${examples('objects retry 17 18', 'objects retry --all')}\nExit code 4: some ids were not changed.\n`)
    .action(verb<{ all?: boolean }>(invocation, async (session, { all = false }, ids) => {
      checkIds(ids)
      if (all === ids.length > 0) throw new RekeyError('USAGE', 'name the ids of jobs, or say --all')
      const changed = await session.world.operate(await session.config(), (operated) => operated.objects.retry(all ? null : ids))
      const left = ids.filter((id) => !changed.includes(id))
      const text = `${counted(changed.length, 'object')} will be copied again by the running workers, or by the next run.`
      session.answer({ changed, left }, [text, ...left.map((id) => `${id}: not there, or neither parked nor verified`)].join('\n'))
      return left.length === 0 ? 0 : FOUND
    }))
}

function addApprove(objects: Command, invocation: Invocation): void {
  objects.command('approve')
    .description('agree that copies whose rows went are removed, however many they are')
    .option('--yes', 'do not ask')
    .addHelpText('after', examples('objects list --state tombstone', 'objects approve'))
    .action(verb<{ yes?: boolean }>(invocation, async (session, { yes }) => {
      const config = await session.config()
      const approved = await session.world.operate(config, async (operated) => {
        const { tombstone } = await operated.objects.counts()
        if (!yes) await confirm(session,
          `${counted(tombstone.objects, 'copy', 'copies')} (${formatBytes(tombstone.bytes)}) will be removed. Type yes to go on: `, 'yes')
        return operated.objects.approve()
      })
      session.answer({ approved }, `${counted(approved, 'copy', 'copies')} will be removed after their time of grace.`)
      return 0
    }))
}

function addVerify(objects: Command, invocation: Invocation): void {
  objects.command('verify')
    .description('check the copies against what was recorded of them')
    .option('--level <n>', '1: size and ETag; 2: checksums, and that the source is the same; 3: every copy is read back', levelOf, 2)
    .addHelpText('after', `${examples('objects verify', 'objects verify --level 3 --json')}\nExit code 4: there are problems.\n`)
    .action(verb<{ level: 1 | 2 | 3 }>(invocation, async (session, { level }) => {
      const config = await session.config()
      const checked: ObjectsVerified = await session.world.operate(config, async (operated) => {
        const stores = await operated.stores()
        let [objects, bytes] = [0, 0]
        const problems = await verifyObjects(operated.objects.verified(), {
          ...stores, level, workers: config.objects?.workers ?? 1,
          onChecked(more, moreBytes) {
            objects += more
            bytes += moreBytes
          },
        })
        return { level, objects, bytes, problems }
      })
      session.answer(checked, renderVerified(checked))
      return checked.problems.length === 0 ? 0 : FOUND
    }))
}

function levelOf(text: string): 1 | 2 | 3 {
  if (!/^[123]$/.test(text)) throw new InvalidArgumentError('Not 1, 2 or 3.')
  return Number(text) as 1 | 2 | 3
}

function addManifest(objects: Command, invocation: Invocation): void {
  objects.command('manifest')
    .description('write a JSON line for each verified object, and a root hash over them')
    .option('--out <file>', 'write it to a file')
    .addHelpText('after', examples('objects manifest > objects.ndjson', 'objects manifest --out objects.ndjson --json'))
    .action(verb<{ out?: string }>(invocation, async (session, { out }) => {
      const file = out === undefined ? null : createWriteStream(out)
      const write = async (text: string): Promise<void> => {
        if (file === null) session.world.stdout.write(text)
        else if (!file.write(text)) await once(file, 'drain')
      }
      const manifest = await session.world.operate(await session.config(), (operated) => writeManifest(operated.objects, write))
      if (file === null) return 0
      file.end()
      await finished(file)
      session.answer({ file: out, ...manifest },
        `Wrote ${out}: ${counted(manifest.objects, 'object')}, ${formatBytes(manifest.bytes)}, root ${manifest.root}.`)
      return 0
    }))
}
