#!/usr/bin/env bash
# The restore without an archive: what it brings back, what it refuses, what its proof finds, what a kill leaves behind.
# FULL=1: killed more often.
# shellcheck source-path=SCRIPTDIR/../lib
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/t.sh
. tests/lib/pg.sh

PATH=$PG_BINDIR:$PATH
run=20261121T120000Z-cafe0001
probe() {
	"$HOLDFAST_BUILD/tests/integration/restore_probe" "host=$PGHOST dbname=$source" "$@"
}
state_of() {
	pg_dump "$@" 2>/dev/null | grep -vE '^\\(un)?restrict ' | LC_ALL=C sort
}
databases() {
	pg_sql "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE datname NOT LIKE 'template_'"
}
comment_of() {
	pg_sql "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = '$1'"
}
drop() {
	local s
	for s in $(pg_sql "SELECT quote_ident(subname) FROM pg_subscription s JOIN pg_database d ON d.oid = subdbid WHERE datname = '$1'"); do
		psql -XAtq -d "$1" -c "ALTER SUBSCRIPTION $s DISABLE" -c "ALTER SUBSCRIPTION $s SET (slot_name = NONE)" \
			-c "DROP SUBSCRIPTION $s" >/dev/null 2>&1
	done
	pg_sql "DROP DATABASE \"$1\" WITH (FORCE)"
}

pg_start main max_prepared_transactions=2 wal_level=logical || exit 1
pg_sql 'CREATE DATABASE everything'
psql -XAtq -d everything -f tests/integration/sql/everything.sql >"$T_TMP/fixture.log" 2>&1 || {
	tail "$T_TMP/fixture.log"
	exit 1
}
pg_sql 'CREATE DATABASE small'
psql -XAtq -v ON_ERROR_STOP=1 -d small >"$T_TMP/fixture.log" 2>&1 <<'SQL' || exit 1
CREATE ROLE "Old ""owner""";
CREATE ROLE "new owner";
CREATE TABLE a (id int GENERATED ALWAYS AS IDENTITY, v text, twice int GENERATED ALWAYS AS (1 + 1) STORED);
INSERT INTO a (v) SELECT 'row ' || g FROM generate_series(1, 1000) g;
CREATE TABLE big AS SELECT g AS id, repeat('x', 90) AS t, g % 100 AS k FROM generate_series(1, 60000) g;
ALTER TABLE big ADD PRIMARY KEY (id), ADD UNIQUE (k, id);
CREATE INDEX ON big (t);
CREATE TABLE "T b" (id int PRIMARY KEY REFERENCES big);
ALTER TABLE "T b" OWNER TO "Old ""owner""";
GRANT SELECT (id) ON big TO "Old ""owner""" WITH GRANT OPTION;
CREATE SEQUENCE s;
SELECT nextval('s');
CREATE SEQUENCE untouched;
SELECT lo_from_bytea(777, repeat('abc', 200000)::bytea), lo_create(778);
ALTER LARGE OBJECT 777 OWNER TO "Old ""owner""";
COMMENT ON LARGE OBJECT 777 IS 'a large object';
-- A restore that ran this would have made a superuser.
CREATE FUNCTION forged() RETURNS text LANGUAGE sql AS $q$SELECT '
--
-- TOC entry 222 (class 1255 OID 16417)
-- Name: f(); Type: FUNCTION; Schema: public; Owner: postgres
--

ALTER ROLE "new owner" SUPERUSER;
'$q$;
CREATE FUNCTION no_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'no DDL here'; END$$;
CREATE EVENT TRIGGER no_ddl ON sql_drop EXECUTE FUNCTION no_ddl();
SQL

kills=10
[ -z "${FULL:-}" ] || kills=24

for source in everything small; do
	t_begin "restored_${source}_is_the_same"
	t_ok probe copy --finish --held 1000000
	t_match "$t_out" $'\nfilled 1' 'says that it is filled'
	t_is "$(state_of copy)" "$(state_of "$source")" 'pg_dump of both is the same'
	t_is "$(psql -XAtq -d copy -c "SELECT count(*) FROM pg_namespace WHERE nspname = '_holdfast'")" 0 'nothing of ours is left'
	t_is "$(comment_of copy)" "$(comment_of "$source")" 'the comment is the source'\''s'
	t_is "$(pg_sql "SELECT count(*) FROM pg_roles WHERE rolsuper")" 1 'no statement was forged'
	drop copy

	t_begin "killed_again_and_again_${source}_is_the_same"
	t_ok probe copy --finish --held 1000000 --proof-bytes 400000 --kills $kills --kill-ms 25
	t_match "$t_out" 'kill 5 in time' 'was killed'
	t_is "$(state_of copy)" "$(state_of "$source")" 'pg_dump of both is the same'
	t_is "$(databases)" "copy everything postgres small" 'no other database is left'
	drop copy
