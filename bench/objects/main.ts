import { execFileSync } from 'node:child_process'
import { openS3Store } from '../../connectors/s3/store.ts'
import { optionsFor } from '../../test/support/buckets.ts'
import { machineOf } from '../servers.ts'
import { rclone, rekey, type Contender } from './contenders.ts'
import { USAGE, parseOptions, type Options } from './options.ts'
import { table, write, type Results, type Run } from './results.ts'
import { putObjects, putRows, type ObjectSet } from './seed.ts'
import { openPlace, type Place } from './servers.ts'

/** rekey's workers against rclone, between the same two S3 servers, one right after the other. */
async function bench(options: Options): Promise<Results> {
  const place = await openPlace()
  try {
    const contenders = [rclone(place, options, false), rclone(place, options, true), rekey(place, options)]
      .filter(({ name }) => options.movers.includes(name))
    const sets: ObjectSet[] = [{ name: 'small', ...options.small }, { name: 'large', ...options.large }]
    const runs: Run[] = []
    for (const set of sets.filter(({ objects }) => objects > 0)) {
      say(`${set.name}: ${set.objects} objects of ${set.bytes} bytes`)
      await putObjects(place, set)
      await putRows(place, set)
      const able = contenders.filter(({ sets: ofThis }) => ofThis.includes(set.name))
      for (const one of able) await one.prepare(set)
      for (let pair = 0; pair < options.pairs; pair++) {
        for (const one of pair % 2 === 0 ? able : able.toReversed()) runs.push(await once(place, one, { set, pair }))
      }
    }
    return { version: 1, date: new Date().toISOString(), options, machine: await machineOf(place.databases.source), runs }
  } finally {
    await place.close()
  }
}

interface Which {
  readonly set: ObjectSet
  readonly pair: number
}

async function once(place: Place, contender: Contender, { set, pair }: Which): Promise<Run> {
  const bucket = `${contender.name}-${set.name}-${pair}`
  // What was written before must not be written to the disk meanwhile.
  execFileSync('sync')
  const measured = await contender.run(set, bucket)
  await proveAndEmpty(place, set, bucket)
  say(`  ${contender.name}: ${(set.objects / measured.seconds).toFixed(1)} objects/s`)
  return { set, pair, contender: contender.name, ...measured }
}

/** All objects must be there and have their size; large ones are then removed, as the disk may not hold many such sets. */
async function proveAndEmpty(place: Place, set: ObjectSet, bucket: string): Promise<void> {
  const store = await openS3Store(optionsFor(place.destination, bucket))
  let right = 0
  for await (const page of store.list('', null)) {
    right += page.filter(({ size }) => size === set.bytes).length
    if (set.name === 'large') await Promise.all(page.map(({ key, etag }) => store.remove(key, etag)))
  }
  store.close()
  if (right !== set.objects) throw new Error(`${bucket} has ${right} objects of ${set.objects}`)
}

const say = (line: string): void => void process.stderr.write(`${line}\n`)

const args = process.argv.slice(2)
if (args.includes('--help')) {
  process.stdout.write(`${USAGE}\n`)
} else {
  const results = await bench(parseOptions(args))
  say(await write(results))
  process.stdout.write(`${table(results)}\n`)
}
