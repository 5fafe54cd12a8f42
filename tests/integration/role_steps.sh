#!/usr/bin/env bash
# Passwords that no log sees, one-time changes of roles that are found done, SQL with an answer to "is it done already?".
# shellcheck source=../lib/t.sh
. tests/lib/t.sh
unset "${!HOLDFAST_@}" "${!PG@}" XDG_CONFIG_HOME
# shellcheck source=../lib/pg.sh
. tests/lib/pg.sh
HOLDFAST=${HOLDFAST:-$PWD/build/holdfast}
export HOME=$T_TMP/home HOLDFAST_STATE_DIR=$T_TMP/state
mkdir "$HOME"
pg_start main log_statement=all || exit 1
hba=$PGDATA/pg_hba.conf
cp "$hba" "$T_TMP/hba"
{ printf '%s\n' 'local all authenticator scram-sha-256' 'local all closed reject'; cat "$T_TMP/hba"; } >"$hba"
pg_sql 'SELECT pg_reload_conf()' >/dev/null

app() { psql -XAtq -v ON_ERROR_STOP=1 -d app -c "$1" 2>&1; }
run() { t_exit "$1" "$HOLDFAST" run "$T_TMP/plan.yaml" --stack app -d app "${@:2}"; }
last_run() { "$HOLDFAST" runs | awk 'NR == 2 { print $1 }'; }
journal() { cat "$HOLDFAST_STATE_DIR/runs/$(last_run)/journal"; }
# login PASSWORD
login() { PGPASSWORD=$1 psql -XAtq -w -U authenticator -d app -c "SELECT 'in'" 2>&1; }
# plan STEPS…
plan() { printf '%s\n' 'name: play' 'on_failure: rollback' 'steps:' "$@" >"$T_TMP/plan.yaml"; }
fail='- { id: fail, uses: exec, with: { argv: [false] } }'
# shellcheck disable=SC2016 # that is the password
secret='Ge"h$e$HOME '\''\im 4711'
old='alt-es Geheim4711'
export NEW=$secret
printf '%s\n' "$old" >"$T_TMP/old"

pg_sql 'CREATE ROLE authenticator; CREATE ROLE service_role; GRANT service_role TO authenticator; CREATE ROLE open LOGIN; CREATE ROLE closed LOGIN'
pg_sql 'CREATE ROLE small LOGIN CREATEROLE'
pg_sql 'CREATE DATABASE app'

# --- role.password -----------------------------------------------------------------------------------------------------------

t_begin a_password_is_set_hashed_and_proven
plan "- { id: pw, uses: role.password, with: { database: dbname=app, role: authenticator, password: env:NEW, login: true } }"
run 0
t_is "$(login "$secret")" in
t_match "$(login wrong)" 'password authentication failed'
t_match "$(journal)" '"could_login":false,"proven":true'
t_is "$(grep -rlF -e "Ge\"h" -e 'Ge\"h' -e 4711 "$HOLDFAST_STATE_DIR" "$T_TMP/.out" "$T_TMP/.err")" '' 'in no journal and no output'
t_nomatch "$(pg_log main)" 'im 4711|SCRAM-SHA-256\$' 'neither it nor its verifier is in the log of the server'

t_begin undo_sets_the_previous_one
plan "- { id: pw, uses: role.password, with: { database: dbname=app, role: authenticator, password: file:$T_TMP/old, previous: env:NEW } }" "$fail"
run 7
t_match "$t_err$t_out" 'role "authenticator" has its previous password again'
t_is "$(login "$secret")" in
plan "- { id: pw, uses: role.password, with: { database: dbname=app, role: authenticator, password: file:$T_TMP/old } }" "$fail"
run 7
t_match "$t_err$t_out" 'role "authenticator" keeps its new password: the previous one is not known'
t_is "$(login "$old")" in
pg_sql 'ALTER ROLE authenticator NOLOGIN'
plan "- { id: pw, uses: role.password, with: { database: dbname=app, role: authenticator, password: env:NEW, login: true } }" "$fail"
run 7
t_is "$(pg_sql "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'authenticator'")" f 'and LOGIN is taken away again'

t_begin a_killed_one_is_found_done
plan "- { id: pw, uses: role.password, with: { database: dbname=app, role: authenticator, password: env:NEW, login: true } }"
HOLDFAST_CRASH_AT=journal:3 t_run "$HOLDFAST" run "$T_TMP/plan.yaml" --stack app -d app
t_is "$t_status" 137
t_exit 0 "$HOLDFAST" resume "$(last_run)"
t_is "$(login "$secret")" in

