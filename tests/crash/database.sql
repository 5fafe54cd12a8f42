-- A small database with every kind of thing a restore has to bring back in its own way: it is restored some hundred times.
SET client_min_messages = warning;
SET synchronous_commit = off;
SELECT setseed(0.25);
CREATE SCHEMA app AUTHORIZATION crash_owner;
SET ROLE crash_owner;
SET search_path = app;
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TYPE pair AS (a int, b text);
CREATE TABLE events (id bigserial PRIMARY KEY, at timestamptz NOT NULL, kind mood, body text, data jsonb, raw bytea, amount numeric);
INSERT INTO events (at, kind, body, data, raw, amount)
	SELECT timestamptz '2024-01-01' + g * interval '1 min', (enum_range(NULL::mood))[1 + g % 3],
		CASE g % 7 WHEN 0 THEN NULL WHEN 1 THEN '' WHEN 2 THEN E'tab\there\nand \\. there' ELSE repeat(md5(g::text), 1 + g % 5) END,
		jsonb_build_object('n', g, 'x', random()), decode(md5(g::text), 'hex'), g / 7.0
	FROM generate_series(1, 12000) g;
CREATE INDEX ON events (at);
CREATE INDEX ON events (kind, id) WHERE body IS NOT NULL;
CREATE INDEX ON events USING gin (data);
CREATE TABLE people (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, boss int, n positive, p pair, tags text[],
	upper_name text GENERATED ALWAYS AS (upper(name)) STORED);
INSERT INTO people (name, boss, n, p, tags)
	SELECT 'p' || g, nullif(g / 2, 0), g, ROW(g, 'x' || g)::pair, ARRAY['a', NULL, 'b' || g] FROM generate_series(1, 2000) g;
ALTER TABLE people ADD FOREIGN KEY (boss) REFERENCES people;
CREATE TABLE teams (id int PRIMARY KEY, lead int REFERENCES people, first_event bigint REFERENCES events);
INSERT INTO teams SELECT g, g, g FROM generate_series(1, 300) g;
CREATE TABLE log (at date NOT NULL, n int, t text) PARTITION BY RANGE (at);
CREATE TABLE log_old PARTITION OF log FOR VALUES FROM (MINVALUE) TO ('2024-07-01');
CREATE TABLE log_new (t text, n int, at date NOT NULL);
ALTER TABLE log ATTACH PARTITION log_new FOR VALUES FROM ('2024-07-01') TO (MAXVALUE);
INSERT INTO log SELECT date '2024-01-01' + g % 366, g, 'l' || g FROM generate_series(1, 3000) g;
CREATE INDEX ON log (at, n);
CREATE UNLOGGED TABLE cache (k text PRIMARY KEY, v int);
INSERT INTO cache SELECT 'k' || g, g FROM generate_series(1, 200) g;
CREATE TABLE nothing (id int);
CREATE TABLE no_columns ();
INSERT INTO no_columns DEFAULT VALUES;
INSERT INTO no_columns DEFAULT VALUES;
CREATE TABLE "Odd ""Name"", ünïcode" ("Sel ect" int PRIMARY KEY, dropped int, "b\\c" text);
INSERT INTO "Odd ""Name"", ünïcode" SELECT g, g, 'v' || g FROM generate_series(1, 100) g;
ALTER TABLE "Odd ""Name"", ünïcode" DROP COLUMN dropped;
CREATE SEQUENCE tickets START 1000 INCREMENT 7;
SELECT nextval('tickets') FROM generate_series(1, 5);
CREATE VIEW happy AS SELECT id, at FROM events WHERE kind = 'happy';
CREATE MATERIALIZED VIEW per_day AS SELECT at::date AS day, count(*) AS n FROM events GROUP BY 1;
CREATE UNIQUE INDEX ON per_day (day);
CREATE MATERIALIZED VIEW busiest AS SELECT * FROM per_day ORDER BY n DESC, day LIMIT 3;
CREATE FUNCTION no_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER no_change BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION no_change();
CREATE TRIGGER disabled BEFORE INSERT ON people FOR EACH ROW EXECUTE FUNCTION no_change();
ALTER TABLE people DISABLE TRIGGER disabled;
ALTER TABLE teams ADD CONSTRAINT later CHECK (id > 0) NOT VALID;
CREATE STATISTICS event_stats ON kind, at FROM events;
COMMENT ON TABLE events IS 'what happened';
GRANT SELECT ON events TO crash_reader;
GRANT USAGE ON SCHEMA app TO crash_reader;
ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO crash_reader;
RESET ROLE;
RESET search_path;
CREATE SCHEMA many AUTHORIZATION crash_owner;
DO $$ BEGIN
	FOR i IN 1..25 LOOP
		EXECUTE format('CREATE TABLE many.t%s (id int PRIMARY KEY, v text)', i);
		EXECUTE format('INSERT INTO many.t%s SELECT g, ''v'' || g FROM generate_series(1, %s) g', i, i * 4);
	END LOOP;
END $$;
SELECT lo_from_bytea(90001, decode(repeat(md5('a'), 3000), 'hex')), lo_from_bytea(90002, '\x00ff');
ALTER LARGE OBJECT 90001 OWNER TO crash_owner;
ANALYZE;