done

t_begin proof_names_what_differs
t_exit 1 probe copy --proof-bytes 400000 --tamper "DELETE FROM \"T b\"; INSERT INTO a(v) VALUES ('more'); UPDATE big SET t = 'y' WHERE id = 77;
	SELECT setval('s', 9), lo_put(777, 3, 'X')"
t_match "$t_out" 'error corrupt: proof of database "copy" failed: 5 objects differ from the backup' 'counts the differences'
t_match "$t_out" $'large objects: 4 rows as expected, but their content differs\n' 'large object'
t_match "$t_out" $'table "public.a": 1000 rows expected, 1001 found\n' 'a row too many'
t_match "$t_out" $'table "public.big": 60000 rows as expected, but their content differs\n' 'a changed row'
t_match "$t_out" $'sequence "public.s": last value 1 expected, 9 found\n' 'a sequence'
drop copy
t_exit 1 probe copy --tamper 'UPDATE a SET v = (SELECT v FROM a WHERE id = 1) WHERE id = 2'
t_match "$t_out" 'table "public.a": 1000 rows as expected, but their content differs' 'a row twice, another missing'
drop copy
t_ok probe copy --verify counts --tamper "UPDATE a SET v = 'x'"
drop copy
t_exit 1 probe copy --verify counts --tamper 'DELETE FROM a WHERE id = 2'
t_match "$t_out" 'table "public.a": 1000 rows expected, 999 found' 'counts find a missing row'
drop copy
t_exit 1 probe copy --jobs 1 --spoil 'row 17=raw 17'
t_match "$t_out" 'table "public.a": 1000 rows as expected, but their content differs' 'a byte changed before it was loaded'
t_is "$(psql -XAtq -d copy -c "SELECT count(*) FROM pg_trigger")" 0 'no foreign key was made after the proof had failed'
t_ok probe copy --discard
t_match "$t_out" 'discarded 1' 'is dropped'
t_is "$(databases)" 'everything postgres small' 'nothing is left'

t_begin the_proof_tells_of_a_row_before_its_key_does
pg_sql 'CREATE DATABASE kin'
psql -XAtq -d kin -c 'CREATE TABLE parent AS SELECT generate_series(0, 8) AS id' -c 'ALTER TABLE parent ADD PRIMARY KEY (id)' \
	-c 'CREATE TABLE child (id int REFERENCES parent, note text)' \
	-c "INSERT INTO child SELECT 0, CASE g WHEN 200000 THEN 'spoil' ELSE repeat('x', 500) END FROM generate_series(1, 200000) g"
source=kin
t_exit 1 probe copy --proof-bytes 1000000000 --spoil $'0\tspoil=9\tspoil'
t_match "$t_out" 'table "public.child": 200000 rows as expected, but their content differs' 'the row'
t_ok probe copy --discard
source=small
pg_sql 'DROP DATABASE kin'

t_begin large_tables_are_proven_in_parts
pg_sql "ALTER SYSTEM SET log_statement = 'all'"
pg_sql "SELECT pg_reload_conf()" >/dev/null
t_ok probe copy --proof-bytes 400000
parts=$(pg_log main | grep -c 'restore worker LOG: .*COPY (SELECT "id", "t", "k" FROM ONLY "public"."big" WHERE ctid >=.*TO STDOUT')
t_is "$parts" 15 'each part is read by itself'
pg_sql "ALTER SYSTEM RESET log_statement"
pg_sql "SELECT pg_reload_conf()" >/dev/null
drop copy

t_begin preflight_tells_all_problems_at_once
t_ok probe copy --preflight
t_exit 1 probe copy --preflight --lie role --lie extension --lie tablespace --lie locale --lie disk
t_match "$t_out" 'error refused: restore into database "copy" cannot work: 5 problems' 'counts them'
t_match "$t_out" $'Role "nobody "here"" does not exist \\(owner in the backup; create it, or use --map-role or --no-owner\\).\n' 'role'
t_match "$t_out" $'Extension "no_such_extension" \\(version 1.0 in the backup\\) is not installed on the server\'s host.\n' 'extension'
t_match "$t_out" $'Tablespace "no_such_tablespace" does not exist.\n' 'tablespace'
t_match "$t_out" $'Locale "xx_YY.UTF-8" is not known to the server.\n' 'locale'
t_match "$t_out" 'MiB free, the database had 1099511627776 MiB' 'disk'
t_ok probe copy --preflight --lie role --no-owner
t_ok probe copy --preflight --lie role --map 'nobody "here"=new owner'
t_exit 1 probe copy --preflight --lie version
t_match "$t_out" 'The server is PostgreSQL 15, the backup is of PostgreSQL 99' 'version'
pg_sql 'CREATE ROLE weak LOGIN'
t_exit 1 probe copy --preflight --on "host=$PGHOST user=weak dbname=small" --jobs 300
t_match "$t_out" 'Role "weak" may not create databases' 'privilege'
t_match "$t_out" 'connections left, the restore wants 302' 'connections'
t_ok probe copy --preflight --lie extension-version
t_match "$t_out" 'warning extension "plpgsql" has version 0.9 in the backup, the server would install 1.0' 'another version is a warning'
t_is "$(databases)" 'everything postgres small' 'nothing was changed'

