/** A column type with values of it, as SQL expressions. The first two or more are distinct as keys. */
export interface TypeSample {
  readonly type: string
  readonly values: readonly string[]
  /** The type has a btree order, so it can be a primary key. */
  readonly key: boolean
  /** Postgres majors that know it, from this one on. */
  readonly since?: number
}

/** Types of the audit's own, made on both sides; the extensions come with every server of the tests. */
export const TYPE_DEFINITIONS = String.raw`
create extension hstore; create extension citext; create extension ltree;
create type mood as enum ('sad', 'so so', 'it''s "fine"', 'ok, {then}', '\back');
create type "Odd.Mood" as enum ('A', 'b');
create domain positive as bigint check (value > 0);
create domain small_positive as positive check (value < 1000);
create domain tagged as text[] check (cardinality(value) < 10);
create domain code as varchar(12) collate "C";
create type pair as (a integer, b text);
create type nest as (p pair, at timestamptz, tags text[]);
create type floatrange as range (subtype = float8);
create type textrange as range (subtype = text, collation = "C");
`

const CONTROL = `(select string_agg(chr(i), '' order by i) from generate_series(1, 159) i)`
const BYTES = `(select string_agg(set_byte('\\x00'::bytea, 0, i), ''::bytea order by i) from generate_series(0, 255) i)`

/** A value is the text of a literal, or an SQL expression after `@`. */
function sample(type: string, values: readonly string[], more: { key?: boolean; since?: number } = {}): TypeSample {
  return { type, values: values.map((v) => (v.startsWith('@') ? v.slice(1) : `'${v.replaceAll("'", "''")}'`)), key: true, ...more }
}

const noKey = { key: false }

const NUMBERS = [
  sample('smallint', ['-32768', '32767', '0']),
  sample('integer', ['-2147483648', '2147483647', '0', '17']),
  sample('bigint', ['-9223372036854775808', '9223372036854775807', '0', '9007199254740993']),
  sample('numeric', [
    'NaN', '1.0', '1.10', '0.000', '-0', '9007199254740993.00000000000000000001', `@repeat('9', 1000)::numeric`,
    `@('0.' || repeat('1', 1000))::numeric`, '1e-20', '-1e300',
  ]),
  sample('numeric(40, 20)', ['1', '-12345678901234567890.12345678901234567890', 'NaN']),
  sample('numeric(5, -2)', ['12345', '-99'], { since: 15 }),
  sample('numeric[]', ['{NaN,1.50,Infinity,-Infinity,NULL}', '{}']),
  sample('real', ['1', '0.1', '-0', 'NaN', 'Infinity', '-Infinity', '1.17549435e-38', '1e-45', '3.4028235e38', '16777217']),
  sample('double precision', ['1', '0.1', '-0', 'NaN', 'Infinity', '-Infinity', '5e-324', '2.2250738585072014e-308',
    '1.7976931348623157e308', '0.30000000000000004', '9007199254740993']),
  sample('money', ['-92233720368547758.08', '92233720368547758.07', '0', '1.5']),
  sample('boolean', ['true', 'false']),
  sample('oid', ['4294967295', '0', '17']),
  sample('xid8', ['18446744073709551615', '0']),
  sample('xid', ['4294967295', '3'], noKey),
  sample('cid', ['4294967295', '0'], noKey),
  sample('tid', ['(4294967295,65535)', '(0,0)']),
  sample('pg_lsn', ['FFFFFFFF/FFFFFFFF', '0/0', '16/B374D848']),
  sample('pg_snapshot', ['10:20:10,14,15', '1:1:'], noKey),
  sample('txid_snapshot', ['10:20:10,14,15'], noKey),
  sample('int2vector', ['1 2 -3', ''], noKey),
  sample('oidvector', ['1 4294967295', '']),
]

