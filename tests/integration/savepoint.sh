#!/usr/bin/env bash
# The state of a database kept before it is changed and put back when the change fails: by a copy, from a backup set; killed on the way back.
# shellcheck source=../lib/t.sh
. tests/lib/t.sh
unset "${!HOLDFAST_@}" "${!PG@}" XDG_CONFIG_HOME
# shellcheck source=../lib/pg.sh
. tests/lib/pg.sh
HOLDFAST=${HOLDFAST:-$PWD/build/holdfast}
export HOME=$T_TMP/home HOLDFAST_STATE_DIR=$T_TMP/state
mkdir "$HOME"
pg_start main wal_level=logical max_prepared_transactions=2 || exit 1

app() { psql -XAtq -v ON_ERROR_STOP=1 -d app -c "$1" 2>&1; }
databases() { pg_sql "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE datname LIKE 'app%'"; }
last_run() { "$HOLDFAST" runs | awk 'NR == 2 { print $1 }'; }
# What a run's names end with: 20261121t120000z_7f3a91c2
tag() { last_run | sed -E 's/^([0-9TZ]+)-.*-([0-9a-f]+)$/\L\1_\2/'; }
run_dir() { printf %s "$HOLDFAST_STATE_DIR/runs/$(last_run)"; }
told() { sed -n 's/.*"put_back":"\(\([^"\\]\|\\.\)*\)".*/\1/p' "$HOLDFAST_STATE_DIR/runs/$(last_run)/journal" | sed 's/\\"/"/g'; }
# Rows, values of sequences, and what belongs to the database itself.
state_of() {
	psql -XAtq -d "$1" -c "SELECT md5(string_agg(o::text, ',' ORDER BY id)) FROM orders o; SELECT last_value FROM orders_id_seq;
		SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attnum > 0;
		SELECT pg_get_userbyid(datdba), datacl, datconnlimit, shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'app';
		SELECT COALESCE(r.rolname, '-'), unnest(setconfig) FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
			LEFT JOIN pg_roles r ON r.oid = setrole WHERE datname = 'app' ORDER BY 1, 2" 2>&1
}
drop_others() {
	local name
	for name in $(pg_sql "SELECT datname FROM pg_database WHERE datname LIKE 'app\\_%'"); do
		pg_sql "DROP DATABASE \"$name\""
	done
}
# plan METHOD STATEMENT…: fence, savepoint, the statements as a migration, each by itself; $extra; mark; a step that fails
extra=''
plan() {
	local method=$1 statement n=0
	shift
	{
		printf '%s\n' 'name: up' 'on_failure: rollback' 'steps:' \
			"- { id: fence, uses: fence, with: { database: dbname=app } }" \
			"- id: keep" "  uses: database.savepoint" \
			"  with: { database: dbname=app, method: $method, stack: app, repository: [$T_TMP/repository], backup: latest }"
		for statement in "$@"; do
			printf '%s\n' "- id: migrate$((++n))" "  uses: sql" "  with: { database: dbname=app, statements: [\"$statement\"] }"
		done
		[ -z "$extra" ] || printf '%s\n' "$extra"
		printf '%s\n' '- { id: mark, uses: database.mark, with: { database: dbname=app } }' \
			"- id: unfence" "  uses: unfence" "  with: { database: dbname=app, old_limit: '\${steps.fence.old_limit}' }" \
			"- { id: serve, uses: exec, with: { argv: [psql, -XAtqd, app, -c, \"\${serve}\"] } }" \
			"- { id: health, uses: exec, with: { argv: [test, \"\${end}\", '=', good] } }" \
			"parameters: { serve: { type: string, default: SELECT }, end: { type: string, default: bad } }"
	} >"$T_TMP/plan.yaml"
}
run() { t_exit "$1" "$HOLDFAST" run "$T_TMP/plan.yaml" --stack app -d app "${@:2}"; }

