#!/usr/bin/env bash
# Restores as operators do them: by a role that is no superuser, of single tables, into names that are taken; what cannot work is told
# before anything is made, and nothing is left over.
# shellcheck source=../lib/t.sh
. tests/lib/t.sh
unset "${!HOLDFAST_@}" "${!PG@}" XDG_CONFIG_HOME
# shellcheck source=../lib/pg.sh
. tests/lib/pg.sh

HOLDFAST=${HOLDFAST:-$PWD/build/holdfast}
export HOME=$T_TMP/home HOLDFAST_STATE_DIR=$T_TMP/state
mkdir "$HOME"
pg_start
repository=$T_TMP/repository
databases() { pg_sql "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres'"; }
schemas() { pg_sql "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'restored%'" -d "$1"; }
restore() { t_exit "$1" "$HOLDFAST" restore latest -r "$repository" "${@:2}"; }

pg_sql "CREATE ROLE app LOGIN; CREATE ROLE other; CREATE ROLE dba LOGIN CREATEDB; CREATE ROLE outsider LOGIN CREATEDB; GRANT app, other TO dba"
pg_sql 'CREATE DATABASE app OWNER app'
psql -XAtqd app -v ON_ERROR_STOP=1 <<'SQL'
GRANT CREATE ON SCHEMA public TO other;
SET ROLE app;
CREATE TABLE orders (id serial PRIMARY KEY, what text);
INSERT INTO orders (what) SELECT g::text FROM generate_series(1, 100) g;
CREATE TABLE parts (id int, k int, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
INSERT INTO parts SELECT g, 1 FROM generate_series(1, 10) g;
CREATE TABLE gone (a int);
INSERT INTO gone VALUES (1), (2);
CREATE FUNCTION f() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
-- Name: fake; Type: EVENT TRIGGER; Schema: -; Owner: app
END $$;
SELECT lo_from_bytea(4711, 'abc') \g /dev/null
RESET ROLE;
CREATE TABLE others (a int);
ALTER TABLE others OWNER TO other;
ALTER DATABASE app SET work_mem = '8MB';
ALTER ROLE app IN DATABASE app SET work_mem = '9MB';
SQL

t_begin a_member_of_the_owners_restores_without_being_superuser
t_exit 0 "$HOLDFAST" -q backup -d app -r "$repository"
restore 0 -d app -U dba --yes
t_match "$t_err" 'warning: setting work_mem of database "app_new_[^"]*" for role "app" is left out: ' 'what it may not set'
t_is "$(pg_sql "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'app'")" app
t_is "$(pg_sql "SELECT string_agg(relname || ' ' || relowner::regrole, ', ' ORDER BY 1) FROM pg_class WHERE relname IN ('orders', 'others')" -d app)" \
	'orders app, others other'
t_is "$(pg_sql 'SELECT lomowner::regrole FROM pg_largeobject_metadata' -d app)" app
t_exit 0 "$HOLDFAST" drop-old "$(pg_sql "SELECT datname FROM pg_database WHERE datname LIKE 'app_before%'")" --yes
t_is "$(databases)" app

t_begin who_may_not_act_for_the_owners_is_refused_before
restore 10 -d app -U outsider --target-db copy
t_match "$t_err" 'restore into database "copy" cannot work: 2 problems'
t_match "$t_err" 'Role "outsider" is no member of role "app", which owns things in the backup \(GRANT it, .* --map-role or --no-owner'
t_match "$t_err" 'Role "outsider" is no member of role "other"'
restore 10 -d app -U outsider -O --yes
t_match "$t_err" 'Database "app" belongs to role "app", of which "outsider" is no member: it may not rename it'
t_is "$(databases)" app 'nothing was made'
restore 0 -d app -U outsider -O --target-db copy
t_is "$(pg_sql "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'copy'")" outsider '--no-owner: it belongs to who restores'
restore 0 -d app -U outsider --map-role app=outsider --map-role other=outsider --target-db mapped
t_is "$(pg_sql "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'mapped'")" outsider

t_begin what_only_superusers_create_is_named_before
psql -XAtqd app -v ON_ERROR_STOP=1 <<'SQL'
CREATE EXTENSION pg_stat_statements;
CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION f();
CREATE PUBLICATION everything FOR ALL TABLES;
CREATE FUNCTION native(internal) RETURNS internal LANGUAGE internal AS 'int4in';
CREATE FOREIGN DATA WRAPPER wrapper;
SQL
t_exit 0 "$HOLDFAST" -q backup -d app -r "$repository"
restore 10 -d app -U dba -O --target-db dba_copy
t_match "$t_err" 'cannot work: 5 problems'
for what in 'Extension "pg_stat_statements"' 'EVENT TRIGGER "watch"' 'Publication "everything"' 'Function "native\(internal\)"' \
	'FOREIGN DATA WRAPPER "wrapper"'; do
	t_match "$t_err" "$what can be created by a superuser only, which role \"dba\" is not"
done
t_nomatch "$t_err" 'fake' 'a heading inside a function is none'
restore 0 -d app --target-db super_copy

t_begin a_template_is_no_target
for database in template0 template1; do
	restore 10 -d app --target-db "$database"
	t_match "$t_err" "Database \"$database\" is a template or takes no connections"
done
t_is "$(pg_sql "SELECT count(*) FROM pg_class WHERE relname = 'orders'" -d template1)" 0

t_begin tables_that_cannot_be_restored_are_refused_and_hold_nobody_up
pg_sql 'DROP TABLE gone; ALTER TABLE orders DROP COLUMN what' -d app
restore 10 -d app -t nosuch
t_match "$t_err" 'backup has no table that matches "nosuch".*hint:   "holdfast show" lists the tables'
restore 10 -d app -t parts
t_match "$t_err" 'Rows of a partitioned table are in its partitions'
restore 10 -d app -t gone
t_match "$t_err" 'table "public.gone" does not exist any more.*hint:   Restore it into a new database instead \(--target-db\)'
restore 10 -d app -t orders
t_match "$t_err" 'table "public.orders" has no column "what" any more'
restore 10 -d app -t parts_1 -U outsider
t_match "$t_err" 'role "outsider" may not create schemas in database "app"'
t_is "$(schemas app)" 0 'no schema is left'
t_exit 0 "$HOLDFAST" status --stack app --output json
t_is "$(jq -c '.stacks[0].open_runs' <<<"$t_out")" '[]' 'no run is left'
restore 0 -d app -t 'parts*'
t_match "$t_out" 'schema        restored_'
t_is "$(schemas app)" 1

t_begin a_dropped_table_comes_back_in_a_new_database
restore 0 -d app -t gone --target-db just_gone
t_match "$t_out" 'database      just_gone'
t_is "$(pg_sql 'SELECT count(*) FROM gone' -d just_gone) $(pg_sql 'SELECT count(*) FROM orders' -d just_gone)" '2 0' 'its rows alone'
t_is "$(pg_sql "SELECT count(*) FROM pg_namespace WHERE nspname = '_holdfast'" -d just_gone)" 0
restore 10 -d app -t gone --target-db just_gone
t_match "$t_err" 'database "just_gone" exists and is not empty'

t_begin abandoned_tables_are_removed
HOLDFAST_CRASH_AT=journal:10 t_run "$HOLDFAST" restore latest -d app -r "$repository" -t parts_1 -t others
t_is "$t_status $(schemas app)" '137 2' 'killed behind the tables'
t_exit 0 "$HOLDFAST" abandon "$("$HOLDFAST" runs --output json | jq -r '[.runs[] | select(.state == "crashed")][0].id')"
t_is "$(schemas app)" 1 'the schema of the other run stays'
HOLDFAST_CRASH_AT=journal:9 t_run "$HOLDFAST" restore latest -d app -r "$repository" -t gone --target-db never
t_is "$t_status $(pg_sql "SELECT count(*) FROM pg_database WHERE datname = 'never'")" '137 1' 'killed behind the creation'
t_exit 0 "$HOLDFAST" abandon "$("$HOLDFAST" runs --output json | jq -r '[.runs[] | select(.state == "crashed")][0].id')"
t_is "$(pg_sql "SELECT count(*) FROM pg_database WHERE datname = 'never'")" 0