const TEXTS = [
  sample('text', [
    'a', '', ' ', 'NULL', '\\N', '\\U', '\\.', 'a\tb\nc\rd\\e\bf\vg\f', `@${CONTROL}`, 'ä €𝄞 👩‍👩‍👧 \u202e\ufeff', '"quoted" \'single\'',
    '%s $1 {} --;', `@repeat('long ü', 500)`, '\\\\', '\\n', '\\x41',
  ]),
  sample('varchar(20)', ['abc', '', 'trailing   ', '12345678901234567890']),
  sample('char(8)', ['abc', '', 'ab      ', ' x', 'üü']),
  sample('"char"', ['a', '', '\\\\', '\t', '\n']),
  sample('name', ['abc', '', 'A "b".c']),
  sample('citext', ['Abc', 'aBd', '', 'ÄÖ']),
  sample('uuid', ['00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11']),
  sample('bytea', [`@'\\x00'::bytea`, `@''::bytea`, `@'\\x5c0001ff0a0d09'::bytea`, `@${BYTES}`, `@decode(repeat('00ff5c', 2000), 'hex')`]),
  sample('bit(9)', ['101010101', '000000000', '111111111']),
  sample('bit varying', ['1', '', '0', '00101', `@repeat('10', 500)::bit varying`]),
  sample('bit varying(5)', ['1', '', '10101']),
  sample('refcursor', ['c 1', ''], noKey),
  sample('json', [
    '{"b": 1,   "a" : 2, "b" : 3 }', '1e400', ' [1.10, -0, 9007199254740993, 1E+2]\n', '"\\u0000\\ud834\\udd1e\\/"', 'null',
    '{"":{"\\t":"\\\\N"}}', '""', '[ ]',
  ], noKey),
  sample('jsonb', ['{"b": 1, "a": 1.10, "B": [null, true, "\\\\N", "\\t"]}', '9007199254740993.10', 'null', '"a\\nb"', '{}', '1e300']),
  sample('jsonpath', ['$.a[*] ? (@.b > 1)', 'strict $."x y".*'], noKey),
  sample('xml', ['<a b="1">\n  <c/>&amp;ü</a>', 'just text', ''], noKey),
  sample('tsvector', [`'a':1A,2 'b c':3 'it''s' '\\\\':4`, '', `fat rat`]),
  sample('tsquery', [`'fat' & ( 'rat':AB* | !'cat' ) <2> 'x y'`, '', `'it''s'`]),
  sample('hstore', ['a=>1, "b c"=>"NULL", d=>NULL, "q\\"q"=>"\\\\"', '']),
  sample('ltree', ['Top.Science.Astronomy', '', 'a_1.B']),
  sample('lquery', ['Top.*{1,2}.a@*|b', '*'], noKey),
]

const TIMES = [
  sample('date', ['infinity', '-infinity', '4714-11-24 BC', '5874897-12-31', '2024-02-29', '0001-01-01']),
  sample('time', ['24:00:00', '00:00:00', '23:59:59.999999']),
  sample('time(3)', ['12:34:56.789', '00:00']),
  sample('timetz', ['24:00:00-15:59', '00:00:00+15:59', '12:34:56.789012+05:30', '12:00:00+01:02:03']),
  sample('timestamp', ['infinity', '-infinity', '4714-11-24 00:00:00 BC', '294276-12-31 23:59:59.999999', '2024-03-10 02:30:00',
    '1999-12-31 23:59:59.1']),
  sample('timestamptz', ['infinity', '-infinity', '4714-11-24 12:00:00+00 BC', '294276-12-31 23:59:59.999999+00', '2024-11-03 01:30:00-04',
    '1890-01-01 00:00:00+00', '0001-01-01 00:00:00+00']),
  sample('timestamptz(0)', ['2024-01-01 00:00:00+05:30', '1970-01-01 00:00:00+00']),
  sample('interval', [
    '178000000 years -11 mons 30 days -12:34:56.789', '-1 days +02:03:04', '1 year -2 days', '00:00:00', '-00:00:00.000001',
    '1 mon -1 days -00:00:01', '100000 hours', '30 days', '1 year 2 mons',
  ]),
  sample('interval day to second(2)', ['1 02:03:04.56', '-5 days']),
]

const NETWORKS = [
  sample('inet', ['192.168.0.1/24', '0.0.0.0', '::ffff:1.2.3.4', '2001:db8::1/64', '10.0.0.1/32']),
  sample('cidr', ['192.168.0.0/24', '::/0', '10.1.2.3/32']),
  sample('macaddr', ['08:00:2b:01:02:03', 'ff:ff:ff:ff:ff:ff']),
  sample('macaddr8', ['08:00:2b:01:02:03:04:05', '00:00:00:00:00:00:00:00']),
]

const SHAPES = [
  sample('point', ['(1.5,-0)', '(NaN,Infinity)', '(0.1,5e-324)'], noKey),
  sample('line', ['{1,-1,0.1}', '{0,1,3}'], noKey),
  sample('lseg', ['[(0,0),(1,0.1)]'], noKey),
  sample('box', ['(1,1),(0,0.1)'], noKey),
  sample('path', ['[(0,0),(1,1.1)]', '((0,0),(1,1),(2,0))'], noKey),
  sample('polygon', ['((0,0),(1,1),(2,0.30000000000000004))'], noKey),
  sample('circle', ['<(1.1,2),3>'], noKey),
]