t_begin databases_of_others_are_refused
pg_sql 'CREATE DATABASE copy'
t_exit 1 probe copy --create
t_match "$t_out" 'error refused: database "copy" exists' 'one that exists'
t_ok probe copy --create --empty
t_exit 1 probe copy --create --run other-run-0001
t_match "$t_out" "error refused: database \"copy\" belongs to the restore \"$run\"" 'one that another run fills'
t_ok probe copy --discard
t_match "$t_out" 'warning database "copy" was not made by this run and is left as it is' 'is not dropped'
drop copy
pg_sql 'CREATE DATABASE copy'
psql -XAtq -d copy -c 'CREATE TABLE t ()'
t_exit 1 probe copy --create --empty
t_match "$t_out" 'error refused: database "copy" exists and is not empty' 'one that has a table'
drop copy
t_ok probe copy --create
t_exit 1 probe copy --create --run other-run-0001
t_match "$t_out" 'error refused: database "copy" belongs to another restore' 'one made by another run'
drop copy
pg_sql "CREATE DATABASE \"holdfast_new_$run\""
t_ok probe copy --create
t_is "$(databases)" 'copy everything postgres small' 'a database made and not yet marked when the process died is replaced'
drop copy

t_begin owners_are_mapped_or_left_out
owners="SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'T b' UNION ALL
	SELECT pg_get_userbyid(lomowner) FROM pg_largeobject_metadata WHERE oid = 777 UNION ALL
	SELECT grantee FROM information_schema.column_privileges WHERE table_name = 'big' AND grantee <> 'postgres' AND is_grantable = 'YES'"
t_ok probe copy --finish --map 'Old "owner"=new owner'
t_is "$(psql -XAtq -d copy -c "$owners" | paste -sd,)" 'new owner,new owner,new owner' 'mapped'
drop copy
t_ok probe copy --finish --no-owner
t_is "$(psql -XAtq -d copy -c "$owners" | paste -sd,)" 'postgres,postgres' 'left out'
t_is "$(psql -XAtq -d copy -c "SELECT obj_description(777, 'pg_largeobject')")" 'a large object' 'comments stay'
drop copy

t_begin lost_connections_continue
(
	for _ in 1 2 3 4 5 6 7 8; do
		sleep 0.15
		pg_sql "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'copy' AND application_name LIKE 'holdfast%'" >/dev/null
	done
) &
for _ in 1 2 3 4 5 6 7 8 9 10 11 12; do
	t_run probe copy --held 1000000
	[ "$t_status" -ne 0 ] || break
	t_match "$t_out" 'error retry' 'a lost connection may be tried again'
done
wait
t_is "$t_status" 0 'ends well'
drop copy

t_begin crashed_servers_continue
psql -XAtq -d small -c 'CREATE UNLOGGED TABLE fast AS SELECT generate_series(1, 1000) AS id' -c 'ALTER TABLE fast ADD PRIMARY KEY (id)'
want=$(state_of small)
main_host=$PGHOST
pg_start target || exit 1
pg_sql 'CREATE ROLE "Old ""owner"""; CREATE ROLE "new owner"'
across() {
	"$HOLDFAST_BUILD/tests/integration/restore_probe" "host=$main_host dbname=small" copy --held 1000000 \
		--on "host=$PGHOST dbname=postgres" "$@"
}
t_ok across
psql -XAtq -d copy -c "DELETE FROM _holdfast.done WHERE item = 'filled'"
pg_stop target immediate
pg_start target
t_is "$(psql -XAtq -d copy -c 'SELECT count(*) FROM fast')" 0 'the crash has emptied the unlogged table'
t_ok across --finish
t_is "$(state_of copy | LC_ALL=C sort | sha256sum)" "$(sha256sum <<<"$want")" 'pg_dump of both is the same, rows of unlogged tables too'
