#!/usr/bin/env bash
# Fence, swap, what comes along, what stands in the way; and single tables beside the originals.
# shellcheck source-path=SCRIPTDIR/../lib
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/t.sh
. tests/lib/pg.sh

PATH=$PG_BINDIR:$PATH
run=20261121T120000Z-cafe0001
probe() {
	"$HOLDFAST_BUILD/tests/integration/restore_probe" "host=$PGHOST dbname=app" "$@"
}
databases() {
	pg_sql "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE datname NOT LIKE 'template_'"
}
settings_of() {
	pg_sql "SELECT COALESCE(r.rolname, '-'), unnest(setconfig) FROM pg_db_role_setting s JOIN pg_database d ON d.oid = setdatabase
		LEFT JOIN pg_roles r ON r.oid = setrole WHERE datname = '$1' ORDER BY 1, 2"
	pg_sql "SELECT pg_get_userbyid(datdba), datacl, datconnlimit, shobj_description(oid, 'pg_database') FROM pg_database
		WHERE datname = '$1'"
}
app() {
	psql -XAtq -v ON_ERROR_STOP=1 -d app -c "$1" 2>&1
}

pg_start main max_prepared_transactions=2 wal_level=logical || exit 1
pg_sql 'CREATE DATABASE app'
app "CREATE ROLE \"Own er\"; CREATE ROLE client LOGIN;
	CREATE TABLE which (name text); INSERT INTO which VALUES ('old');
	CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \"V v\" text, g int GENERATED ALWAYS AS (id + 1) STORED);
	INSERT INTO t (\"V v\") SELECT 'row ' || g FROM generate_series(1, 5000) g;
	CREATE TABLE child (id int REFERENCES t); INSERT INTO child SELECT generate_series(1, 100);
	GRANT SELECT ON ALL TABLES IN SCHEMA public TO client;"
pg_sql "ALTER DATABASE app SET search_path = '\$user', \"we \"\"ird\", public"
pg_sql "ALTER DATABASE app SET work_mem = '7MB'"
pg_sql "ALTER ROLE client IN DATABASE app SET my.setting = E'x y\\\\z'"
pg_sql "COMMENT ON DATABASE app IS 'the app''s'"
pg_sql 'ALTER DATABASE app OWNER TO "Own er"'
pg_sql 'REVOKE CONNECT ON DATABASE app FROM PUBLIC; GRANT CONNECT, TEMPORARY ON DATABASE app TO client WITH GRANT OPTION'
pg_sql 'ALTER DATABASE app CONNECTION LIMIT 17'

t_begin clients_see_the_old_database_or_the_new_one
before=$(settings_of app)
for user in client postgres; do
	(
		while [ -d "$T_TMP" ] && [ ! -e "$T_TMP/stop" ]; do
			psql -XAtq -U $user -d app -c 'SELECT name FROM public.which' >>"$T_TMP/seen.$user" 2>&1
		done
	) &
done
t_ok probe app_new --finish --swap app
touch "$T_TMP/stop"
wait
t_match "$t_out" $'\nlimit 17' 'the limit was noted'
t_match "$(cat "$T_TMP/seen.postgres")" 'old' 'clients saw it'
# The server lets a session that waits for the rename look again, and ends it: the one way in which a client meets the swap.
waited=$(cat "$T_TMP"/seen.* | grep -c 'just been dropped or renamed')
t_is "$(cat "$T_TMP"/seen.* | grep -c 'does not exist')" "$waited" 'at no time there was none'
t_is "$(grep -hvE '^old$|probably means|too many connections|terminating connection|server closed|before or while|connection to server|connection was lost|just been dropped or renamed|^$' \
	"$T_TMP"/seen.* | sort -u)" '' 'nothing else happened to them'
t_is "$(databases)" "app app_before_$run postgres" 'the old one is kept'
t_is "$(settings_of app)" "$before" 'settings, owner, privileges, limit and comment came along'
t_match "$(pg_sql "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'app_before_$run'")" \
	"^holdfast kept 20[0-9TZ:.-]+ $run app\$" 'the old one is marked'
t_match "$(psql -XAtq -U client -d "app_before_$run" -c 'SELECT 1' 2>&1)" 'too many connections' 'nobody writes to it by mistake'
t_match "$(psql -XAtq -U client -d app -c 'SELECT name FROM public.which' 2>&1)" '^old$' 'the new one serves'

t_begin swap_is_undone
t_ok probe app_other --unswap app
t_is "$(databases)" 'app app_other postgres' 'both have changed places'
t_is "$(settings_of app)" "$before" 'limit and comment are back'
pg_sql 'DROP DATABASE app_other'

t_begin what_stands_in_the_way_is_named
psql -XAtq -d app -c "BEGIN; INSERT INTO which VALUES ('prepared'); PREPARE TRANSACTION 'tx 1'" >/dev/null
t_exit 1 probe app_new --finish --swap app
t_match "$t_out" 'error refused: cannot swap database "app": 1 thing stands in the way' 'counts them'
t_match "$t_out" 'Transaction "tx 1" of "postgres" is prepared in database "app".' 'prepared transaction'
t_match "$(settings_of app)" '\|17\|' 'no fence was put up'
psql -XAtq -d app -c "ROLLBACK PREPARED 'tx 1'"
pg_sql 'DROP DATABASE app_new'
psql -XAtq -d app -c "SELECT pg_create_logical_replication_slot('slot_1', 'pgoutput')" >/dev/null
t_ok probe app_new --finish --swap app
t_match "$t_out" 'warning logical replication slot "slot_1" \(pgoutput\) stays with the old database' 'an inactive slot is told'
pg_sql "SELECT pg_drop_replication_slot('slot_1')" >/dev/null

t_begin kept_databases_are_listed_and_dropped_by_name_only
t_ok probe app_x --kept
t_match "$t_out" "kept app_before_$run of app by $run" 'listed'
t_exit 1 probe app_x --drop-kept app
t_match "$t_out" 'error refused: database "app" is not one that a restore has kept' 'others are refused'
t_ok probe app_x --drop-kept "app_before_$run"
t_is "$(databases)" 'app postgres' 'dropped'

t_begin tables_are_restored_beside_the_originals
t_ok probe unused --table 't' --table 'public.CHILD' --into restored_1 --delete 'DELETE FROM public.child WHERE id > 10; DELETE FROM t WHERE id > 4000'
t_match "$t_out" $'tables 2\nrows 5100\nproven 2' 'proven'
copy_back=$(printf '%s\n' "$t_out" | sed -n '/^BEGIN;/,$p')
t_match "$copy_back" 'LOCK TABLE "public"."t" IN SHARE ROW EXCLUSIVE MODE;' 'the originals are locked'
t_is "$(app 'SELECT count(*) FROM t')" 4000 'the original is not touched'
t_is "$(app "$copy_back")" '' 'the printed SQL runs'
t_is "$(app 'SELECT count(*), sum(id), sum(g), max("V v") FROM t')" '5000|12502500|12507500|row 999' 'every row is back'
t_is "$(app 'SELECT count(id), count(DISTINCT id) FROM public.child')" '100|100' 'in the other table too'
t_exit 1 probe unused --table 'no_such*' --into restored_2
t_match "$t_out" 'error refused: backup has no table that matches "no_such\*"' 'a pattern without a table'
t_exit 1 probe unused --table 'public.t' --into restored_3 --delete 'ALTER TABLE t DROP COLUMN "V v"'
t_match "$t_out" 'table "public.t" has no column "V v" any more' 'a table that has lost a column'
t_match "$t_out" 'hint: Restore it into a new database instead \(--target-db\)' 'and what to do'

t_begin tables_are_restored_into_a_new_database
t_ok probe app_tables --table 'public.*' --table public.which
t_is "$(psql -XAtq -d app_tables -c "SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM pg_constraint WHERE contype = 'f')" 2>&1)" '5000|1' \
	'rows and foreign keys'
pg_sql 'DROP DATABASE app_tables'
t_ok probe app_tables --table public.child
t_is "$(psql -XAtq -d app_tables -c "SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM child), (SELECT count(*) FROM pg_constraint
	WHERE contype = 'f')" 2>&1)" '0|100|0' 'the chosen ones alone, without foreign keys to others'
