-- A database that holds one of everything a dump must carry: the shared fixture of the tests.
--
--	createdb -T template0 -E UTF8 everything; psql -X -v ON_ERROR_STOP=1 -d everything -f everything.sql
--
-- psql variables: tablespace (the name of one that exists; without it tablespaces are left out), big (bytes of the large row;
-- default 1000000).  Needs a superuser and wal_level = logical for nothing: the subscription is made without connecting.
-- Extensions come with postgresql-contrib: hstore, btree_gist, pg_trgm, postgres_fdw; and a configuration table of our own kind is
-- faked, as none of these has one (see "extensions").
\set ON_ERROR_STOP on
\o /dev/null
\if :{?big}
\else
\set big 1000000
\endif
SET client_encoding = 'UTF8';
SET client_min_messages = warning;
SET standard_conforming_strings = on;

-- roles (shared by the cluster: made once)
SELECT 'CREATE ROLE ' || quote_ident(r) FROM (VALUES ('ev_owner'), ('ev_reader'), ('ev_group'), ('Ev "quoted" röle')) v(r)
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r)\gexec
GRANT ev_group TO ev_owner;
ALTER ROLE ev_reader SET work_mem = '8MB';

CREATE SCHEMA app AUTHORIZATION ev_owner;
CREATE SCHEMA "Mixed Case ""quoted"" schéma";
GRANT USAGE ON SCHEMA app TO ev_reader;

-- --- all built-in types -------------------------------------------------------------------------------------------------------

CREATE TYPE app.mood AS ENUM ('sad', 'it''s "ok"', 'happy');
ALTER TYPE app.mood ADD VALUE 'so-so' BEFORE 'happy';
CREATE TYPE app.point3 AS (x double precision, y double precision, label text);
CREATE DOMAIN app.email AS text CHECK (VALUE ~ '@');
CREATE TYPE app.float_range AS RANGE (subtype = float8, subtype_diff = float8mi);

CREATE TABLE app.types (
	id int PRIMARY KEY,
	c_smallint smallint, c_bigint bigint, c_numeric numeric, c_numeric_typed numeric(12, 3), c_real real, c_double double precision,
	c_money money, c_bool boolean, c_char char(7), c_varchar varchar(20), c_text text, c_name name, c_bytea bytea, c_date date,
	c_time time, c_timetz timetz, c_timestamp timestamp, c_timestamptz timestamptz, c_interval interval, c_uuid uuid, c_json json,
	c_jsonb jsonb, c_xml xml, c_inet inet, c_cidr cidr, c_macaddr macaddr, c_macaddr8 macaddr8, c_bit bit(9), c_varbit bit varying,
	c_point point, c_line line, c_lseg lseg, c_box box, c_path path, c_polygon polygon, c_circle circle, c_tsvector tsvector,
	c_tsquery tsquery, c_int4range int4range, c_int8range int8range, c_numrange numrange, c_tsrange tsrange, c_tstzrange tstzrange,
	c_daterange daterange, c_multirange int4multirange, c_float_range app.float_range, c_mood app.mood, c_point3 app.point3,
	c_email app.email, c_int_array int[], c_text_array text[], c_array_2d int[][], c_mood_array app.mood[], c_point3_array app.point3[],
	c_oid oid, c_regclass regclass, c_regtype regtype, c_pg_lsn pg_lsn, c_xid8 xid8, c_char1 "char", c_jsonpath jsonpath
);

