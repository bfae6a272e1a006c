-- The demo application where it moves to: the same tables, every key is a prefixed text. "C" sorts them by their bytes.

create table products (
  id text collate "C" primary key,
  name text not null unique,
  description text,
  support_email text
);

create table groups (
  id text collate "C" primary key,
  name text not null,
  kind text not null check (kind in ('everyone', 'team'))
);

create table users (
  id text collate "C" primary key,
  email text not null,
  name varchar(60) not null unique,
  full_name text not null,
  phone text,
  bio text,
  is_admin boolean not null default false,
  created timestamptz not null default now(),
  modified timestamptz not null default now()
);
create unique index users_email on users (lower(email));

create table memberships (
  user_id text collate "C" not null references users on delete cascade,
  group_id text collate "C" not null references groups on delete cascade,
  role text not null default 'member',
  primary key (user_id, group_id)
);
create index on memberships (group_id);

create table sessions (
  token text primary key,
  user_id text collate "C" not null references users on delete cascade,
  expires timestamptz not null
);
create index on sessions (user_id);

create table wallets (
  id text collate "C" primary key,
  owner_id text collate "C" not null references users,
  product_id text collate "C" not null references products,
  name text not null,
  credits numeric(12, 2) not null default 0
);
create index on wallets (owner_id);
create index on wallets (product_id);

-- value: {"value": "wal_…"} is a wallet under the name preferred_wallet, and a plain number under every other name.
create table preferences (
  user_id text collate "C" not null references users on delete cascade,
  name text not null,
  value jsonb not null,
  primary key (user_id, name)
);

create table workspaces (
  id text collate "C" primary key,
  name text not null,
  owner_group_id text collate "C" not null references groups
);
create index on workspaces (owner_group_id);

create table folders (
  id text collate "C" primary key,
  name text not null,
  parent_id text collate "C" references folders on delete cascade,
  workspace_id text collate "C" references workspaces on delete cascade,
  created_by text collate "C" references users on delete set null
);
create index on folders (parent_id);
create index on folders (workspace_id);
create index on folders (created_by);

-- ui: {"current_node": "nod_…", "slides": {"nod_…": {"position": 0}}, "notes": [{"author": "usr_…", "text": "…", "size": 17}]}
-- settings: numbers that look like ids and are none, e.g. {"threshold": 17, "iterations": [41, 42]}
create table projects (
  id text collate "C" primary key,
  uuid uuid not null unique default gen_random_uuid(),
  name text not null,
  description text,
  owner_id text collate "C" not null references users,
  product_id text collate "C" not null references products,
  workspace_id text collate "C" references workspaces on delete cascade,
  folder_id text collate "C" references folders on delete set null,
  shared_with text[] not null default '{}',
  ui jsonb not null default '{}',
  settings json not null default '{}',
  created timestamptz not null default now(),
  modified timestamptz not null default now()
);
create index on projects (owner_id);
create index on projects (product_id);
create index on projects (workspace_id);
create index on projects (folder_id);

-- inputs: {"a": {"node": "nod_…", "output": "out_1"}, "b": {"store": 0, "path": "prj_…/nod_…/in.csv"}, "c": 17}
-- last_job: job_<user>_<project>_<node>_<attempt>
create table nodes (
  id text collate "C" primary key,
  project_id text collate "C" not null references projects on delete cascade,
  label text not null,
  inputs jsonb not null default '{}',
  last_job text,
  progress integer not null default 0
);
create index on nodes (project_id);

-- path: <project>/<node>/<name>, also the key of the object in the store.
create table files (
  path text collate "C" primary key,
  project_id text collate "C" not null references projects on delete cascade,
  node_id text collate "C" references nodes on delete cascade,
  owner_id text collate "C" not null references users,
  size bigint not null,
  etag text
);
create index on files (project_id);
create index on files (node_id);
create index on files (owner_id);

-- subject_id points into the table that subject_type names, without a foreign key: events outlive what they tell of.
create table events (
  id text collate "C" primary key,
  actor_id text collate "C" references users on delete set null,
  subject_type text not null,
  subject_id text collate "C" not null,
  note text,
  at timestamptz not null default now()
);
create index on events (actor_id);
