/**
 * Tables of a pipeline whose changes are spread over partitions. A partition is applied by one process at a time; its row of rekey.lane is
 * locked by every transaction from its beginning on, so that whoever locks them all sees where they are, and nobody moves meanwhile.
 * rekey.taken says who took a partition last, for whoever looks; what proves anything is the writer's number, in the transaction of the rows.
 * While rekey.united names a partition, whoever has that one writes all of them, in the order of the source, and nobody else writes any.
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

create table if not exists rekey.taken (
  pipeline text collate "C" not null,
  partition integer not null,
  member text collate "C" not null,
  pid integer not null,
  primary key (pipeline, partition)
);
drop table if exists rekey.lease, rekey.member;

create table if not exists rekey.united (
  pipeline text collate "C" primary key,
  partition integer,
  stay_ms integer not null,
  parted_at timestamptz
);

create or replace function rekey.enter(p text, k integer, w bigint) returns void language plpgsql set search_path = pg_catalog as $$
begin
  perform 1 from rekey.lane where pipeline = p and partition = k and writer = w for no key update;
  if not found then
    raise exception 'partition % of % has another writer', k, p using errcode = 'RK001';
  end if;
  -- A statement of its own, behind the lock: whoever held it may have united them.
  perform 1 from rekey.united where pipeline = p and partition <> k;
  if found then
    raise exception 'the partitions of % are united in another one than %', p, k using errcode = 'RK001';
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

create or replace function rekey.advance_all(
  p text, k integer, w bigint, before pg_lsn, c pg_lsn, n pg_lsn, converge pg_lsn, offsets bigint[], unites boolean, stay integer, t json)
returns void language plpgsql set search_path = pg_catalog as $$
begin
  perform 1 from rekey.lane where pipeline = p and partition = k and writer = w and commit_lsn = before;
  if not found then
    raise exception 'partition % of % is not where this writer left it', k, p using errcode = 'RK001';
  end if;
  update rekey.lane set writer = case when partition = k then writer else writer + 1 end, commit_lsn = greatest(commit_lsn, c),
         end_lsn = greatest(end_lsn, n), next_offset = greatest(next_offset, offsets[partition + 1]),
         totals = case when partition = k then t else totals end, updated_at = clock_timestamp()
   where pipeline = p;
  update rekey.checkpoint set converge_lsn = converge where pipeline = p and converge_lsn <> converge;
  if unites or converge = '0/0' then
    insert into rekey.united as u values (p, k, stay, null)
      on conflict (pipeline) do update set partition = k, stay_ms = stay where u.partition is distinct from k or u.stay_ms <> stay;
  end if;
end $$;

create or replace function rekey.part(p text, k integer, w bigint) returns void language plpgsql set search_path = pg_catalog as $$
begin
  perform rekey.enter_all(p, k, w);
  update rekey.united set partition = null, parted_at = clock_timestamp() where pipeline = p;
end $$;
`
