import { randomBytes } from 'node:crypto'
import type { Admin } from 'kafkajs'

/**
 * The group whose members share the partitions among them; nobody reads as one of it, see member.ts. Each reader is a group of its own, so that one that
 * was killed does not keep the next one waiting: `<prefix>.rekey.<12 hexadecimal digits>`.
 */
export function readerGroup(prefix: string): string {
  return `${prefix}.rekey`
}

export function newReader(group: string): string {
  return `${group}.${randomBytes(6).toString('hex')}`
}

/** Whether a group's name is one that newReader() gives: what is longer is of another prefix. */
export function isReader(group: string, id: string): boolean {
  return id.startsWith(`${group}.`) && /^[0-9a-f]{12}$/.test(id.slice(group.length + 1))
}

export async function readersOf(admin: Admin, group: string): Promise<string[]> {
  const { groups } = await admin.listGroups()
  return groups.map((one) => one.groupId).filter((id) => isReader(group, id))
}

/** The group whose members share the partitions, if there is one. */
export async function sharedBy(admin: Admin, group: string): Promise<string[]> {
  const { groups } = await admin.listGroups()
  return groups.map((one) => one.groupId).filter((id) => id === group)
}