t_begin what_cannot_be_proven_is_told
plan "- { id: pw, uses: role.password, with: { database: dbname=app, role: open, password: env:NEW } }"
run 0
t_match "$t_err" 'the server lets role "open" in from here with any password: the new one is not proven'
plan "- { id: pw, uses: role.password, with: { database: dbname=app, role: closed, password: env:NEW } }"
run 7
t_match "$t_err" 'error:  role "closed" cannot log in with its new password'

t_begin wrong_use_of_passwords
plan "- { id: pw, uses: role.password, with: { database: dbname=app, role: authenticator, password: plain4711 } }"
t_run "$HOLDFAST" run "$T_TMP/plan.yaml" --stack app -d app
t_match "$t_err" 'error:  "password" of role "authenticator" does not say where the password is'
t_nomatch "$t_err" 4711
plan "- { id: pw, uses: role.password, with: { database: dbname=app, role: nobody, password: env:NEW } }"
run 7
t_match "$t_err" 'error:  role "nobody" does not exist'
plan "- { id: pw, uses: role.password, with: { database: 'user=small dbname=app', role: postgres, password: env:NEW } }"
run 7
t_match "$t_err" 'error:  could not set the password of role "postgres"'
t_match "$t_err" 'The server says: must be superuser to alter superuser'
t_nomatch "$t_err" 'SCRAM'
plan "- { id: pw, uses: role.password, with: { database: dbname=app, role: authenticator, password: env:UNSET_4711 } }"
t_run "$HOLDFAST" run "$T_TMP/plan.yaml" --stack app -d app
t_match "$t_err" 'environment variable "UNSET_4711" is not set'

# --- role.step ---------------------------------------------------------------------------------------------------------------

step="database: dbname=app, statements: [REVOKE service_role FROM authenticator], undo: [GRANT service_role TO authenticator]"
member="SELECT EXISTS (SELECT FROM pg_auth_members WHERE roleid = 'service_role'::regrole AND member = 'authenticator'::regrole)"
step+=", when_query: \"SELECT count(*) > 0 FROM pg_roles WHERE rolname = 'authenticator'\""
step+=", done_query: \"${member/EXISTS/NOT EXISTS}\", after: \"${member/EXISTS/NOT EXISTS}\""
record() { app "SELECT name, run, by FROM holdfast_steps" | sed "s/$(last_run)/RUN/"; }

t_begin a_one_time_step_is_undone_with_its_record
plan "- { id: revoke, uses: role.step, with: { $step } }" "$fail"
run 7
t_is "$(app "$member") $(record)" 't ' 'as before'
t_match "$t_err$t_out" 'what step "revoke" did to roles is undone'

t_begin a_one_time_step_is_done_once
plan "- { id: revoke, uses: role.step, with: { $step } }"
for at in journal:2 journal:3; do
	HOLDFAST_CRASH_AT=$at t_run "$HOLDFAST" run "$T_TMP/plan.yaml" --stack app -d app
	t_exit 0 "$HOLDFAST" resume "$(last_run)"
	t_match "$(journal)" '"result":"done"' "killed at $at"
	t_is "$(app "$member") $(record)" 'f revoke|RUN|postgres'
	app 'GRANT service_role TO authenticator; DROP TABLE holdfast_steps'
done
run 0
first=$(record)
run 0
t_match "$(journal)" '"result":"found done"' 'a second run finds it'
t_isnt "$(record)" "$first" 'with the record of the first'
sed -i 's/false/true/; $a- { id: fail, uses: exec, with: { argv: ["false"] } }' "$T_TMP/plan.yaml"
run 7
t_is "$(app "$member")" f 'what an earlier run did is not undone by a later one'

t_begin without_a_question_the_record_decides
plan "- { id: grant, uses: role.step, with: { database: dbname=app, schema: public, name: once, statements: [CREATE TABLE once ()] } }"
run 0
app 'DROP TABLE once'
run 0
t_is "$(app "SELECT to_regclass('once')")" '' 'not run again'

