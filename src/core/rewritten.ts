import { RekeyError } from './errors.ts'

/** A table was emptied or written anew after the snapshot that it is copied under: what it held then is not to be seen there any more. */
export class Rewritten extends RekeyError {
  constructor(table: string) {
    super('REMOTE', `${table} was truncated or rewritten at the source before it was copied; what is left is copied as it is now`)
  }
}
