#!/usr/bin/env bash
# Clients kept out for as long as a plan says: over steps, failures and kills; and let in again on every way out.
# shellcheck source=../lib/t.sh
. tests/lib/t.sh
unset "${!HOLDFAST_@}" "${!PG@}" XDG_CONFIG_HOME
# shellcheck source=../lib/pg.sh
. tests/lib/pg.sh
HOLDFAST=${HOLDFAST:-$PWD/build/holdfast}
export HOME=$T_TMP/home HOLDFAST_STATE_DIR=$T_TMP/state
mkdir "$HOME"
pg_start || exit 1

run() { t_exit "$1" "$HOLDFAST" run "$T_TMP/plan.yaml" --stack app -d app "${@:2}"; }
last_run() { "$HOLDFAST" runs | awk 'NR == 2 { print $1 }'; }
last_play() { "$HOLDFAST" runs | awk '$0 ~ /-play-/ { print $1; exit }'; }
limit() { pg_sql "SELECT datconnlimit, COALESCE((SELECT setconfig::text FROM pg_db_role_setting WHERE setdatabase = d.oid), '-') FROM pg_database d WHERE datname = '${of_database:-app}'"; }
client() { psql -XAtq -U client -d app -c "SELECT 'in'" 2>&1; }
is_in() { [ "$(pg_sql "SELECT count(*) FROM pg_stat_activity WHERE usename = '$1'")" = 1 ]; }
# plan STEPS…: the fence, these, the unfence
plan() {
	printf '%s\n' 'name: play' 'on_failure: rollback' 'steps:' \
		"- { id: fence, uses: fence, with: { database: ${database:-dbname=app}, within: 3s } }" "$@" \
		"- { id: unfence, uses: unfence, with: { database: dbname=app, old_limit: '\${steps.fence.old_limit}' } }" >"$T_TMP/plan.yaml"
}
pg_sql 'CREATE ROLE client LOGIN; CREATE ROLE admin LOGIN CREATEDB; CREATE ROLE boss SUPERUSER LOGIN'
pg_sql 'CREATE DATABASE app OWNER admin CONNECTION LIMIT 5'

t_begin clients_are_out_until_unfence
psql -XAtq -U client -d app -c 'SELECT pg_sleep(30)' >"$T_TMP/ended" 2>&1 &
sleeper=$!
t_wait 10 is_in client
plan "- { id: try, uses: exec, with: { argv: [psql, -XAtq, -U, client, -d, app, -c, SELECT], expect: '2' } }" \
	"- { id: admin, uses: sql, with: { database: dbname=app, query: \"SELECT datconnlimit FROM pg_database WHERE datname = 'app'\", expect: '0' } }"
run 0
wait "$sleeper"
t_match "$(cat "$T_TMP/ended")" 'terminating connection due to administrator command' 'the session was ended'
t_is "$(limit)" '5|-' 'the limit is as it was'
t_is "$(client)" in
t_match "$(cat "$HOLDFAST_STATE_DIR/runs/$(last_run)/try.log")" 'too many connections for database "app"' 'error 53300'

t_begin a_failure_lifts_it
plan "- { id: fail, uses: exec, with: { argv: [false] } }"
run 7
t_is "$(limit) $(client)" '5|- in'

t_begin a_fence_whose_step_is_done_stays_over_a_crash
for at in journal:4 journal:5; do
	plan "- { id: wait, uses: exec, with: { argv: [true] } }"
	HOLDFAST_CRASH_AT=$at t_run "$HOLDFAST" run "$T_TMP/plan.yaml" --stack app -d app
	t_is "$t_status $(limit)" '137 0|{holdfast.connection_limit=5}' "killed at $at: up"
	t_match "$(client)" 'too many connections'
	t_exit 0 "$HOLDFAST" -q backup -d app -r "$T_TMP/repository" --stack app
	t_is "$(limit)" '0|{holdfast.connection_limit=5}' 'another run of the stack leaves it'
	t_exit 0 "$HOLDFAST" resume "$(last_play)"
	t_is "$(limit) $(client)" '5|- in' 'lifted by its unfence step'
done

t_begin a_set_that_is_taken_meanwhile_has_the_limit_of_before
t_exit 0 "$HOLDFAST" -q restore latest --target-db app_restored -d app -r "$T_TMP/repository" --stack app --yes
t_is "$(of_database=app_restored limit)" '5|-' 'and no note of a fence'
t_is "$(psql -XAtq -U client -d app_restored -c "SELECT 'in'" 2>&1)" in
t_match "$(tar --zstd -xOf "$(find "$T_TMP/repository" -name backup.tar.zst | tail -n 1)" --wildcards '*restore.sql' | grep -E 'LIMIT|holdfast\.')" \
	'^ALTER DATABASE :"DBNAME" CONNECTION LIMIT 5;$' 'with stock tools, too'
pg_sql 'DROP DATABASE app_restored'

t_begin what_somebody_has_set_there_is_no_fence
pg_sql "ALTER DATABASE app SET holdfast.connection_limit = 'five'"
t_exit 0 "$HOLDFAST" -q backup -d app -r "$T_TMP/repository" --stack app
plan
run 0
t_is "$(limit)" '5|-'

