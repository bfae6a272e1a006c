import { RekeyError } from './errors.ts'

/** A row that is not ours stands under the id of one that was to be written. */
export class Taken extends RekeyError {
  constructor(cause: RekeyError) {
    super('CONFLICT', 'the destination has a row of its own under this id', { cause, sqlstate: '23505' })
  }
}
