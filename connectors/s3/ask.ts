import { setMaxListeners } from 'node:events'
import type { Session } from './client.ts'
import { failure, isExpired, isSkewed, type OnCondition } from './failure.ts'

export interface How {
  /** What a condition that does not hold means for this request. */
  readonly onCondition?: OnCondition
  readonly signal?: AbortSignal | undefined
  /** The store copies or joins bytes before it answers. */
  readonly slow?: boolean
}

export interface SendOptions {
  readonly abortSignal?: AbortSignal
  readonly requestTimeout?: number
}

/**
 * Sends one request, and once more with fresh credentials when the server says that these have expired (their own date may be wrong, or
 * they were revoked early), or with its time when ours is too far from it. Rejects with RekeyError.
 */
export async function ask<T>(session: Session, how: How, send: (options: SendOptions) => Promise<T>): Promise<T> {
  const { timeout } = session.options
  // One signal ends all that is under way, and each request listens to it.
  if (how.signal) setMaxListeners(0, how.signal)
  const options: SendOptions = {
    ...(how.signal ? { abortSignal: how.signal } : {}), ...(how.slow ? { requestTimeout: 10 * timeout } : {}),
  }
  try {
    return await send(options).catch(async (error: unknown) => {
      if (isExpired(error)) await session.client.config.credentials({ forceRefresh: true })
      else if (isSkewed(error)) await setClock(session)
      else throw error
      return send(options)
    })
  } catch (error) {
    throw failure(error, how.onCondition ?? 'OBJECT_CHANGED')
  }
}

async function setClock({ sdk, client, options }: Session): Promise<void> {
  await client.send(new sdk.HeadBucketCommand({ Bucket: options.bucket })).catch(() => {})
}
