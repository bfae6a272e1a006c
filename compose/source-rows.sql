-- Some rows for the source of docker-compose.yml. Keys are given, so the sequences are moved past them at the end.

insert into products (id, name, description, support_email)
select i, 'product ' || i, 'Simulates ' || i, 'help@example.org' from generate_series(1, 5) i;

insert into groups (id, name, kind)
select i, case i when 1 then 'everyone' else 'team ' || i end, case i when 1 then 'everyone' else 'team' end from generate_series(1, 20) i;

insert into users (id, email, name, first_name, last_name, is_admin)
select i, 'user' || i || '@example.org', 'user' || i, 'First' || i, 'Last' || i, i % 50 = 0 from generate_series(1, 1000) i;

insert into memberships (user_id, group_id, role)
select u, g, 'member' from generate_series(1, 1000) u, lateral (values (1), (2 + u % 19)) as of(g);

insert into wallets (id, owner_id, product_id, name, credits)
select i, i, 1 + i % 5, 'main', i from generate_series(1, 1000) i;

insert into preferences (user_id, name, value)
select i, 'preferred_wallet', jsonb_build_object('value', i) from generate_series(1, 1000) i;

insert into projects (id, name, owner_id, product_id, shared_with)
select i, 'project ' || i, 1 + i % 1000, 1 + i % 5, array[1 + i % 20] from generate_series(1, 3000) i;

insert into nodes (id, project_id, label)
select i, 1 + (i - 1) / 2, 'node ' || i from generate_series(1, 6000) i;

insert into files (path, project_id, node_id, owner_id, size)
select concat_ws('/', project_id, id, 'out.csv'), project_id, id, 1 + project_id % 1000, 10 from nodes;

select setval(pg_get_serial_sequence(name, 'id'), 100000)
from unnest(array['products', 'groups', 'users', 'wallets', 'projects', 'nodes']) as name;
