import { expect, test } from 'vitest'
import { createRig, demo } from '../support/rig.ts'
import { pair } from '../support/servers.ts'

const servers = await pair({ source: 15, destination: 18 })

const ROWS = `
insert into products (name) values ('alpha'), ('beta');
insert into groups (name, kind) values ('everyone', 'everyone'), ('team', 'team');
insert into users (email, name, first_name, last_name, phone, modified) select 'U' || i || '@x.org', 'user' || i, 'F' || i, 'L', '1', now() from generate_series(1, 50) i;
insert into memberships select i, 1 + i % 2 from generate_series(1, 50) i;
insert into wallets (owner_id, product_id, name) select i, 1 + i % 2, 'w' from generate_series(1, 50) i;
insert into preferences select i, case when i % 2 = 0 then 'preferred_wallet' else 'theme' end, jsonb_build_object('value', i) from generate_series(1, 50) i;
insert into workspaces (name, owner_group_id) values ('ws', 2);
insert into folders (name, parent_id) select 'f', case when i > 1 then i - 1 end from generate_series(1, 20) i;
insert into projects (name, owner_id, product_id, folder_id, shared_with, ui, settings) select 'p' || i, 1 + i % 50, 1, 1 + i % 20, array[1, 2], jsonb_build_object('current_node', i, 'slides', jsonb_build_object(i::text, 1), 'notes', jsonb_build_array(jsonb_build_object('author', 1 + i % 50, 'size', 3))), '{"threshold": 17,  "threshold": 1.10}' from generate_series(1, 200) i;
insert into nodes (project_id, label, inputs, last_job) select i, 'n', jsonb_build_object('a', jsonb_build_object('node', i), 'b', jsonb_build_object('store', 0, 'path', i || '/' || i || '/x.csv')), 'job_' || 1 + i % 50 || '_' || i || '_' || i || '_1' from generate_series(1, 200) i;
insert into files select i || '/' || i || '/in\\t.csv', i, i, 1 + i % 50, 10 from generate_series(1, 200) i;
insert into events (actor_id, subject_type, subject_id) select 1, case i % 3 when 0 then 'user' when 1 then 'project' else 'else' end, 1 + i % 40 from generate_series(1, 100) i;
`
const THEIRS = `
insert into users (id, email, name, full_name) values ('usr_a', 'u1@x.org', 'somebody', 'A'), ('usr_b', 'other@x.org', 'user2', 'B');
insert into products (id, name) values ('prd_x', 'alpha');
insert into groups (id, name, kind) values ('grp_everyone', 'everyone', 'everyone');
`

for (const checks of ['engine', 'set'] as const) {
  test(`the demo application is carried, rekeyed and merged, with checks: ${checks}`, async () => {
    const rig = await createRig({ servers, ...(await demo()), config: `checks: ${checks}` })
    try {
      await rig.source.query(ROWS)
      await rig.destination.query(THEIRS)
      const running = rig.start()
      await rig.caughtUp(running)
      expect(await rig.differences()).toEqual([])
      await rig.source.query(`update users set phone = '2', modified = now() where id < 10; update projects set name = name || '!' where id % 3 = 0;
        insert into users (email, name) values ('new@x.org', 'new'); delete from nodes where id % 7 = 0; insert into folders (name, parent_id) values ('z', 3);
        delete from projects where id = 5; update nodes set label = 'm' where id % 2 = 0; update memberships set role = 'boss'`)
      await rig.caughtUp(running)
      await running.stop()
      expect(await rig.differences()).toEqual([])
      const totals = running.latest()!.totals
      for (const [table, t] of Object.entries(totals)) {
        expect([table, t.read]).toEqual([table,
          t.inserted + t.updated + t.merged + t.deleted + t.parked + Object.values(t.skipped).reduce((a, b) => a + b, 0)])
        expect([table, t.parked]).toEqual([table, 0])
      }
    } finally {
      await rig.close()
    }
  })
}