t_begin a_step_without_effect_is_not_recorded
plan "- { id: bad, uses: role.step, with: { database: dbname=app, statements: [CREATE TABLE bad ()], after: SELECT false } }"
run 7
t_match "$t_err" 'step "bad" did not do what it should: "after" answers false'
t_is "$(app "SELECT to_regclass('bad'), count(*) FROM holdfast_steps WHERE name = 'bad'")" '|0'
plan "- { id: unwanted, uses: role.step, with: { database: dbname=app, when_query: SELECT false, statements: [CREATE TABLE bad ()] } }"
run 0
t_match "$(journal)" '"result":"not wanted"'
plan "- { id: odd, uses: role.step, with: { database: dbname=app, when_query: SELECT 5, statements: [SELECT] } }"
run 7
t_match "$t_err" 'when_query: the query does not answer true or false, but 5'

# --- sql ---------------------------------------------------------------------------------------------------------------------

t_begin statements_are_run_once_and_undone
app 'CREATE TABLE counted (n int)'
sql="database: dbname=app, statements: [INSERT INTO counted VALUES (1), INSERT INTO counted VALUES (2)], undo: [DELETE FROM counted]"
sql+=", done_if: SELECT count(*) > 0 FROM counted, query: SELECT sum(n) FROM counted, expect: '3'"
plan "- { id: put, uses: sql, with: { $sql } }" "$fail"
run 7
t_is "$(app 'SELECT count(*) FROM counted')" 0 'undone'
t_match "$t_err$t_out" 'what step "put" had changed by SQL is undone'
plan "- { id: put, uses: sql, with: { $sql } }"
HOLDFAST_CRASH_AT=journal:2 t_run "$HOLDFAST" run "$T_TMP/plan.yaml" --stack app -d app
app 'INSERT INTO counted VALUES (1), (2)' # as if it had come to its end
t_exit 0 "$HOLDFAST" resume "$(last_run)"
t_is "$(app 'SELECT sum(n) FROM counted')" 3 'found done'
run 0
t_match "$(journal)" '"ran":false' 'a later run finds it done'

t_begin answers_are_checked
query() {
	plan "- { id: ask, uses: sql, with: { database: dbname=app, $2 } }"
	run "$1"
}
query 0 'query: SELECT 5, expect_min: 5'
query 7 'query: SELECT 4, expect_min: 5'
t_match "$t_err" 'the query gives 4 instead of at least 5'
query 7 "query: SELECT 'x', expect: y"
t_match "$t_err" 'the query gives "x" instead of "y"'
query 7 'query: SELECT NULL, expect_min: 1'
t_match "$t_err" 'the query gives "null" instead of a number'
query 7 'query: SELECT 2, compare_query: SELECT 3'
t_match "$t_err" 'the query gives "2", the one to compare with gives "3"'
query 7 'query: "SELECT generate_series(1, 3)", expect_rows: 2'
t_match "$t_err" 'the query gives 3 rows instead of 2'
query 0 "statements: [CREATE INDEX CONCURRENTLY ON counted (n)], no_transaction: true, query: SELECT 1"
query 7 "statements: [INSERT INTO counted VALUES (7), SELECT 1/0]"
t_is "$(app 'SELECT count(*) FROM counted WHERE n = 7')" 0 'one transaction'
query 7 "expect: y, statements: [SELECT]"
t_match "$t_err" 'step "ask" has "expect" without a query'

t_begin a_lock_is_not_waited_for_for_ever
exec {hold}> >(psql -XAtqd app >/dev/null 2>&1)
printf 'BEGIN; LOCK counted;\n' >&"$hold"
is_held() { [ "$(app "SELECT count(*) FROM pg_locks WHERE relation = 'counted'::regclass AND mode = 'AccessExclusiveLock'")" = 1 ]; }
t_wait 10 is_held
query 7 'statements: [DELETE FROM counted], lock_timeout: 100ms'
t_match "$t_err" 'canceling statement due to lock timeout'
printf 'ROLLBACK;\n\\q\n' >&"$hold"

t_begin a_hook_runs_in_every_database_with_the_extension
pg_sql 'CREATE DATABASE second' && pg_sql 'CREATE DATABASE third'
for name in app second; do
	psql -XAtqd $name -c "CREATE EXTENSION hstore; CREATE TABLE wanted AS SELECT generate_series(1, 2); CREATE TABLE live ()"
done
hook="database: dbname=app, extension: hstore, statements: [INSERT INTO live SELECT FROM wanted]"
hook+=', query: SELECT count(*) FROM live, compare_query: SELECT count(*) FROM wanted'
plan "- { id: hook, uses: sql, with: { $hook } }"
run 0
t_match "$(journal)" '"databases":2'
t_is "$(psql -XAtqd second -c 'SELECT count(*) FROM live')" 2
run 7
t_match "$t_err" 'database "app": the query gives "4", the one to compare with gives "2"'