INSERT INTO app.types VALUES (
	1, -32768, -9223372036854775808, 'NaN', 123456789.123, 'NaN', 'NaN', -92233720368547758.08, true, 'abc', 'varchar', 'text', 'name',
	'\x00ff00deadbeef', '4713-01-01 BC', '00:00:00', '23:59:59.999999+15:59', '4713-01-01 00:00:00 BC', '4713-01-02 00:00:00+00 BC',
	'-178000000 years', '00000000-0000-0000-0000-000000000000', '{"a" : 1, "a":2}', '{"b": [1, null, {"c": "\u00e4"}]}',
	'<a b="c">text &amp; more</a>', '::1/128', '10.0.0.0/8', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05', B'101010101', B'',
	'(1.5,-2)', '{1,2,3}', '[(0,0),(1,1)]', '((0,0),(1,1))', '[(0,0),(1,1)]', '((0,0),(1,1),(1,0))', '<(0,0),1>', 'the:1 quick:2A',
	'quick & !slow', '[1,10)', '[,5)', '(1.1,2.2]', '["2020-01-01 00:00:00","2020-01-02 00:00:00")', 'empty', '[2020-01-01,)',
	'{[1,3),[5,8)}', '[-1.5,1e300)', 'it''s "ok"', '(1,NaN,"a, ""b"" \\ c")', 'a@b', '{1,NULL,3}', '{"","NULL",NULL,"a,b","q\"uo\\te"}',
	'{{1,2},{3,4}}', '{sad,"so-so",NULL}', array['(1,2,x)', NULL, '(,,)']::app.point3[], 4294967295, 'app.types', 'app.mood',
	'FFFFFFFF/FFFFFFFF', '18446744073709551615', 'x', '$.a[*] ? (@ > 1)'
);
INSERT INTO app.types (id, c_smallint, c_bigint, c_numeric, c_real, c_double, c_money, c_date, c_timestamp, c_timestamptz, c_interval, c_text, c_bytea, c_text_array) VALUES
	(2, 32767, 9223372036854775807, repeat('9', 1000)::numeric, 'Infinity', '-Infinity', 92233720368547758.07, '5874897-12-31',
	 '294276-12-31 23:59:59.999999', '294276-12-31 23:59:59.999999+00', '178000000 years 11 mons 30 days 23:59:59.999999', '', '', '{}'),
	(3, 0, 0, ('0.' || repeat('0', 998) || '1')::numeric, '-0', '-0', 0, 'infinity', 'infinity', 'infinity', '-1 years -2 mons +3 days -04:05:06.789', NULL, NULL, NULL),
	(4, 1, 1, 'Infinity', '1e-45', '4.9406564584124654e-324', 0.01, '-infinity', '-infinity', '-infinity', '0', E'\\.', '\x5c2e', '[2:3]={a,b}'),
	(5, 2, 2, '-Infinity', '3.4028235e38', '1.7976931348623157e308', -0.01, '2000-02-29', '2000-02-29 12:00:00', '2000-02-29 12:00:00+14', '1 mon -1 day', E'\\N', '\x0a0d09', '{"\\."}'),
	(6, 3, 3, 0.1, 0.1, 0.1, 1, '1970-01-01', '1970-01-01', '1970-01-01 00:00:00+00', '1', E'tab\tnewline\nreturn\rbackspace\bform\fvertical\v\\ end', NULL, NULL),
	(7, 4, 4, 1e-16383, 1, 2.2250738585072014e-308, 1, '0001-01-01', '0001-01-01', '0001-01-01 00:00:00+00', '00:00:00.000001', repeat(E'\\', 100), NULL, NULL),
	(8, 5, 5, -0.5, 16777217, 9007199254740993, 1, NULL, NULL, NULL, NULL, E'\x01\x02\x1f\x7f', NULL, NULL);

-- the types of the server's own catalogs, which users may use, too
CREATE TABLE app.more_types (
	id int, c_tid tid, c_xid xid, c_cid cid, c_oidvector oidvector, c_int2vector int2vector, c_pg_snapshot pg_snapshot,
	c_txid_snapshot txid_snapshot, c_refcursor refcursor, c_aclitem aclitem, c_regproc regproc, c_regprocedure regprocedure,
	c_regoper regoper, c_regoperator regoperator, c_regrole regrole, c_regnamespace regnamespace, c_regcollation regcollation,
	c_regconfig regconfig, c_regdictionary regdictionary, c_gtsvector gtsvector, c_nummultirange nummultirange,
	c_tsmultirange tsmultirange, c_tstzmultirange tstzmultirange, c_datemultirange datemultirange, c_int8multirange int8multirange,
	c_bytea_array bytea[], c_jsonb_array jsonb[], c_numeric_array numeric[], c_range_array int4range[], c_timestamptz_array timestamptz[]
);
INSERT INTO app.more_types VALUES
	(1, '(4294967295,65535)', '4294967295', '4294967295', '1 2 4294967295', '-32768 0 32767', '10:20:10,14,15', '10:20:10,14,15', 'c "x"',
	 'ev_reader=r*w/postgres', 'pg_catalog.now', 'pg_catalog.abs(integer)', 'pg_catalog.|/', 'pg_catalog.+(integer,integer)', '"Ev ""quoted"" röle"',
	 '"Mixed Case ""quoted"" schéma"', 'pg_catalog."C"', 'pg_catalog.english', 'pg_catalog.simple', NULL, '{(-1.5,NaN)}',
	 '{["2020-01-01 00:00:00","2020-01-02 00:00:00")}', '{["2020-01-01 00:00:00+00",infinity)}', '{[2020-01-01,2020-02-01)}', '{(,5),[7,)}',
	 ARRAY['\x00ff', NULL]::bytea[], ARRAY['{"a": "b\\nc"}', 'null']::jsonb[], '{NaN,-Infinity,1e-100}', '{"[1,2)",empty}', '{infinity,"0001-01-01 00:00:00+00 BC"}'),
	(2, NULL, '0', NULL, '', '', NULL, NULL, '', NULL, '0', '0', '0', '0', '0', '0', '0', '0', '0', NULL, '{}', NULL, NULL, NULL, NULL, '{}', '[0:0]={1}', NULL, NULL, NULL);

