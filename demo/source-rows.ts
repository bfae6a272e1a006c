import type { Random } from '../test/support/random.ts'
import type { Row, Table } from './load.ts'
import { person, timeOf, type Sizes } from './people.ts'

const WORDS = ['heart', 'nerve', 'mesh', 'signal', 'field', 'fibre', 'pulse', 'atlas', 'current', 'tissue']

/** The rows of the source, in an order in which they can be loaded. Keys count from 1. */
export function sourceRows(random: Random, sizes: Sizes): Table[] {
  const { users, groups, products, workspaces } = sizes
  const list = (n: number, row: (i: number) => Row): Row[] => Array.from({ length: n }, (_, i) => row(i + 1))
  const wallets = list(users, (i) => ({ id: i, owner_id: i, product_id: random.int(1, products), name: 'main',
    credits: `${random.int(0, 9_999)}.${random.int(10, 99)}` }))
  return [
    { name: 'products', rows: list(products, (i) => ({ id: i, name: `product ${i}`, description: `Simulates ${WORDS[i]}`,
      support_email: 'help@example.org' })) },
    { name: 'groups', rows: list(groups, (i) => ({ id: i, name: i === 1 ? 'everyone' : `team ${i}`,
      kind: i === 1 ? 'everyone' : 'team' })) },
    { name: 'users', rows: list(users, (i) => userRow(random, i)) },
    { name: 'memberships', rows: Array.from({ length: users }, (_, i) => membershipRows(random, i + 1, groups)).flat() },
    { name: 'sessions', rows: list(users, (i) => ({ token: `token-${i}`, user_id: i, expires: timeOf(9_999_999) })) },
    { name: 'wallets', rows: wallets },
    {
      name: 'preferences', rows: wallets.flatMap(({ id, owner_id }) => [
        { user_id: owner_id, name: 'preferred_wallet', value: { value: id } },
          { user_id: owner_id, name: 'font_size', value: { value: random.int(8, 24) } },
      ]),
    },
    { name: 'workspaces', rows: list(workspaces, (i) => ({ id: i, name: `workspace ${i}`, owner_group_id: random.int(2, groups) })) },
    { name: 'folders', rows: list(sizes.folders, (i) => folderRow(random, i, sizes)) },
    ...projectRows(random, sizes),
    { name: 'events', rows: list(sizes.events, (i) => eventRow(random, i, sizes)) },
  ]
}

function userRow(random: Random, i: number): Row {
  const { first, last, name, email } = person(i)
  return {
    id: i, email, name, first_name: ` ${first}`, last_name: last,
    phone: random.chance(0.7) ? `+41 44 ${random.int(1_000_000, 9_999_999)}` : null,
    bio: i === 17 || random.chance(0.5) ? `I work on the ${random.pick(WORDS)}.\nTab:\there, and a \\ there.` : null,
    is_admin: i % 50 === 0,
    created: timeOf(i), modified: timeOf(500_000 + random.int(0, 100_000)),
  }
}

function membershipRows(random: Random, user: number, groups: number): Row[] {
  const teams = new Set(Array.from({ length: 3 }, () => random.int(2, groups)))
  return [1, ...teams].map((group) => ({ user_id: user, group_id: group, role: random.chance(0.1) ? 'owner' : 'member' }))
}

/** Nested: the parent is an earlier folder, of the first ones each opens a tree of its own. */
function folderRow(random: Random, i: number, { workspaces, users }: Sizes): Row {
  const parent = i <= 10 ? null : random.chance(0.5) ? i - random.int(1, 5) : random.int(1, i - 1)
  return {
    id: i, name: `${random.pick(WORDS)} ${i}`, parent_id: parent, workspace_id: random.chance(0.4) ? random.int(1, workspaces) : null,
    created_by: random.int(1, users),
  }
}

/** Of so many projects one has uploaded its files; the others have only named them. */
const UPLOADED = 30

function projectRows(random: Random, sizes: Sizes): Table[] {
  const projects: Row[] = []
  const nodes: Row[] = []
  const files: Row[] = []
  for (let id = 1; id <= sizes.projects; id++) {
    const owner = random.int(1, sizes.users)
    const first = (id - 1) * sizes.nodesPerProject + 1
    projects.push(projectRow(random, { id, owner, first, sizes }))
    for (let node = first; node < first + sizes.nodesPerProject; node++) {
      nodes.push(nodeRow(random, { id, node, owner, first }))
      const names = ['out.csv', ...(random.chance(0.33) ? [random.pick(['log of the run.txt', 'Übersicht.json', 'a/b/c.bin'])] : [])]
      files.push(...names.map((name) => ({
        path: `${id}/${node}/${name}`, project_id: id, node_id: node, owner_id: owner, size: random.int(0, 60_000),
        etag: id % UPLOADED === 0 ? random.int(0, 2 ** 31).toString(16) : null,
      })))
    }
  }
  return [{ name: 'projects', rows: projects }, { name: 'nodes', rows: nodes }, { name: 'files', rows: files }]
}

interface ProjectAt { readonly id: number; readonly owner: number; readonly first: number }

function projectRow(random: Random, { id, owner, first, sizes }: ProjectAt & { readonly sizes: Sizes }): Row {
  const hex = Array.from({ length: 32 }, (_, i) => (i === 12 ? '4' : i === 16 ? '8' : random.int(0, 15).toString(16))).join('')
  return {
    id, uuid: hex, name: `${random.pick(WORDS)} study ${id}`, descr: random.chance(0.5) ? 'A study.' : null, owner_id: owner,
    product_id: random.int(1, sizes.products),
    workspace_id: random.chance(0.3) ? random.int(1, sizes.workspaces) : null,
    folder_id: random.chance(0.6) ? random.int(1, sizes.folders) : null,
    shared_with: random.chance(0.4) ? [1, random.int(2, sizes.groups)] : [],
    ui: { current_node: first, slides: { [first]: { position: 0 }, [first + 2]: { position: 1 } },
      notes: [{ author: owner, text: `see node ${first}`, size: 17 }] },
    settings: { threshold: 17, iterations: [first, first + 1] }, created: timeOf(id), modified: timeOf(id + 100),
  }
}

function nodeRow(random: Random, { id, node, owner, first }: ProjectAt & { readonly node: number }): Row {
  const inputs = node === first ? { c: random.int(1, 99) } : {
    a: { node: node - 1, output: 'out_1' }, b: { store: random.int(0, 1), path: `${id}/${node - 1}/out.csv` }, c: node,
  }
  const last_job = random.chance(0.6) ? `job_${owner}_${id}_${node}_${random.int(1, 9)}` : null
  return { id: node, project_id: id, label: `step ${node - first + 1}`, inputs, last_job, progress: random.int(0, 100) }
}

/** Some events tell of things that are no rows at all. */
function eventRow(random: Random, id: number, { users, projects, nodesPerProject, workspaces }: Sizes): Row {
  const type = random.pick(['user', 'project', 'project', 'node', 'node', 'workspace', 'login'])
  const most: Record<string, number> = { user: users, project: projects, node: projects * nodesPerProject, workspace: workspaces,
    login: 9_999 }
  return { id, actor_id: random.chance(0.9) ? random.int(1, users) : null, subject_type: type, subject_id: random.int(1, most[type]),
    note: 'as it was', at: timeOf(id) }
}
