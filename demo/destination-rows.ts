import type { Random } from '../test/support/random.ts'
import type { Row, Table } from './load.ts'
import { GUEST, isNamesake, isShared, LOCAL, nativeId, person, timeOf, type Sizes } from './people.ts'

/**
 * What the destination holds already: some of the same people (their e-mail in other letter case) and products, people who happen to have
 * the same user name, people who sign up at the source later, and rows that have nothing to do with the source.
 */
export function destinationRows(random: Random, sizes: Sizes): Table[] {
  const users = [...sharedUsers(random, sizes), ...localUsers(random, sizes)]
  const id = (prefix: string): string => nativeId(random, prefix)
  const owner = (): unknown => random.pick(users).id
  const products = ['product 1', 'product 2', 'Another product'].map((name) =>
    ({ id: id('prd'), name, description: 'As described here', support_email: 'desk@here.example' }))
  const teams = Array.from({ length: 10 }, (_, i) => ({ id: id('grp'), name: `guild ${i}`, kind: 'team' }))
  const workspaces = teams.map((team, i) => ({ id: id('wks'), name: `room ${i}`, owner_group_id: team.id }))
  const folders: Row[] = []
  for (let i = 0; i < 40; i++) folders.push({ id: id('fld'), name: `drawer ${i}`, parent_id: i < 5 ? null : random.pick(folders).id,
    workspace_id: null, created_by: owner() })
  const projects = Array.from({ length: sizes.theirProjects }, (_, i) => ({
    id: id('prj'), name: `their study ${i}`, owner_id: owner(), product_id: random.pick(products).id, folder_id: random.pick(folders).id,
    shared_with: [random.pick(teams).id], ui: { zoom: i }, settings: { threshold: i }, created: timeOf(i), modified: timeOf(i),
  }))
  const nodes = projects.flatMap(({ id: project_id }) => Array.from({ length: 3 }, (_, i) =>
    ({ id: id('nod'), project_id, label: `their step ${i}`, inputs: {}, progress: i })))
  return [
    { name: 'products', rows: products },
    { name: 'groups', rows: [{ id: 'grp_everyone', name: 'everyone', kind: 'everyone' }, ...teams] },
    { name: 'users', rows: users },
    { name: 'memberships', rows: users.flatMap((user) => ['grp_everyone', random.pick(teams).id].map((group_id) =>
      ({ user_id: user.id, group_id, role: 'member' }))) },
    { name: 'wallets', rows: users.map((user) => ({ id: id('wal'), owner_id: user.id, product_id: random.pick(products).id,
      name: 'their wallet', credits: random.int(0, 500) })) },
    { name: 'preferences', rows: users.map((user) => ({ user_id: user.id, name: 'font_size', value: { value: random.int(8, 24) } })) },
    { name: 'workspaces', rows: workspaces },
    { name: 'folders', rows: folders },
    { name: 'projects', rows: projects },
    { name: 'nodes', rows: nodes },
    { name: 'files', rows: nodes.map((node) => ({ path: `${node.project_id}/${node.id}/own.csv`, project_id: node.project_id,
      node_id: node.id, owner_id: owner(), size: 7 })) },
    { name: 'events', rows: nodes.map((node, i) => ({ id: id('evt'), actor_id: owner(), subject_type: 'node', subject_id: node.id,
      note: 'theirs', at: timeOf(i) })) },
  ]
}

function sharedUsers(random: Random, sizes: Sizes): Row[] {
  const numbers = Array.from({ length: sizes.users }, (_, i) => i + 1)
  return numbers.filter((i) => isShared(i) || isNamesake(i)).map((i) => {
    const user = userRow(random, i)
    if (isShared(i)) return user
    const other = person(i + 1)
    return { ...user, email: `${user.name}@elsewhere.example`, full_name: `${other.first} ${other.last}` }
  })
}

function localUsers(random: Random, sizes: Sizes): Row[] {
  return [GUEST, LOCAL].flatMap((from) => Array.from({ length: from === GUEST ? sizes.guests : sizes.locals }, (_, i) =>
    userRow(random, from + i)))
}

function userRow(random: Random, i: number): Row & { readonly id: string; readonly name: string } {
  const { first, last, name, email } = person(i)
  return {
    id: nativeId(random, 'usr'), email: email.toLowerCase(), name, full_name: `${first} ${last}`,
    phone: i !== 17 && random.chance(0.5) ? '+41 31 000 00 00' : null,
    bio: i !== 17 && random.chance(0.5) ? 'Here since the beginning.' : null, is_admin: false, created: timeOf(i % 1_000),
    modified: timeOf(400_000 + random.int(0, 300_000)),
  }
}
