-- A volume as the first image's init.sql has left it; later images never run theirs again.  As superuser:
-- psql -v proxy_password=… -f setup.sql
CREATE ROLE service_role NOLOGIN;
CREATE ROLE pgstack_proxy LOGIN NOINHERIT PASSWORD :'proxy_password';
GRANT service_role TO pgstack_proxy;
CREATE DATABASE pgstack;
\connect pgstack
CREATE SCHEMA app;
GRANT USAGE ON SCHEMA app TO service_role;
CREATE TABLE app.webhooks (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	url text NOT NULL,
	secret text NOT NULL,
	enabled boolean NOT NULL DEFAULT true
);
CREATE TABLE app.orders (id bigint PRIMARY KEY, total numeric NOT NULL);
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA app TO service_role;

-- Live queries.  What is live is in the server's memory and ends with it: here, a row counts only while the server and the database
-- are those that wrote it.
CREATE SCHEMA pgr;
GRANT USAGE ON SCHEMA pgr TO service_role;
CREATE TABLE pgr.persisted_subscriptions (
	name text PRIMARY KEY,
	query text NOT NULL,
	created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNLOGGED TABLE pgr._snap_live (
	name text PRIMARY KEY,
	server timestamptz NOT NULL,
	database oid NOT NULL
);

CREATE FUNCTION pgr.this_database() RETURNS oid LANGUAGE sql STABLE
RETURN (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database());

CREATE VIEW pgr.live_subscriptions AS
	SELECT name FROM pgr._snap_live WHERE server = pg_postmaster_start_time() AND database = pgr.this_database();

CREATE FUNCTION pgr.make_live(wanted text, query text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('SELECT FROM (%s) q LIMIT 0', query);
	INSERT INTO pgr._snap_live VALUES (wanted, pg_postmaster_start_time(), pgr.this_database())
	ON CONFLICT (name) DO UPDATE SET server = excluded.server, database = excluded.database;
	RETURN true;
EXCEPTION WHEN undefined_table OR undefined_column OR syntax_error THEN
	RAISE WARNING 'could not restore subscription "%": %', wanted, sqlerrm;
	RETURN false;
END $$;

CREATE FUNCTION pgr.subscribe(name text, query text) RETURNS boolean LANGUAGE sql AS $$
	INSERT INTO pgr.persisted_subscriptions (name, query) VALUES ($1, $2)
	ON CONFLICT (name) DO UPDATE SET query = excluded.query;
	SELECT pgr.make_live($1, $2);
$$;

-- Makes live what is persisted and is not; returns how many it has made so.
CREATE FUNCTION pgr.restore_subscriptions() RETURNS bigint LANGUAGE sql AS $$
	SELECT count(*) FILTER (WHERE pgr.make_live(p.name, p.query)) FROM pgr.persisted_subscriptions p
	WHERE NOT EXISTS (SELECT FROM pgr.live_subscriptions l WHERE l.name = p.name);
$$;
REVOKE EXECUTE ON FUNCTION pgr.restore_subscriptions(), pgr.make_live(text, text), pgr.subscribe(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pgr.make_live(text, text), pgr.subscribe(text, text) TO service_role;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA pgr TO service_role;
