export const USERS = 10_000
export const PROJECTS = 20_000

/** Rows that the rekey destination holds of its own before anything comes. */
export const OWN = { users: 500, sharedEmails: 200, projects: 500, nodes: 2_000 } as const

/** Text of 313 bytes on average, as the server prints it; the same for the same number. */
const PAYLOAD = `
create function node_inputs(n bigint) returns jsonb language sql immutable as $$
  select format(
    '{"kind": "simulation", "output": "out_%s", "digest": "%s", "path": "results/%s/result.csv", "label": "%s",
      "options": {"steps": %s, "seed": %s, "mode": "%s"}, "notes": "%s"}',
    n % 10, md5(n::text), md5((n + 1)::text), substr(md5((n + 2)::text), 1, 12), n % 5000, n % 977,
    case when n % 2 = 0 then 'fast' else 'exact' end, repeat(substr(md5((n + 3)::text), 1, 16), 4))::jsonb
$$;
`

/** The source, and the destination of native replication: integer keys. */
export const INTEGER_TABLES = `${PAYLOAD}
create table users (
  id bigint primary key,
  email text not null,
  name text not null,
  created timestamptz not null default now()
);
create unique index users_email on users (lower(email));
create table projects (
  id bigint primary key,
  owner_id bigint not null references users,
  name text not null,
  modified timestamptz not null default now()
);
create index projects_owner on projects (owner_id);
create table nodes (
  id bigint primary key,
  project_id bigint not null references projects,
  label text not null,
  kind text not null,
  inputs jsonb not null,
  progress integer not null default 0,
  modified timestamptz not null default now()
);
create index nodes_project on nodes (project_id);
create table marker (id bigint primary key, n bigint not null unique);
`

/** The destination of rekey: prefixed text keys, the same indexes and foreign keys. */
export const TEXT_TABLES = `${PAYLOAD}
create table users (
  id text collate "C" primary key,
  email text not null,
  name text not null,
  created timestamptz not null default now()
);
create unique index users_email on users (lower(email));
create table projects (
  id text collate "C" primary key,
  owner_id text collate "C" not null references users,
  name text not null,
  modified timestamptz not null default now()
);
create index projects_owner on projects (owner_id);
create table nodes (
  id text collate "C" primary key,
  project_id text collate "C" not null references projects,
  label text not null,
  kind text not null,
  inputs jsonb not null,
  progress integer not null default 0,
  modified timestamptz not null default now()
);
create index nodes_project on nodes (project_id);
create table marker (id text collate "C" primary key, n bigint not null unique);
`

/** What is in every source before a phase begins. The same statements give the same rows in the destination of native replication. */
export function baseRows(nodes: number): string {
  return `
insert into users select n, 'user' || n || '@example.org', 'user ' || n, timestamptz '2024-01-01' + n * interval '1 minute'
  from generate_series(1, ${USERS}) n;
insert into projects select n, 1 + n * 7919::bigint % ${USERS}, 'project ' || n, timestamptz '2024-02-01' + n * interval '1 minute'
  from generate_series(1, ${PROJECTS}) n;
${nodeRows({ after: 0, count: nodes })};
`
}

/** Nodes under consecutive ids; their projects are spread over all there are. */
export function nodeRows(range: { readonly after: number | string; readonly count: number | string }): string {
  return `insert into nodes select n, 1 + n * 7919::bigint % ${PROJECTS}, 'node ' || n, 'simulation', node_inputs(n), n % 100,
    timestamptz '2024-03-01' + n * interval '1 second'
  from generate_series(${range.after} + 1::bigint, ${range.after} + ${range.count}) n`
}

/** Some of its users have an e-mail address of the source, in capitals. Ids look like those of any application with such keys. */
export function ownRows(): string {
  const id = (prefix: string, n: string) => `'${prefix}_' || lpad((${n})::text, 26, '0')`
  return `
insert into users select ${id('usr', 'n')},
    case when n <= ${OWN.sharedEmails} then 'USER' || n * 7 || '@Example.org' else 'own' || n || '@example.net' end, 'own user ' || n
  from generate_series(1, ${OWN.users}) n;
insert into projects select ${id('prj', 'n')}, ${id('usr', `1 + n % ${OWN.users}`)}, 'own project ' || n
  from generate_series(1, ${OWN.projects}) n;
insert into nodes select ${id('nod', 'n')}, ${id('prj', `1 + n % ${OWN.projects}`)}, 'own node ' || n, 'simulation', node_inputs(n), 0
  from generate_series(1, ${OWN.nodes}) n;
`
}