pg_sql 'CREATE ROLE owner; CREATE ROLE client LOGIN' >/dev/null
pg_sql 'CREATE DATABASE app OWNER owner CONNECTION LIMIT 17'
app "CREATE TABLE orders (id serial PRIMARY KEY, what text); INSERT INTO orders (what) SELECT 'row ' || g FROM generate_series(1, 2000) g;
	CREATE TABLE lines (orders_id int REFERENCES orders, n int); INSERT INTO lines SELECT g, g FROM generate_series(1, 100) g;
	GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO client; SELECT lo_create(4711)" >/dev/null
pg_sql "ALTER DATABASE app SET work_mem = '7MB'"
pg_sql "ALTER ROLE client IN DATABASE app SET statement_timeout = '9s'"
pg_sql "COMMENT ON DATABASE app IS 'the app''s'"
pg_sql 'REVOKE CONNECT ON DATABASE app FROM PUBLIC; GRANT CONNECT ON DATABASE app TO client'
before=$(state_of app)

t_begin an_atomic_failure_puts_nothing_back
oid=$(pg_sql "SELECT oid FROM pg_database WHERE datname = 'app'")
plan copy "UPDATE orders SET what = 'changed'; DELETE FROM lines; INSERT INTO lines VALUES (1, 1); SELECT 1/0"
run 7
t_match "$t_err" 'division by zero'
t_is "$(pg_sql "SELECT oid FROM pg_database WHERE datname = 'app'")" "$oid" 'the same database serves'
t_is "$(state_of app)" "$before" 'as it was'
t_match "$(told)" "database \"app\" is as it was: nothing had been changed in it; its copy \"app_before_$(tag)\" is dropped"
t_is "$(databases)" app
extra="- { id: look, uses: exec, with: { argv: [sh, $T_TMP/look] } }"
printf '%s\n' "psql -XAtqd \"\$(psql -XAtqd postgres -c \"SELECT datname FROM pg_database WHERE datname LIKE 'app_before%'\")\" -c 'SELECT pg_sleep(60)' >/dev/null 2>&1 &" \
	"until psql -XAtqd postgres -c \"SELECT count(*) FROM pg_stat_activity WHERE datname LIKE 'app_before%'\" | grep -q 1; do :; done; exit 1" >"$T_TMP/look"
plan copy SELECT
extra=''
run 7
t_match "$(told)" "its copy is kept as \"app_before_$(tag)\"" 'where somebody is connected to it'
t_match "$t_err" "warning: could not drop database \"app_before_$(tag)\""
pg_sql "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname LIKE 'app_before%'" >/dev/null
t_exit 0 "$HOLDFAST" drop-old "app_before_$(tag)" -d app --yes
t_is "$(databases)" app 'known to drop-old'

t_begin a_half_applied_change_is_undone_by_the_copy
plan copy "ALTER TABLE orders ADD COLUMN extra int DEFAULT 5; UPDATE orders SET what = 'changed'" "SELECT 1/0"
run 7
t_is "$(state_of app)" "$before" 'rows, sequence, schema, owner, privileges, settings, limit, comment'
t_is "$(databases)" "app app_upgraded_$(tag)" 'the upgraded database is kept'
t_is "$(psql -XAtqd "app_upgraded_$(tag)" -c 'SELECT count(*), sum(extra) FROM orders')" '2000|10000' 'with what had been changed'
t_match "$(told)" "database \"app\" is the copy of 2[0-9TZ:.-]+ again; the upgraded one is kept as \"app_upgraded_$(tag)\""
t_is "$(pg_sql "SELECT datconnlimit, pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'app_upgraded_$(tag)'")" '17|owner' 'and open'
t_match "$("$HOLDFAST" status -d app)" "kept database  app_upgraded_$(tag)" 'status knows it'
t_is "$(psql -XAtq -U client -d app -c 'SHOW statement_timeout')" 9s 'clients come in again'
drop_others

