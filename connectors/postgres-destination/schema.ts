import { FITS_SQL } from './fits.ts'

/**
 * Our own tables at the destination. Everything that decides what was applied is here and is written in the transaction of the rows
 * themselves. Keys are COLLATE "C": they are compared as bytes, never as words of a language.
 * SQLSTATEs of our own: RK001 another writer has taken over or the chain is broken, RK002 a statement touched another number of rows, RK004
 * the ledger does not have what a plan relied on, RK005 a table is not what it was when the run began.
 */
export const SCHEMA_SQL = `
create schema if not exists rekey;

create table if not exists rekey.checkpoint (
  pipeline text collate "C" primary key,
  writer bigint not null,
  epoch integer not null,
  commit_lsn pg_lsn not null,
  end_lsn pg_lsn not null,
  converge_lsn pg_lsn not null,
  phase text not null check (phase in ('new', 'snapshot', 'stream')),
  totals json not null,
  mapping_digest text not null,
  source_system text not null,
  source_timeline integer not null,
  updated_at timestamptz not null
);

create table if not exists rekey.id_map (
  pipeline text collate "C" not null,
  entity text collate "C" not null,
  old text collate "C" not null,
  new text collate "C" not null,
  kind text not null,
  rule text not null,
  evidence text not null,
  primary key (pipeline, entity, old)
);
create index if not exists id_map_new on rekey.id_map (new);

create table if not exists rekey.ledger (
  pipeline text collate "C" primary key,
  life uuid not null default gen_random_uuid(),
  source text
);

create table if not exists rekey.mapping (
  pipeline text collate "C" primary key,
  meaning json not null
);

create table if not exists rekey.beginning (
  pipeline text collate "C" primary key,
  xid xid8 not null,
  publication json
);

create table if not exists rekey.our_transaction (
  pipeline text collate "C" not null,
  interrupted boolean not null default false
);

create table if not exists rekey.partition (
  pipeline text collate "C" primary key,
  known json not null
);

create table if not exists rekey.chunk (
  pipeline text collate "C" not null,
  tbl text collate "C" not null,
  schema_name text not null,
  table_name text not null,
  pass smallint not null,
  index integer not null,
  after json,
  up_to json,
  rows bigint,
  totals json,
  since pg_lsn,
  primary key (pipeline, tbl, pass, index)
);

create table if not exists rekey.journal (
  id bigint generated always as identity primary key,
  pipeline text not null,
  tbl text not null,
  before json not null,
  at timestamptz not null default clock_timestamp()
);

create table if not exists rekey.parked (
  id bigint generated always as identity primary key,
  pipeline text collate "C" not null,
  tbl text collate "C" not null,
  key text collate "C" not null,
  leaves text collate "C",
  op text not null,
  sqlstate text not null,
  reason text not null,
  change text not null,
  behind boolean not null,
  commit_lsn pg_lsn not null,
  ordinal bigint not null,
  state text not null default 'waiting' check (state in ('waiting', 'waived', 'retry', 'done', 'left')),
  note text,
  parked_at timestamptz not null default clock_timestamp()
);
do $do$ begin
  if not exists (select from pg_attribute where attrelid = 'rekey.parked'::regclass and attname = 'leaves') then
    alter table rekey.parked add column leaves text collate "C";
  end if;
end $do$;
drop index if exists rekey.parked_waiting;
-- The key of a row without one is the whole row, which may be too large for another kind of index.
create index if not exists parked_key on rekey.parked using hash (key) where state = 'waiting';

create table if not exists rekey.dead_letter (
  pipeline text collate "C" not null,
  topic text collate "C" not null,
  partition integer not null,
  "offset" bigint not null,
  reason text not null,
  key bytea,
  value bytea,
  headers json not null,
  at timestamptz not null default clock_timestamp(),
  primary key (pipeline, topic, partition, "offset")
);

create table if not exists rekey.topic (
  pipeline text collate "C" not null,
  topic text collate "C" not null,
  primary key (pipeline, topic)
);

create table if not exists rekey.topic_id (
  pipeline text collate "C" primary key,
  topic text collate "C" not null,
  id text collate "C" not null
);

create table if not exists rekey.dropped_index (
  pipeline text collate "C" not null,
  schema_name text not null,
  table_name text not null,
  index_name text not null,
  definition text not null,
  primary key (pipeline, schema_name, index_name)
);

create table if not exists rekey.object (
  id bigint generated always as identity primary key,
  pipeline text collate "C" not null,
  kind text not null check (kind in ('object', 'directory', 'sweep')),
  src_store text collate "C" not null,
  src_key text collate "C" not null,
  src_etag text,
  src_version text,
  dst_store text collate "C" not null,
  dst_key text collate "C",
  dst_etag text,
  dst_version text,
  size bigint,
  stamp text,
  checksum_alg text,
  checksum text,
  evidence smallint,
  lost json,
  upload json,
  listed_to text collate "C",
  parent bigint,
  tbl text collate "C",
  row_lsn pg_lsn not null,
  state text not null
    check (state in ('wanted', 'copying', 'copied', 'verified', 'parked', 'tombstone', 'gone')),
  approved boolean not null default false,
  error text,
  turn bigint not null default 0,
  attempts integer not null default 0,
  not_before timestamptz not null default clock_timestamp(),
  buried_at timestamptz,
  changed_at timestamptz not null default clock_timestamp(),
  unique (pipeline, src_store, src_key, kind)
);
create unique index if not exists object_target on rekey.object (pipeline, dst_store, dst_key)
  where kind = 'object' and dst_key is not null and state <> 'gone';
create index if not exists object_due on rekey.object (pipeline, not_before) where state in ('wanted', 'copying', 'copied', 'tombstone');
create index if not exists object_parent on rekey.object (parent) where parent is not null;

create table if not exists rekey.object_row (
  pipeline text collate "C" not null,
  tbl text collate "C" not null,
  row_key text collate "C" not null,
  src_store text collate "C" not null,
  src_key text collate "C" not null,
  kind text not null,
  primary key (pipeline, tbl, row_key, src_store, src_key, kind)
);
create index if not exists object_row_source on rekey.object_row (pipeline, src_store, src_key);

create or replace function rekey.advance(
  p text, w bigint, before pg_lsn, e integer, c pg_lsn, n pg_lsn, v pg_lsn, ph text, t json
) returns void language plpgsql set search_path = pg_catalog as $$
begin
  update rekey.checkpoint
     set epoch = e, commit_lsn = c, end_lsn = n, converge_lsn = v, phase = ph, totals = t, updated_at = clock_timestamp()
   where pipeline = p and writer = w and commit_lsn = before;
  if not found then
    raise exception 'the checkpoint of % is not the one this writer left', p using errcode = 'RK001';
  end if;
end $$;

create or replace function rekey.guard(p text, w bigint) returns void language plpgsql set search_path = pg_catalog as $$
begin
  perform 1 from rekey.checkpoint where pipeline = p and writer = w for share;
  if not found then
    raise exception 'another writer has taken over %', p using errcode = 'RK001';
  end if;
end $$;

create or replace function rekey.expect(expected bigint, actual bigint, place text, state text) returns void
language plpgsql set search_path = pg_catalog as $$
begin
  if actual is distinct from expected then
    raise exception '%: expected % rows, met %', place, expected, actual using errcode = state, constraint = place;
  end if;
end $$;
${FITS_SQL}`
