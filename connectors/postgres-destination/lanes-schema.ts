/**
 * Tables of a pipeline whose changes are spread over partitions. A partition is applied by one process at a time; its row of rekey.lane is
 * locked by every transaction from its beginning on, so that whoever locks them all sees where they are, and nobody moves meanwhile.
 * Leases say who is to apply what; they are no proof of anything: the writer's number is, in the transaction of the rows.
 */
export const LANES_SQL = `
create table if not exists rekey.lane (
  pipeline text collate "C" not null,
  partition integer not null,
  writer bigint not null,
  commit_lsn pg_lsn not null,
  end_lsn pg_lsn not null,
  next_offset bigint not null default 0,
  totals json not null default '{}',
  updated_at timestamptz not null default clock_timestamp(),
  primary key (pipeline, partition)
);

create table if not exists rekey.member (
  pipeline text collate "C" not null,
  member text collate "C" not null,
  alive_until timestamptz not null,
  primary key (pipeline, member)
);

create table if not exists rekey.lease (
  pipeline text collate "C" not null,
  partition integer not null,
  member text collate "C" not null,
  primary key (pipeline, partition)
);

create or replace function rekey.enter(p text, k integer, w bigint) returns void language plpgsql set search_path = pg_catalog as $$
begin
  perform 1 from rekey.lane where pipeline = p and partition = k and writer = w for no key update;
  if not found then
    raise exception 'partition % of % has another writer', k, p using errcode = 'RK001';
  end if;
end $$;

create or replace function rekey.enter_all(p text, k integer, w bigint) returns void language plpgsql set search_path = pg_catalog as $$
begin
  perform 1 from rekey.lane where pipeline = p order by partition for no key update;
  perform rekey.enter(p, k, w);
end $$;

create or replace function rekey.advance_lane(p text, k integer, w bigint, before pg_lsn, c pg_lsn, n pg_lsn, o bigint, t json)
returns void language plpgsql set search_path = pg_catalog as $$
begin
  update rekey.lane set commit_lsn = c, end_lsn = n, next_offset = greatest(next_offset, o), totals = t, updated_at = clock_timestamp()
   where pipeline = p and partition = k and writer = w and commit_lsn = before;
  if not found then
    raise exception 'partition % of % is not where this writer left it', k, p using errcode = 'RK001';
  end if;
end $$;

create or replace function rekey.advance_all(p text, k integer, c pg_lsn, ends pg_lsn[], t json)
returns void language plpgsql set search_path = pg_catalog as $$
begin
  update rekey.lane set writer = writer + 1, commit_lsn = greatest(commit_lsn, c), end_lsn = greatest(end_lsn, ends[partition + 1]),
         totals = case when partition = k then t else totals end, updated_at = clock_timestamp()
   where pipeline = p;
end $$;
`