t_begin what_the_new_version_wrote_is_kept_and_told
plan copy 'ALTER TABLE orders ADD COLUMN extra int'
run 7 -p "serve=INSERT INTO orders (what) SELECT 'new' FROM generate_series(1, 3); UPDATE lines SET n = 0 WHERE n < 3; DELETE FROM lines WHERE n = 50"
t_is "$(state_of app)" "$before" 'put back'
t_match "$(told)" 'written since the upgrade are in the upgraded database alone: Table "public.orders": 3 rows written. Table "public.lines": 2 rows written, 1 deleted.'
t_is "$(psql -XAtqd "app_upgraded_$(tag)" -c "SELECT count(*) FROM orders WHERE what = 'new'")" 3
drop_others

t_begin deletions_are_seen_where_the_counters_started_from_nothing
plan copy "DELETE FROM lines WHERE n < 50" "SELECT 1/0"
run 7
t_is "$(app 'SELECT count(*) FROM lines')" 100 'the database was itself a copy, of which the server has counted nothing'
drop_others
pg_sql "ALTER DATABASE app SET track_counts = off"
run 7
t_is "$(app 'SELECT count(*) FROM lines')" 100 'the server does not count at all'
pg_sql "ALTER DATABASE app RESET track_counts"
drop_others

t_begin a_sequence_that_was_set_back_is_a_change
plan copy "SELECT setval('orders_id_seq', 5)" "SELECT 1/0"
run 7
t_is "$(state_of app)" "$before"
drop_others

t_begin a_plain_role_and_a_worker_of_the_server
pg_sql 'CREATE ROLE plain LOGIN CREATEDB'
pg_sql 'CREATE DATABASE app_plain OWNER plain'
pg_sql 'ALTER SYSTEM SET autovacuum_naptime = 1'
pg_sql 'SELECT pg_reload_conf()' >/dev/null
psql -XAtq -U plain -d app_plain -c "CREATE SCHEMA own; CREATE TABLE own.t (id int, what text) WITH (autovacuum_vacuum_threshold = 1,
	autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1)" \
	-c "INSERT INTO own.t SELECT g, repeat('x', 400) FROM generate_series(1, 20000) g; DELETE FROM own.t WHERE id % 3 = 0"
works() { [ "$(pg_sql "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'autovacuum worker' AND datname = 'app_plain'")" = 1 ]; }
t_wait 20 works
printf '%s\n' 'name: up' 'steps:' '- { id: keep, uses: database.savepoint, with: { database: user=plain dbname=app_plain, keep_name: app_kept } }' >"$T_TMP/plain.yaml"
t_exit 0 "$HOLDFAST" run "$T_TMP/plain.yaml" --stack plain -d 'user=plain dbname=app_plain'
t_is "$(psql -XAtq -d app_kept -c 'SELECT count(*) FROM own.t')" 13334 'copied while autovacuum was at work'
pg_sql 'ALTER SYSTEM RESET autovacuum_naptime'
pg_sql 'SELECT pg_reload_conf()' >/dev/null
pg_sql 'DROP DATABASE app_kept'

t_begin what_is_meant_for_the_application_does_not_hold_up_the_way_back
pg_sql "ALTER ROLE plain SET statement_timeout = '10ms'"
psql -XAtq -d app_plain -c 'ALTER TABLE own.t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; CREATE POLICY all_of_it ON own.t USING (true)'
printf '%s\n' '- id: m' '  uses: sql' '  with: { database: user=plain dbname=app_plain, statements: [SET statement_timeout = 0, DELETE FROM own.t WHERE id < 10] }' \
	'- { id: bad, uses: exec, with: { argv: ["false"] } }' >>"$T_TMP/plain.yaml"
sed -i 's/^steps:/on_failure: rollback\n&/' "$T_TMP/plain.yaml"
t_exit 7 "$HOLDFAST" run "$T_TMP/plain.yaml" --stack plain -d 'user=plain dbname=app_plain'
t_is "$(psql -XAtq -d app_plain -c 'SELECT count(*) FROM own.t')" 13334 'a time limit of the role, policies on a table'

