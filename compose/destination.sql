-- The destination of docker-compose.yml: the same application, every key is a prefixed text. Somebody has an account at both.

create table users (
  id text collate "C" primary key,
  email text not null,
  name text not null
);
create unique index on users (lower(email));

create table projects (
  id text collate "C" primary key,
  owner_id text collate "C" not null references users on delete cascade,
  name text not null
);
create index on projects (owner_id);

create table files (
  path text collate "C" primary key,
  project_id text collate "C" not null references projects on delete cascade,
  size bigint not null
);
create index on files (project_id);

insert into users (id, email, name) values ('usr_theirs', 'USER7@example.org', 'Seventh');
insert into projects (id, owner_id, name) values ('prj_theirs', 'usr_theirs', 'theirs');