const NAMES = [
  sample('regclass', ['pg_catalog.pg_class', 'public.plain', '17']),
  sample('regtype', ['integer', 'public.mood', 'timestamp with time zone[]']),
  sample('regproc', ['pg_catalog.now', '0']),
  sample('regprocedure', ['abs(bigint)']),
  sample('regoper', ['pg_catalog.||/']),
  sample('regoperator', ['+(integer,integer)']),
  sample('regrole', ['postgres']),
  sample('regnamespace', ['pg_catalog', 'public']),
  sample('regconfig', ['english', 'simple']),
  sample('regdictionary', ['simple']),
  sample('regcollation', ['"C"', '"POSIX"']),
  sample('aclitem', ['postgres=arwdDxt/postgres'], noKey),
]

const MADE = [
  sample('mood', ['sad', 'so so', `it's "fine"`, 'ok, {then}', '\\back']),
  sample('"Odd.Mood"', ['A', 'b']),
  sample('positive', ['1', '9223372036854775807']),
  sample('small_positive', ['1', '999']),
  sample('tagged', ['{a,NULL,"NULL",""}', '{}']),
  sample('code', ['x y', '']),
  sample('pair', ['@row(1, \'a "b", (c) \\\')::pair', '@row(null, \'\')::pair', '@row(null, null)::pair']),
  sample('nest', [`@row(row(1, 'x,y'), '2024-01-01 00:00:00+00', '{a,"b c",NULL}')::nest`, '@row(null, \'infinity\', null)::nest']),
]

const ARRAYS = [
  sample('integer[]', ['{1,NULL,3}', '{}', '[-5:-3]={1,2,3}', '[2:3][0:1]={{1,2},{3,4}}', '{{{1},{2}},{{3},{4}}}']),
  sample('text[]', ['{NULL,"NULL",null,"null"}', '{"",","," ","\\"","\\\\","{}","a\tb\nc","\\\\N"}', '{}', '{{a,b},{c,NULL}}',
    '{ü,"👩‍👩‍👧"}']),
  sample('timestamptz[]', ['{infinity,"2024-01-01 00:00:00.000001+00","0044-03-15 00:00:00+00 BC",NULL}']),
  sample('interval[]', ['{"-1 days +02:03:04",00:00:01}']),
  sample('bytea[]', ['{"\\\\x00ff5c","\\\\x",NULL}']),
  sample('json[]', ['{"{\\"b\\":1, \\"a\\":2, \\"b\\":3}","1e400"}'], noKey),
  sample('jsonb[]', ['{"{\\"a\\": 1.10}",null,"null"}']),
  sample('double precision[]', ['{0.1,-0,NaN,Infinity,5e-324}']),
  sample('uuid[]', ['{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}', '{}']),
  sample('mood[]', ['{sad,"it\'s \\"fine\\"",NULL,"\\\\back"}']),
  sample('pair[]', [`@array[row(1, 'a"b')::pair, row(null, null)::pair, null]`]),
  sample('positive[]', ['{1,2}']),
  sample('box[]', ['{(1,1),(0,0);(2,2),(1,1)}'], noKey),
  sample('int4range[]', ['{"[1,5)",empty}']),
  sample('varchar(5)[]', ['{abc,"d e"}']),
  sample('bit(3)[]', ['{101,000}']),
]

const RANGES = [
  sample('int4range', ['[1,5)', 'empty', '(,)', '[7,7]']),
  sample('int8range', ['[-9223372036854775808,9223372036854775807)', 'empty']),
  sample('numrange', ['[1.10,NaN]', '(,2.50)']),
  sample('tsrange', ['[2024-01-01 00:00:00,infinity)',
    '[-infinity,"0044-01-01 00:00:00 BC")'.replace('-infinity', '"4714-11-24 00:00:00 BC"')]),
  sample('tstzrange', ['["2024-01-01 00:00:00.5+00",infinity]']),
  sample('daterange', ['[2024-01-01,2024-02-29]', '(,infinity)']),
  sample('floatrange', ['[0.1,Infinity)']),
  sample('textrange', ['["a, b","c\\"d")', '("",)']),
  sample('int4multirange', ['{[1,3),[5,9)}', '{}']),
  sample('nummultirange', ['{(,1.10],[2.0,2.00]}']),
  sample('tstzmultirange', ['{["2024-01-01 00:00:00+00","2024-01-02 00:00:00+00")}']),
  sample('datemultirange', ['{[2024-01-01,2024-01-05),[2025-01-01,)}']),
]

export const TYPE_SAMPLES: readonly TypeSample[] = [...NUMBERS, ...TEXTS, ...TIMES, ...NETWORKS, ...SHAPES, ...NAMES, ...MADE, ...ARRAYS,
  ...RANGES]