t_begin a_session_that_may_not_be_ended_is_named
pg_sql 'ALTER ROLE plain RESET statement_timeout'
printf '%s\n' "PGAPPNAME=exporter psql -XAtqd app_plain -c 'SELECT pg_sleep(60)' >/dev/null 2>&1 &" \
	"until psql -XAtqd postgres -c \"SELECT count(*) FROM pg_stat_activity WHERE application_name = 'exporter'\" | grep -q 1; do :; done; exit 1" >"$T_TMP/exporter"
sed -i "s/keep_name: app_kept/within: 200ms/; s|\[\"false\"\]|[sh, $T_TMP/exporter]|" "$T_TMP/plain.yaml"
t_exit 9 "$HOLDFAST" run "$T_TMP/plain.yaml" --stack plain -d 'user=plain dbname=app_plain'
t_match "$t_err" 'could not undo step "keep" of run "[^"]+": database "app_plain" still has 1 client'
t_match "$t_err" 'Process [0-9]+ of superuser "postgres" \(application "exporter"\).'
t_is "$(pg_sql "SELECT datconnlimit FROM pg_database WHERE datname = 'app_plain'")" -1 'clients are let in again'
pg_sql "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'exporter'" >/dev/null
t_exit 7 "$HOLDFAST" resume "$(last_run)"
t_is "$(psql -XAtq -d app_plain -c 'SELECT count(*) FROM own.t')" 13334
drop_others

t_begin subscriptions_that_are_enabled_are_in_the_way
pg_sql 'CREATE DATABASE app_sub'
psql -XAtqd app_sub -c 'CREATE TABLE t (i int)' -c "CREATE SUBSCRIPTION feed CONNECTION 'dbname=nowhere host=/nowhere' PUBLICATION p WITH (connect = false)" \
	-c 'ALTER SUBSCRIPTION feed ENABLE' 2>/dev/null
printf '%s\n' 'name: up' 'on_failure: rollback' 'steps:' '- { id: keep, uses: database.savepoint, with: { database: dbname=app_sub } }' \
	'- { id: m, uses: sql, with: { database: dbname=app_sub, statements: [ALTER TABLE t ADD COLUMN j int] } }' \
	'- { id: bad, uses: exec, with: { argv: ["false"] } }' >"$T_TMP/sub.yaml"
t_exit 7 "$HOLDFAST" run "$T_TMP/sub.yaml" --stack sub -d dbname=app_sub
t_match "$t_err" 'cannot keep the state of database "app_sub": 1 thing stands in the way'
t_match "$t_err" 'Subscription "feed" is enabled: it would go on in the database that was put aside, and what it receives would be there alone.'
psql -XAtqd app_sub -c 'ALTER SUBSCRIPTION feed DISABLE'
t_exit 7 "$HOLDFAST" run "$T_TMP/sub.yaml" --stack sub -d dbname=app_sub
t_match "$t_err" 'warning: subscription "feed" belongs to the database in service now and would not come along'
t_match "$(told)" "kept as \"app_sub_upgraded_$(tag)\", with what others may have written while the migration ran, for no fence stood; its subscriptions \(\"feed\"\) stay with it"
psql -XAtqd "app_sub_upgraded_$(tag)" -c 'ALTER SUBSCRIPTION feed SET (slot_name = NONE)' -c 'DROP SUBSCRIPTION feed'
drop_others

