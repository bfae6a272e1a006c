import { expect } from 'vitest'
import type { Rig } from '../support/rig.ts'

/** The application is the same on both sides: a trigger gives each new user a group of its own and two memberships. */
export const APPLICATION = `
  create table groups (gid bigserial primary key, name text not null, kind text not null default 'STANDARD');
  create table users (id bigserial primary key, name text not null unique, primary_gid bigint references groups on update cascade on delete restrict);
  create table user_to_groups (uid bigint references users on delete cascade, gid bigint references groups on delete cascade, role text not null default 'member',
    unique (uid, gid));
  alter table user_to_groups replica identity full;
  create table wallets (id bigserial primary key, owner bigint not null references groups, name text not null);
  create table notes (id bigserial primary key, body text not null);
  insert into groups values (1, 'everyone', 'EVERYONE');
  select setval('groups_gid_seq', 10);
  create function set_user_groups() returns trigger language plpgsql set search_path = public as $$
  declare made bigint;
  begin
    if tg_op = 'DELETE' then
      delete from groups where gid = old.primary_gid;
      return old;
    elsif tg_op = 'UPDATE' then
      update groups set name = new.name where gid = new.primary_gid and name <> new.name;
    else
      insert into groups (name, kind) values (new.name, 'PRIMARY') returning gid into made;
      insert into user_to_groups (uid, gid) values (new.id, made), (new.id, 1);
      update users set primary_gid = made where id = new.id;
    end if;
    return new;
  end $$;
  create trigger user_modification after insert or update or delete on users for each row execute function set_user_groups();`

export const MAPPING = `
application: adopting
defaults: { truncate: owned, triggers: fire }
contexts: [{ name: all, tables: [groups, users, user_to_groups, wallets, notes] }]
entities:
  groups: { id: offset, by: 1000000 }
  users: { id: offset, by: 1000000 }
  wallets: { id: offset, by: 1000000 }
  notes: { id: offset, by: 1000000 }
tables:
  groups: { pinned: { 1: 1 }, adopt: { by: users, column: primary_gid } }
  users: { verdict: merge, on: [name] }
  user_to_groups: { truncate: refuse, adopt: { by: users, on: [uid, gid] } }
  notes: { columns: { body: { template: 'of group {groups}' } } }
`

/** Each user with the group it owns, the groups it is in, and what belongs to its group: by names, as ids differ. */
const PICTURE = `
  select u.name, g.name as own, g.kind, (select string_agg(m.name || ':' || x.role, ',' order by m.name) from user_to_groups x join groups m using (gid) where x.uid = u.id) as of,
    (select string_agg(w.name, ',' order by w.name) from wallets w where w.owner = u.primary_gid) as wallets
  from users u left join groups g on g.gid = u.primary_gid order by u.name`

export async function same(rig: Rig): Promise<void> {
  // What has no key waits while others are read again, and is tried again right behind them.
  await expect.poll(() => rig.destination.query(`select tbl, key, reason from rekey.parked where state <> 'done'`)).toEqual([])
  expect(await rig.destination.query(PICTURE)).toEqual(await rig.source.query(PICTURE))
  expect(await rig.destination.query('select count(*)::text from groups')).toEqual(await rig.source.query('select count(*)::text from groups'))
  expect(await rig.destination.query('select count(*)::text from user_to_groups')).toEqual(await rig.source.query('select count(*)::text from user_to_groups'))
  expect(await rig.differences()).toEqual([])
}
