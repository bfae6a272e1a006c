import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)

/**
 * The client library, loaded at its first use: a command without a log in Kafka should not wait for it. It is CommonJS, so it is there at
 * once, and with names that Node does not see when it is imported.
 */
export function library(): typeof import('kafkajs') {
  return require('kafkajs') as typeof import('kafkajs')
}