t_begin what_the_new_version_wrote_is_saved_as_sql
plan copy 'ALTER TABLE orders ADD COLUMN extra int'
sed -i 's/uses: database.mark, with: { /&new_writes: save, /' "$T_TMP/plan.yaml"
run 7 -p "serve=INSERT INTO orders (what, extra) VALUES (E'tab\\tnew\\nline \\\\\\\\ it''s', 1), (NULL, 2); UPDATE orders SET what = 'mine' WHERE id = 7"
file=$HOLDFAST_STATE_DIR/runs/$(last_run)/new-writes.sql
t_is "$(stat -c %a "$file")" 600
t_match "$(told)" "3 rows in 1 table written since the upgrade are not in the old database; 3 rows are saved in \"$file\""
t_exit 3 psql -Xq -v ON_ERROR_STOP=1 -d app -f "$file"
t_match "$t_err" 'column "extra" of relation "orders" does not exist' 'the old schema has no such column, and nothing is changed'
t_is "$(state_of app)" "$before"
sed -i '/^INSERT/ { s/, "extra"//; s/, "extra"::integer//; s/, "extra" = EXCLUDED."extra"// }' "$file"
t_exit 0 psql -Xq -v ON_ERROR_STOP=1 -d app -f "$file"
t_is "$(app "SELECT string_agg(id || '=' || COALESCE(what, '-'), ';' ORDER BY id) FROM orders WHERE id = 7 OR id > 2000")" \
	$'7=mine;2001=tab\tnew\nline \\\\ it'\''s;2002=-' 'brought back'
t_is "$(app "INSERT INTO orders (what) VALUES ('next') RETURNING id")" 2003 'the sequence has moved on'
app "DELETE FROM orders WHERE id > 2000; UPDATE orders SET what = 'row 7' WHERE id = 7; SELECT setval('orders_id_seq', 2000)" >/dev/null
drop_others

t_begin success_keeps_the_copy
plan copy 'CREATE TABLE added ()'
run 0 -p end=good
t_is "$(databases)" "app app_before_$(tag)"
t_is "$(state_of "app_before_$(tag)")" "$before" 'the copy is a whole one'
t_is "$(app 'DROP TABLE added')" ''
t_is "$(state_of app)" "$before"
drop_others

t_begin a_kill_anywhere_on_the_way_back
plan copy 'ALTER TABLE orders ADD COLUMN extra int; DELETE FROM lines' 'SELECT 1/0'
points='swap:3 swap:4'
[ -z "${FULL:-}" ] || points='swap:1 swap:2 swap:3 swap:4 journal:10 journal:11 journal:12 journal:13 journal:14 journal:15 journal:16'
for at in $points; do
	HOLDFAST_CRASH_AT=$at t_run "$HOLDFAST" run "$T_TMP/plan.yaml" --stack app -d app
	[ "$t_status" -eq 137 ] || { t_is "$t_status" 137 "killed at $at"; continue; }
	t_run "$HOLDFAST" resume "$(last_run)"
	t_is "$t_status $(state_of app | md5sum)" "7 $(md5sum <<<"$before")" "killed at $at: resumed, and the old state serves"
	t_is "$(databases)" "app app_upgraded_$(tag)" "killed at $at: the upgraded one is kept"
	drop_others
done

if [ -n "${FULL:-}" ]; then
	t_begin a_kill_while_the_server_copies
	app "CREATE TABLE filler AS SELECT repeat('x', 1000) AS x FROM generate_series(1, 600000)"
	pg_sql CHECKPOINT
	"$HOLDFAST" run "$T_TMP/plan.yaml" --stack app -d app >/dev/null 2>&1 &
	copies() { [ "$(pg_sql "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'CREATE DATABASE%'")" = 1 ]; }
	t_wait 20 copies
	kill -KILL $!
	wait $! 2>/dev/null
	t_is "$(copies; echo $?)" 0 'the server goes on'
	t_match "$(pg_sql "SELECT datconnlimit FROM pg_database WHERE datname = 'app'")" '^0$' 'the fence of the fence step stands'
	t_run "$HOLDFAST" resume "$(last_run)"
	t_is "$t_status $(state_of app | md5sum)" "7 $(md5sum <<<"$before")" 'resumed, and the old state serves'
	t_is "$(databases)" "app app_upgraded_$(tag)" 'the upgraded one is kept'
	drop_others
	app 'DROP TABLE filler'
fi