-- text of many scripts; empty strings beside NULL
CREATE TABLE app.scripts (id int, t text);
INSERT INTO app.scripts VALUES
	(1, 'Grüße, naïve façade — “quotes” …'), (2, 'Ελληνικά'), (3, 'Русский текст'), (4, 'العربية'), (5, 'עברית'), (6, '中文字符'),
	(7, '日本語テキスト'), (8, '한국어'), (9, 'हिन्दी'), (10, 'ไทย'), (11, '😀👨‍👩‍👧‍👦🏳️‍🌈'), (12, E'\u0301combining'), (13, 'ﬃ'), (14, E'\uFEFFbom'),
	(15, ''), (16, NULL), (17, ' '), (18, E'\n'), (19, E'\\\n'), (20, '\.'), (21, E'a\\.\n\\.'), (22, 'NULL'), (23, '\N');

-- --- shapes of tables ---------------------------------------------------------------------------------------------------------

CREATE TABLE app.plain (id bigserial PRIMARY KEY, created timestamptz NOT NULL DEFAULT '2026-01-01', name text, price numeric(10, 2), tags text[]);
INSERT INTO app.plain (name, price, tags) SELECT 'name ' || g, g * 1.5, ARRAY['t' || g % 7, NULL] FROM generate_series(1, 5000) g;
DELETE FROM app.plain WHERE id % 17 = 0;
UPDATE app.plain SET name = name || ' updated' WHERE id % 5 = 0;
ALTER TABLE app.plain OWNER TO ev_owner;

CREATE TABLE app.empty (id int, t text);
CREATE TABLE app.no_columns ();
INSERT INTO app.no_columns SELECT FROM generate_series(1, 7);
CREATE TABLE app.all_dropped (a int, b text);
INSERT INTO app.all_dropped VALUES (1, 'a'), (2, 'b');
ALTER TABLE app.all_dropped DROP COLUMN a, DROP COLUMN b;
CREATE TABLE app.duplicates (a int);
INSERT INTO app.duplicates SELECT 1 FROM generate_series(1, 1000);

CREATE TABLE app.dropped (a int, gone1 text, b text, gone2 int, c int DEFAULT 7);
INSERT INTO app.dropped VALUES (1, 'x', 'b', 2, 3);
ALTER TABLE app.dropped DROP COLUMN gone1, DROP COLUMN gone2, ADD COLUMN d text DEFAULT 'added later', ALTER COLUMN b SET STORAGE EXTERNAL;
INSERT INTO app.dropped VALUES (2, 'bb', 4, NULL);

CREATE TABLE app.generated (a int, b int GENERATED ALWAYS AS (a * 2) STORED, c text, d text GENERATED ALWAYS AS (upper(c)) STORED);
INSERT INTO app.generated (a, c) SELECT g, 'c' || g FROM generate_series(1, 50) g;

CREATE TABLE app.identities (
	a int GENERATED ALWAYS AS IDENTITY (START 100 INCREMENT BY 10),
	b bigint GENERATED BY DEFAULT AS IDENTITY,
	c smallserial, d text);
INSERT INTO app.identities (d) SELECT 'd' || g FROM generate_series(1, 5) g;

CREATE SEQUENCE app.alone AS smallint INCREMENT -3 MINVALUE -1000 MAXVALUE 1000 START 500 CYCLE CACHE 5;
SELECT nextval('app.alone') FROM generate_series(1, 3);
CREATE SEQUENCE app.never_called START 42;
CREATE SEQUENCE "Mixed Case ""quoted"" schéma"."Séquence ""x""";
SELECT setval('"Mixed Case ""quoted"" schéma"."Séquence ""x"""', 9223372036854775806, true);

