#!/usr/bin/env bash
# A swap that was cut short, or whose databases were changed behind its back: what resume and abandon make of it.
# shellcheck source-path=SCRIPTDIR/../lib
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/t.sh
unset "${!HOLDFAST_@}"
. tests/lib/pg.sh

HOLDFAST=${HOLDFAST:-$PWD/build/holdfast}
export HOLDFAST_STATE_DIR=$T_TMP/state
repository=$T_TMP/repository

hf() {
	"$HOLDFAST" -q "$@"
}
databases() {
	pg_sql "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE datname NOT LIKE 'template_'"
}
last_restore() {
	"$HOLDFAST" runs | awk '$3 ~ /^restore/ { print $1; exit }' # the ids of one second are in no order
}
# killed_before_the_rename DATABASE: sets new_db, kept
killed_before_the_rename() {
	HOLDFAST_CRASH_AT="journal:$record" t_exit 137 hf restore latest --database "dbname=$1" --stack app --repository "$repository" --yes
	new_db=$(pg_sql "SELECT datname FROM pg_database WHERE datname LIKE '$1\\_new\\_%'")
	kept=${new_db/_new_/_before_}
	t_match "$new_db" "^$1_new_" 'the proven database is there'
}

pg_start main
pg_sql 'CREATE DATABASE app'
pg_sql "CREATE TABLE which (name text); INSERT INTO which VALUES ('saved')" -d app
pg_sql "COMMENT ON DATABASE app IS 'the app'"
pg_sql 'ALTER DATABASE app CONNECTION LIMIT 50'
t_exit 0 hf backup --database dbname=app --repository "$repository"
pg_sql "UPDATE which SET name = 'old'" -d app

t_begin undisturbed_swap_tells_the_record_that_comes_before_the_fence
t_exit 0 hf restore latest --database dbname=app --repository "$repository" --yes
record=$(grep -n '"type": *"step.checkpoint"' "$HOLDFAST_STATE_DIR/runs/$(last_restore)/journal" | tail -n 1 | cut -d: -f1)
t_match "$record" '^[0-9]+$' 'the last checkpoint'
t_exit 0 hf drop-old "$(pg_sql "SELECT datname FROM pg_database WHERE datname LIKE 'app\\_before\\_%'")" --database dbname=app --yes
pg_sql "UPDATE which SET name = 'old'" -d app

t_begin a_proven_database_that_is_gone_is_no_success
killed_before_the_rename app
pg_sql "DROP DATABASE \"$new_db\""
t_exit 1 "$HOLDFAST" resume --stack app
t_match "$t_err" "database \"$new_db\" does not exist" 'the one that was to be swapped in'
t_is "$(pg_sql 'SELECT name FROM which' -d app)" old 'the old one serves'
t_is "$(pg_sql "SELECT datconnlimit FROM pg_database WHERE datname = 'app'")" 50 'and lets clients in'
t_exit 0 hf abandon "$(last_restore)"
t_is "$(databases)" 'app postgres'

t_begin a_swap_that_happened_is_not_done_twice
killed_before_the_rename app
pg_sql "ALTER DATABASE app CONNECTION LIMIT 0"
pg_sql "ALTER DATABASE app RENAME TO \"$kept\""
pg_sql "ALTER DATABASE \"$new_db\" RENAME TO app"
t_exit 0 hf resume --stack app
t_is "$(databases)" "app $kept postgres" 'both are there'
t_is "$(pg_sql 'SELECT name FROM which' -d app)" saved 'the restored one serves'
t_is "$(pg_sql "SELECT datconnlimit FROM pg_database WHERE datname LIKE 'app%'")" $'50\n50' 'no fence is left'
pg_sql "DROP DATABASE \"$kept\""

t_begin a_swap_that_happened_is_undone_by_abandon
pg_sql "UPDATE which SET name = 'old'" -d app
killed_before_the_rename app
pg_sql "ALTER DATABASE app CONNECTION LIMIT 0"
pg_sql "ALTER DATABASE app RENAME TO \"$kept\""
pg_sql "COMMENT ON DATABASE \"$kept\" IS 'holdfast kept 2026-11-21T00:00:00.000Z x app'"
pg_sql "ALTER DATABASE \"$new_db\" RENAME TO app"
t_exit 0 hf abandon "$(last_restore)"
t_is "$(databases)" 'app postgres' 'nothing of the restore is left'
t_is "$(pg_sql 'SELECT name FROM which' -d app)" old 'the old one serves again'
t_is "$(pg_sql "SELECT datconnlimit, shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'app'")" '50|the app' \
	'with its limit and comment'

t_begin a_first_restore_is_undone_too
killed_before_the_rename fresh
pg_sql "ALTER DATABASE \"$new_db\" RENAME TO fresh"
t_exit 0 hf abandon "$(last_restore)"
t_is "$(databases)" 'app postgres' 'nothing was there, and nothing is'
killed_before_the_rename fresh
pg_sql "ALTER DATABASE \"$new_db\" RENAME TO fresh"
t_exit 0 hf resume --stack app
t_is "$(databases)" 'app fresh postgres'
t_is "$(pg_sql 'SELECT name FROM which' -d fresh)" saved

t_begin the_database_others_are_managed_from_is_refused_before_anything_is_made
t_exit 10 "$HOLDFAST" restore latest --database dbname=postgres --stack app --repository "$repository" --yes
t_match "$t_err" 'error:  cannot swap database "postgres": it is the one from which others are managed'
t_match "$t_err" 'hint:   Restore beside it with --target-db, or single tables with --table\.'
t_is "$(databases)" 'app fresh postgres'
