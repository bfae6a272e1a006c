import { RekeyError, type ErrorCode } from '../../src/core/errors.ts'

/** What a failed condition means: reading an object that was overwritten, or writing over one that is there. */
export type OnCondition = 'OBJECT_CHANGED' | 'OBJECT_EXISTS'

/** Codes of the S3 API (API Reference, "Error responses"), and what they are here; the others go by their status. */
const CODES: Readonly<Record<string, ErrorCode>> = {
  NoSuchBucket: 'OBJECT_REFUSED', InvalidObjectState: 'OBJECT_REFUSED', KeyTooLongError: 'OBJECT_REFUSED',
  InvalidRange: 'OBJECT_CHANGED', ConditionalRequestConflict: 'REMOTE', OperationAborted: 'REMOTE',
  BadDigest: 'OBJECT_CORRUPT', InvalidDigest: 'OBJECT_CORRUPT', XAmzContentSHA256Mismatch: 'OBJECT_CORRUPT',
  XAmzContentChecksumMismatch: 'OBJECT_CORRUPT', IncompleteBody: 'OBJECT_CORRUPT', InvalidPart: 'OBJECT_CORRUPT',
  InvalidPartOrder: 'OBJECT_CORRUPT',
  SlowDown: 'STORE_BUSY', ServiceUnavailable: 'STORE_BUSY', TooManyRequests: 'STORE_BUSY', ThrottlingException: 'STORE_BUSY',
  Throttling: 'STORE_BUSY', RequestLimitExceeded: 'STORE_BUSY', BandwidthLimitExceeded: 'STORE_BUSY',
  RequestTimeout: 'REMOTE', InternalError: 'REMOTE', RequestTimeTooSkewed: 'OBJECT_REFUSED',
  ExpiredToken: 'REMOTE', ExpiredTokenException: 'REMOTE', TokenRefreshRequired: 'REMOTE',
}

interface Answer {
  readonly name: string
  readonly status: number | undefined
}

/** The error code and the status that an S3 server answered with, or the name of what happened on the way; both are never values. */
function answerOf(error: unknown): Answer {
  if (!(error instanceof Error)) return { name: 'unknown', status: undefined }
  const { $metadata: meta, code } = error as { $metadata?: { httpStatusCode?: number }; code?: unknown }
  return { name: typeof code === 'string' && error.name === 'Error' ? code : error.name, status: meta?.httpStatusCode }
}

/** Our clock is wrong, or the server's: the SDK reckons with the difference as soon as it has seen an answer. */
export const isSkewed = (error: unknown): boolean => answerOf(error).name === 'RequestTimeTooSkewed'

export const isExpired = (error: unknown): boolean => /^(ExpiredToken(Exception)?|TokenRefreshRequired)$/.test(answerOf(error).name)

/** What a 404 is called that is of an object, a version, an upload; without a body, as to HEAD, it has no name. versitygw has one of users. */
const NOT_THERE = /^(NoSuch(Key|Version|Upload)|NotFound|UnknownError|Unknown)$/

/** True for such a 404; of a delete marker, too, which answers 405 to a reader of that very version. */
export function isMissing(error: unknown): boolean {
  const { name, status } = answerOf(error)
  return (status === 404 && NOT_THERE.test(name)) || (status === 405 && name === 'MethodNotAllowed')
}

/** Servers answer 501 to conditions and questions that they do not know. */
export const isUnknown = (error: unknown): boolean => answerOf(error).status === 501

export function failure(error: unknown, onCondition: OnCondition): unknown {
  if (error instanceof RekeyError) return error
  const { name, status } = answerOf(error)
  if (name === 'AbortError') return Object.assign(new Error('aborted'), { name })
  const code = CODES[name] ?? codeOf({ name, status }, onCondition) ?? (isMissing(error) ? 'OBJECT_MISSING' : byStatus(status))
  const said = status === undefined ? name : `${name} (${status})`
  return new RekeyError(code, `the object store answered ${said}`, { cause: bare({ name, status }) })
}

/** What the SDK throws holds the request with its credentials; none of that may reach a log. */
function bare({ name, status }: Answer): Error {
  return Object.assign(new Error(name), { name, $metadata: { httpStatusCode: status } })
}

function codeOf({ name, status }: Answer, onCondition: OnCondition): ErrorCode | null {
  if (status === 412 || name === 'PreconditionFailed') return onCondition
  // S3 answers 404 to a write that wants a certain object to be there.
  return name === 'NoSuchKey' && onCondition === 'OBJECT_EXISTS' ? 'OBJECT_EXISTS' : null
}

function byStatus(status: number | undefined): ErrorCode {
  if (status === 503 || status === 429) return 'STORE_BUSY'
  return status === undefined || status >= 500 || status === 408 || status < 400 ? 'REMOTE' : 'OBJECT_REFUSED'
}