t_begin a_backup_set_is_restored_and_takes_the_name
plan restore 'ALTER TABLE orders ADD COLUMN extra int; DELETE FROM lines' 'SELECT 1/0'
sed -i "s|^steps:|&\n- { id: set, uses: backup, with: { stack: app, database: dbname=app, repository: [$T_TMP/repository] } }\n\
- { id: late, uses: exec, with: { argv: [psql, -XAtqd, app, -c, 'UPDATE lines SET n = -1 WHERE n = 5'] } }|
	s|backup: latest|backup: '\${steps.set.backup_id}', since: '\${steps.set.mark}'|" "$T_TMP/plan.yaml"
run 7
t_is "$(state_of app)" "$before" 'rows, sequence, schema, owner, privileges, settings, limit, comment'
t_is "$(databases)" "app app_upgraded_$(tag)" 'the upgraded database is kept'
id=$("$HOLDFAST" list --stack app -r "$T_TMP/repository" | awk 'NR == 2 { print $1 }')
t_match "$(told)" "database \"app\" is restored from backup set \"$id\"; what was written while that was taken or after it \(1 row in 1 table\) may be missing, and is saved in \"$(run_dir)/keep.since-backup.sql\"; the upgraded one is kept as \"app_upgraded_$(tag)\""
t_is "$(sed -n '/^COPY/,/^\\\./p' "$(run_dir)/keep.since-backup.sql" | sed -n 2p)" $'5\t-1' 'what was written after the backup is saved'
t_is "$(app 'SELECT count(*) FROM lines; SELECT count(*) FROM pg_largeobject_metadata')" $'100\n1' 'every row, and large objects'
drop_others
records=$(($(find "$HOLDFAST_STATE_DIR/runs/$(last_run)" -name journal -exec cat {} + | wc -l)))
points="journal:$((records - 15))"
[ -z "${FULL:-}" ] || points=$(seq -f journal:%g $((records - 26)) $((records - 4)))
for at in $points; do
	HOLDFAST_CRASH_AT=$at t_run "$HOLDFAST" run "$T_TMP/plan.yaml" --stack app -d app
	t_is "$t_status" 137 "killed at $at"
	t_run "$HOLDFAST" resume "$(last_run)"
	t_is "$t_status $(state_of app | md5sum)" "7 $(md5sum <<<"$before")" "killed at $at: resumed, and the old state serves"
	t_is "$(databases)" "app app_upgraded_$(tag)" "killed at $at: the upgraded one is kept"
	drop_others
done

t_begin two_databases_of_one_plan
pg_sql 'CREATE DATABASE app_two'
psql -XAtqd app_two -c 'CREATE TABLE t AS SELECT 1 AS i'
{
	printf '%s\n' 'name: up' 'on_failure: rollback' 'steps:'
	for db in app app_two; do
		printf '%s\n' "- { id: set_$db, uses: backup, with: { stack: $db, database: dbname=$db, repository: [$T_TMP/repository] } }" \
			"- { id: keep_$db, uses: database.savepoint, with: { database: dbname=$db, method: restore, stack: $db, repository: [$T_TMP/repository], backup: '\${steps.set_$db.backup_id}' } }" \
			"- { id: change_$db, uses: sql, with: { database: dbname=$db, statements: [CREATE TABLE added ()] } }"
	done
	printf '%s\n' '- { id: bad, uses: exec, with: { argv: ["false"] } }'
} >"$T_TMP/two.yaml"
t_exit 7 "$HOLDFAST" run "$T_TMP/two.yaml" --stack app -d app
t_is "$(state_of app) $(psql -XAtqd app_two -c 'SELECT * FROM t')" "$before 1" 'both are put back'
t_is "$(databases)" "app app_two app_two_upgraded_$(tag) app_upgraded_$(tag)"
drop_others

t_begin two_steps_for_one_database
printf '%s\n' 'name: up' 'on_failure: rollback' 'steps:' '- { id: keep, uses: database.savepoint, with: { database: dbname=app } }' \
	'- { id: change, uses: sql, with: { database: dbname=app, statements: [CREATE TABLE added ()] } }' \
	'- { id: again, uses: database.savepoint, with: { database: dbname=app, keep_name: app_again } }' >"$T_TMP/two.yaml"
