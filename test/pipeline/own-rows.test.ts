import { expect, test } from 'vitest'
import { createRig, demo } from '../support/rig.ts'
import { pair } from '../support/servers.ts'

const servers = await pair({ source: 15, destination: 18 })

const OURS = `
insert into groups (name, kind) values ('everyone', 'everyone');
insert into users (email, name, first_name, last_name, modified) values ('Ada@x.org', 'ada', 'A', 'L', '2024-01-01');
`
const THEIRS = `
insert into groups (id, name, kind) values ('grp_everyone', 'everyone', 'everyone');
insert into users (id, email, name, full_name) values ('usr_ada', 'ada@x.org', 'ada', 'Ada');
insert into memberships values ('usr_ada', 'grp_everyone', 'owner');
`

test('a row that comes and goes at the source before it is applied takes no row of the destination along', async () => {
  const rig = await createRig({ servers, ...(await demo()) })
  try {
    await rig.source.query(OURS)
    await rig.destination.query(THEIRS)
    const running = rig.start()
    await rig.caughtUp(running)
    await rig.source.query('begin; insert into memberships values (1, 1); delete from memberships; commit')
    await rig.caughtUp(running)
    await running.stop()
    expect(await rig.destination.query('select * from memberships')).toEqual([{ user_id: 'usr_ada', group_id: 'grp_everyone',
      role: 'owner' }])
    expect(await rig.differences()).toEqual([])
  } finally {
    await rig.close()
  }
})