CREATE TABLE "Mixed Case ""quoted"" schéma"."Tàble with ""quotes"", comma. dot" ("Col""umn" int, "select" text, "名前" text, "a b" int, "%$\" text);
INSERT INTO "Mixed Case ""quoted"" schéma"."Tàble with ""quotes"", comma. dot" VALUES (1, 'select', '値', 2, '\');
CREATE TABLE app."a23456789012345678901234567890123456789012345678901234567890123" ("b23456789012345678901234567890123456789012345678901234567890123" int);
INSERT INTO app."a23456789012345678901234567890123456789012345678901234567890123" VALUES (63);
CREATE TABLE app."line
break" ("col
umn" int, b text);
INSERT INTO app."line
break" VALUES (1, 'one'), (2, 'two');
CREATE TABLE app."it's; DROP TABLE x --" (a int);
INSERT INTO app."it's; DROP TABLE x --" VALUES (1);

CREATE TABLE app.big_row (id int, t text, b bytea);
ALTER TABLE app.big_row ALTER t SET STORAGE EXTENDED;
INSERT INTO app.big_row VALUES (1, repeat('big \ ', :big / 6), NULL), (2, 'small', NULL), (3, NULL, decode(repeat('00ff', :big / 4), 'hex'));

CREATE UNLOGGED TABLE app.unlogged (id int, t text);
INSERT INTO app.unlogged SELECT g, 'u' || g FROM generate_series(1, 100) g;
CREATE TEMPORARY TABLE temporary_one (a int);

-- partitions: list over range over hash; one attached with its columns in another order, one that had columns dropped
CREATE TABLE app.part (id int NOT NULL, region text NOT NULL, at date NOT NULL, v text, PRIMARY KEY (id, region, at)) PARTITION BY LIST (region);
CREATE TABLE app.part_eu PARTITION OF app.part FOR VALUES IN ('eu') PARTITION BY RANGE (at);
CREATE TABLE app.part_eu_2025 PARTITION OF app.part_eu FOR VALUES FROM ('2025-01-01') TO ('2026-01-01') PARTITION BY HASH (id);
CREATE TABLE app.part_eu_2025_0 PARTITION OF app.part_eu_2025 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE app.part_eu_2025_1 PARTITION OF app.part_eu_2025 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE app.part_us (v text, junk int, at date NOT NULL, region text NOT NULL, id int NOT NULL);
ALTER TABLE app.part_us DROP COLUMN junk;
ALTER TABLE app.part ATTACH PARTITION app.part_us FOR VALUES IN ('us');
CREATE TABLE app.part_default PARTITION OF app.part DEFAULT;
CREATE INDEX ON app.part (v);
INSERT INTO app.part SELECT g, (ARRAY['eu', 'us', 'asia'])[g % 3 + 1], '2025-01-01'::date + g % 300, 'v' || g FROM generate_series(1, 900) g;

-- inheritance
CREATE TABLE app.parent (id int, name text);
CREATE TABLE app.child (extra int) INHERITS (app.parent);
CREATE TABLE app.grandchild (more text) INHERITS (app.child);
INSERT INTO app.parent VALUES (1, 'parent');
INSERT INTO app.child VALUES (2, 'child', 20), (3, 'child', 30);
INSERT INTO app.grandchild VALUES (4, 'grandchild', 40, 'more');

CREATE TABLE app.of_type OF app.point3;
INSERT INTO app.of_type VALUES (1, 2, 'typed');

-- --- constraints, indexes, statistics -------------------------------------------------------------------------------------------

CREATE EXTENSION btree_gist;
CREATE TABLE app.bookings (room int, during tsrange, CONSTRAINT no_overlap EXCLUDE USING gist (room WITH =, during WITH &&));
INSERT INTO app.bookings VALUES (1, '[2026-01-01,2026-01-02)'), (1, '[2026-01-02,2026-01-03)'), (2, '[2026-01-01,2026-01-09)');
CREATE TABLE app.left_side (id int PRIMARY KEY, right_id int);
CREATE TABLE app.right_side (id int PRIMARY KEY, left_id int REFERENCES app.left_side DEFERRABLE INITIALLY DEFERRED);
ALTER TABLE app.left_side ADD CONSTRAINT cycle FOREIGN KEY (right_id) REFERENCES app.right_side DEFERRABLE INITIALLY DEFERRED;
BEGIN;
INSERT INTO app.left_side SELECT g, 101 - g FROM generate_series(1, 100) g;
INSERT INTO app.right_side SELECT g, 101 - g FROM generate_series(1, 100) g;
COMMIT;
CREATE TABLE app.self (id int PRIMARY KEY, boss int REFERENCES app.self);
INSERT INTO app.self VALUES (1, NULL), (2, 1), (3, 2);
ALTER TABLE app.scripts ADD CONSTRAINT not_valid_yet CHECK (t <> 'NULL') NOT VALID;
ALTER TABLE app.plain ADD CONSTRAINT price_positive CHECK (price >= 0);
CREATE UNIQUE INDEX plain_partial ON app.plain (name) INCLUDE (price) WHERE id < 100;
CREATE INDEX plain_expression ON app.plain (lower(name) COLLATE "C" DESC NULLS LAST);
CREATE INDEX plain_gin ON app.plain USING gin (tags);
ALTER TABLE app.plain CLUSTER ON plain_pkey;
ALTER TABLE app.types REPLICA IDENTITY FULL;
CREATE STATISTICS app.plain_stats (ndistinct, dependencies) ON name, price FROM app.plain;

-- --- views, rules, functions, triggers -------------------------------------------------------------------------------------------

CREATE VIEW app.cheap AS SELECT id, name FROM app.plain WHERE price < 100 WITH LOCAL CHECK OPTION;
CREATE VIEW app.cheap_names AS SELECT name FROM app.cheap;
CREATE MATERIALIZED VIEW app.z_first AS SELECT count(*) AS n, sum(price) AS total FROM app.plain WITH DATA;
CREATE VIEW app.between_them AS SELECT n + 1 AS n FROM app.z_first;
CREATE MATERIALIZED VIEW app.a_second AS SELECT n * 2 AS n2 FROM app.between_them;
CREATE UNIQUE INDEX ON app.a_second (n2);
CREATE MATERIALIZED VIEW app.unpopulated AS SELECT 1 AS one WITH NO DATA;
CREATE TABLE app.log (at timestamptz DEFAULT now(), what text);
CREATE RULE cheap_insert AS ON INSERT TO app.cheap_names DO INSTEAD INSERT INTO app.log (what) VALUES (NEW.name);
CREATE FUNCTION app.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO app.log (what) VALUES (TG_OP); RETURN NEW; END $$;
CREATE TRIGGER enabled AFTER INSERT ON app.plain FOR EACH ROW EXECUTE FUNCTION app.note();
CREATE TRIGGER disabled AFTER UPDATE ON app.plain FOR EACH ROW EXECUTE FUNCTION app.note();
ALTER TABLE app.plain DISABLE TRIGGER disabled;
CREATE TRIGGER always AFTER DELETE ON app.plain FOR EACH STATEMENT EXECUTE FUNCTION app.note();
ALTER TABLE app.plain ENABLE ALWAYS TRIGGER always;
CREATE FUNCTION app.noop_event() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;
CREATE EVENT TRIGGER ev_event ON ddl_command_start EXECUTE FUNCTION app.noop_event();
CREATE FUNCTION app.sql_body(a int) RETURNS int LANGUAGE sql IMMUTABLE RETURN a + 1;
CREATE PROCEDURE app.proc() LANGUAGE sql BEGIN ATOMIC SELECT 1; END;
CREATE AGGREGATE app.mul(int) (SFUNC = int4mul, STYPE = int, INITCOND = '1');
CREATE OPERATOR app.=== (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq);
CREATE CAST (app.mood AS int) WITH FUNCTION pg_catalog.hashenum(anyenum);

-- --- collations, text search ------------------------------------------------------------------------------------------------------

CREATE COLLATION app.by_c (provider = libc, locale = 'C');
CREATE TABLE app.collated (t text COLLATE app.by_c, u text COLLATE "POSIX");
INSERT INTO app.collated VALUES ('b', 'B'), ('a', 'A');
CREATE TEXT SEARCH CONFIGURATION app.ev_config (COPY = pg_catalog.english);
CREATE TEXT SEARCH DICTIONARY app.ev_dict (TEMPLATE = pg_catalog.simple, ACCEPT = false);
ALTER TEXT SEARCH CONFIGURATION app.ev_config ALTER MAPPING FOR asciiword WITH app.ev_dict, english_stem;
CREATE INDEX plain_search ON app.plain USING gin (to_tsvector('app.ev_config', name));

-- --- rights -----------------------------------------------------------------------------------------------------------------------

CREATE TABLE app.secured (id int, owner name, secret text);
INSERT INTO app.secured VALUES (1, 'ev_reader', 'a'), (2, 'somebody', 'b');
ALTER TABLE app.secured ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.secured FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON app.secured FOR SELECT TO ev_reader USING (owner = current_user);
GRANT SELECT ON app.secured, app.plain TO ev_reader WITH GRANT OPTION;
GRANT UPDATE (name, price) ON app.plain TO ev_group;
GRANT EXECUTE ON FUNCTION app.sql_body(int) TO "Ev ""quoted"" röle";
REVOKE EXECUTE ON FUNCTION app.sql_body(int) FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE ev_owner IN SCHEMA app GRANT SELECT ON TABLES TO ev_reader;

-- --- comments ---------------------------------------------------------------------------------------------------------------------

COMMENT ON TABLE app.plain IS E'a comment\nwith a line break, ''quotes'' and \\';
COMMENT ON COLUMN app.plain.name IS 'column comment';
COMMENT ON SCHEMA app IS 'the application';

-- --- large objects ----------------------------------------------------------------------------------------------------------------

SELECT lo_from_bytea(900001, 'hello large object');
SELECT lo_create(900002);
SELECT lo_from_bytea(900003, decode(repeat('00010203fffefdfc', 100000), 'hex'));
SELECT lo_create(900004), lo_put(900004, 1000000, 'behind a hole');
ALTER LARGE OBJECT 900001 OWNER TO ev_owner;
GRANT SELECT ON LARGE OBJECT 900001 TO ev_reader;
GRANT SELECT, UPDATE ON LARGE OBJECT 900003 TO PUBLIC;
COMMENT ON LARGE OBJECT 900001 IS 'a large object''s comment';

-- --- extensions -------------------------------------------------------------------------------------------------------------------

CREATE EXTENSION hstore SCHEMA app;
CREATE EXTENSION pg_trgm;
CREATE TABLE app.with_extension (id int, h app.hstore);
INSERT INTO app.with_extension VALUES (1, 'a=>1, "b c"=>NULL');
-- A configuration table needs an extension that marks one: :extension, if the server has it (a test installs it under a name of its own).
\if :{?extension}
\else
	\set extension none
\endif
SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = :'extension') AS has_config \gset
\if :has_config
CREATE EXTENSION :"extension" SCHEMA app;
INSERT INTO app.config_rows VALUES ('user row', true), ('another', true);
SELECT nextval('app.config_sequence') FROM generate_series(1, 4);
\endif

-- --- foreign tables, replication --------------------------------------------------------------------------------------------------

CREATE EXTENSION postgres_fdw;
CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '/nonexistent', dbname 'nowhere');
CREATE USER MAPPING FOR PUBLIC SERVER elsewhere OPTIONS (user 'nobody');
CREATE FOREIGN TABLE app.foreign_one (a int) SERVER elsewhere;
CREATE PUBLICATION ev_publication FOR TABLE app.plain WHERE (id > 10), app.types;
CREATE SUBSCRIPTION ev_subscription CONNECTION 'host=/nonexistent dbname=nowhere' PUBLICATION p WITH (connect = false);

-- --- tablespaces, settings --------------------------------------------------------------------------------------------------------

\if :{?tablespace}
CREATE TABLE app.elsewhere (id int) TABLESPACE :"tablespace";
INSERT INTO app.elsewhere SELECT generate_series(1, 10);
CREATE INDEX elsewhere_index ON app.elsewhere (id) TABLESPACE :"tablespace";
\endif
ALTER DATABASE :"DBNAME" SET search_path = app, "$user", public;
ALTER DATABASE :"DBNAME" SET work_mem = '5MB';
ALTER DATABASE :"DBNAME" SET app.custom = 'it''s \ custom';
ALTER ROLE ev_reader IN DATABASE :"DBNAME" SET statement_timeout = '11s';
GRANT CONNECT, TEMPORARY ON DATABASE :"DBNAME" TO ev_reader WITH GRANT OPTION;
REVOKE TEMPORARY ON DATABASE :"DBNAME" FROM PUBLIC;
COMMENT ON DATABASE :"DBNAME" IS 'everything there is';