t_begin one_in_flight_is_lifted_by_the_next_start
HOLDFAST_CRASH_AT=journal:3 t_run "$HOLDFAST" run "$T_TMP/plan.yaml" --stack app -d app
t_is "$t_status" 137
pg_sql "ALTER DATABASE app SET holdfast.connection_limit = '5'; ALTER DATABASE app CONNECTION LIMIT 0" # as if it had come that far
t_exit 0 "$HOLDFAST" -q backup -d app -r "$T_TMP/repository" --stack app
t_is "$(limit)" '5|-'
t_exit 0 "$HOLDFAST" resume "$(last_play)"
t_is "$(limit)" '5|-'

t_begin an_abandoned_run_leaves_none
HOLDFAST_CRASH_AT=journal:5 t_run "$HOLDFAST" run "$T_TMP/plan.yaml" --stack app -d app
t_match "$(limit)" '^0'
t_exit 0 "$HOLDFAST" abandon "$(last_play)"
t_is "$(limit)" '5|-'

t_begin undoing_unfence_keeps_clients_out_while_the_rest_is_undone
plan "- { id: seen, uses: sql, with: { database: dbname=app, statements: [SELECT], undo: [\"CREATE TABLE seen AS SELECT datconnlimit FROM pg_database WHERE datname = 'app'\"] } }"
printf '%s\n' '- { id: fail, uses: exec, with: { argv: [false] } }' >>"$T_TMP/plan.yaml"
run 7
t_is "$(psql -XAtqd app -c 'SELECT * FROM seen')" 0
t_is "$(limit)" '5|-'
psql -XAtqd app -c 'DROP TABLE seen'

t_begin superusers_are_told_and_named
# One that cannot be ended: its server process is stopped.
PGAPPNAME='the app' psql -XAtq -U boss -d app -c 'SELECT pg_sleep(60)' >/dev/null 2>&1 &
superuser=$!
# In service: a session is listed before it has told its name.
sleeps() { [ "$(pg_sql "SELECT count(*) FROM pg_stat_activity WHERE usename = 'boss' AND application_name = 'the app' AND state = 'active'")" = 1 ]; }
t_wait 20 sleeps
backend=$(pg_sql "SELECT pid FROM pg_stat_activity WHERE usename = 'boss'")
kill -STOP "$backend"
plan
sed -i 's/within: 3s/within: 300ms/' "$T_TMP/plan.yaml"
run 7
t_match "$t_err" 'superuser "boss" has 1 session in database "app" \(the app\): a connection limit does not keep superusers out'
t_match "$t_err" 'error:  database "app" still has 1 client'
t_match "$t_err" 'detail: Process [0-9]+ of superuser "boss" \(application "the app"\).'
kill -CONT "$backend"
wait "$superuser"
t_is "$(limit)" '5|-' 'and it is lifted'

t_begin a_role_that_would_lock_itself_out_is_refused
database='user=admin dbname=app' plan
run 7
t_match "$t_err" 'role "admin" is no superuser: a fence around database "app" would keep it out, too'
t_match "$t_err" 'hint:   Connect as a superuser \(admin_url\), or keep clients out by a command \(method: command\).'
t_is "$(limit)" '5|-'

t_begin wrong_use
plan
sed -i 's/within: 3s/method: magic/' "$T_TMP/plan.yaml"
t_run "$HOLDFAST" run "$T_TMP/plan.yaml" --stack app -d app
t_match "$t_status $t_err" 'cannot fence by "magic"'
plan
sed -i 's/database: dbname=app, within: 3s/method: command, up: [true]/' "$T_TMP/plan.yaml"
t_run "$HOLDFAST" run "$T_TMP/plan.yaml" --stack app -d app
t_match "$t_err" 'a fence by command needs both up and down'

t_begin by_command
page=$T_TMP/page
fence="method: command, up: [touch, $page], down: [rm, -f, $page], check: [test, -e, $page]"
printf '%s\n' 'name: play' 'on_failure: rollback' 'parameters: { end: { type: string, default: "true" } }' 'steps:' "- { id: fence, uses: fence, with: { $fence } }" \
	"- { id: is_up, uses: exec, with: { argv: [test, -e, $page] } }" "- { id: end, uses: exec, with: { argv: [\"\${end}\"] } }" \
	"- { id: unfence, uses: unfence, with: { $fence } }" >"$T_TMP/plan.yaml"
run 0
t_is "$([ -e "$page" ]; echo $?)" 1 'down'
run 7 -p end=false
t_is "$([ -e "$page" ]; echo $?)" 1 'down after a failure'
HOLDFAST_CRASH_AT=journal:3 t_run "$HOLDFAST" run "$T_TMP/plan.yaml" --stack app -d app
touch "$page"
t_exit 0 "$HOLDFAST" -q backup -d app -r "$T_TMP/repository" --stack app
t_is "$([ -e "$page" ]; echo $?)" 1 'one in flight is taken down by the next start'
t_exit 0 "$HOLDFAST" resume "$(last_play)"
