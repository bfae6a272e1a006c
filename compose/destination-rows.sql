-- What the destination of docker-compose.yml holds already: the group of everyone, a product of the same name, and somebody who has an
-- account at the source, too.

insert into groups (id, name, kind) values ('grp_everyone', 'everyone', 'everyone');
insert into products (id, name) values ('prd_theirs', 'product 1');
insert into users (id, email, name, full_name) values ('usr_theirs', 'USER7@example.org', 'seventh', 'Seventh User');
insert into memberships (user_id, group_id) values ('usr_theirs', 'grp_everyone');