t_exit 7 "$HOLDFAST" run "$T_TMP/two.yaml" --stack app -d app
t_match "$t_err" 'step "keep" keeps the state of database "app" already'
t_match "$t_err" 'hint:   A plan may have one database.savepoint step for a database.'
t_is "$(state_of app)" "$before" 'the state of before is put back'
drop_others

t_begin databases_of_one_oid_on_two_servers
oid=$(pg_sql "SELECT oid FROM pg_database WHERE datname = 'app'")
pg_start other || exit 1
pg_sql 'CREATE ROLE plain LOGIN CREATEDB; REVOKE EXECUTE ON FUNCTION pg_control_system FROM PUBLIC'
pg_sql "CREATE DATABASE app OWNER plain OID $oid"
printf '%s\n' 'name: up' 'on_failure: rollback' 'steps:' \
	"- { id: keep, uses: database.savepoint, with: { database: host=$PG_ROOT/main dbname=app } }" \
	"- { id: other, uses: database.savepoint, with: { database: host=$PGHOST user=plain dbname=app } }" >"$T_TMP/two.yaml"
t_exit 0 "$HOLDFAST" run "$T_TMP/two.yaml" --stack app -d "host=$PG_ROOT/main dbname=app"
t_is "$(databases) $(pg_use main; databases)" "app app_before_$(tag) app app_before_$(tag)"
pg_remove other
pg_use main
drop_others

t_begin without_a_set_nothing_can_be_put_back
plan restore 'ALTER TABLE orders ADD COLUMN extra int'
sed -i 's/, backup: latest//' "$T_TMP/plan.yaml"
run 9
t_match "$t_err" 'warning: nothing is kept to put back: once database "app" is changed the run cannot be undone'
t_match "$t_err" 'database "app" was changed, and nothing was kept to put back'
app 'ALTER TABLE orders DROP COLUMN extra'
t_exit 9 "$HOLDFAST" resume "$(last_run)"
"$HOLDFAST" abandon "$(last_run)" --give-up --yes >/dev/null 2>&1
pg_sql 'ALTER DATABASE app CONNECTION LIMIT 17; ALTER DATABASE app RESET holdfast.connection_limit' >/dev/null

t_begin the_copy_that_somebody_dropped_is_told
extra="- { id: gone, uses: exec, with: { argv: [psql, -XAtqd, postgres, -c, 'DROP DATABASE app_copy'] } }"
plan copy 'ALTER TABLE orders ADD COLUMN extra int'
extra=''
sed -i "s/method: copy/&, keep_name: app_copy/" "$T_TMP/plan.yaml"
run 7
t_match "$t_err" 'warning: the copy "app_copy" is not there any more: backup set "latest" is restored instead'
t_match "$(told)" "database \"app\" is restored from backup set \"latest\", without what was written after that was taken, for the copy was dropped; the upgraded one is kept as \"app_upgraded_$(tag)\""
t_is "$(state_of app)" "$before" 'there is a set'
drop_others
sed -i 's/, backup: latest//' "$T_TMP/plan.yaml"
run 9
t_match "$t_err" 'database "app_copy" is not the copy that was made before the upgrade'
t_match "$t_err" 'There is none of that name.  Database "app" is the upgraded one and was not touched.'
t_match "$t_err" 'step "keep" \(database.savepoint\): could not be undone'
t_is "$(app 'SELECT count(extra) FROM orders')" 0 'nothing was touched'
t_exit 9 "$HOLDFAST" resume "$(last_run)"
"$HOLDFAST" abandon "$(last_run)" --give-up --yes >/dev/null 2>&1 || "$HOLDFAST" abandon "$(last_run)" >/dev/null 2>&1
app 'ALTER TABLE orders DROP COLUMN extra'
pg_sql 'ALTER DATABASE app CONNECTION LIMIT 17; ALTER DATABASE app RESET holdfast.connection_limit' >/dev/null
