import { writeFileSync } from 'node:fs'
import { openS3Store } from '../../connectors/s3/store.ts'
import type { S3Options } from '../../connectors/s3/client.ts'
import { copyObject } from '../../src/mirror/copy.ts'
import { between, requestFor } from './copying.ts'

/** Copies one object as a process, so that it can be killed: `<from> <to> <file>` (options as JSON); remembers its upload in the file. */
const [from, to, file] = process.argv.slice(2)
const stores = await Promise.all([from, to].map((text) => openS3Store(JSON.parse(text) as S3Options)))
const remember = (upload: unknown): void => writeFileSync(file, JSON.stringify(upload))
await copyObject(requestFor('big', 'big'), between(stores[0], stores[1], { begun: remember, ranges: 2 }))
