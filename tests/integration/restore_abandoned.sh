#!/usr/bin/env bash
# A restore into a named database, given up after that database has lost its mark: exactly what the run made is removed.
# shellcheck source-path=SCRIPTDIR/../lib
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/t.sh
unset "${!HOLDFAST_@}"
. tests/lib/pg.sh

HOLDFAST=${HOLDFAST:-$PWD/build/holdfast}
export HOLDFAST_STATE_DIR=$T_TMP/state
repository=$T_TMP/repository
databases() { pg_sql "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE datname NOT LIKE 'template_'"; }
newest() { "$HOLDFAST" runs | awk 'NR == 2 { print $1 }'; }
journal() { printf '%s/runs/%s/journal' "$HOLDFAST_STATE_DIR" "$(newest)"; }
restore() { "$HOLDFAST" -q restore latest -d app -r "$repository" --target-db copy "$@"; }

pg_start main
pg_sql 'CREATE DATABASE app'
pg_sql "CREATE TABLE which (name text); INSERT INTO which VALUES ('saved')" -d app
t_exit 0 "$HOLDFAST" -q backup -d app -r "$repository"

t_begin undisturbed_restore_tells_the_record_behind_the_settings
t_exit 0 restore
record=$(grep -n '"type":"step.done","step":"settings"' "$(journal)" | cut -d: -f1)
t_match "$record" '^[0-9]+$' 'one record'
pg_sql 'DROP DATABASE copy'
killed() {
	HOLDFAST_CRASH_AT=journal:$record t_run restore "$@"
	t_is "$t_status" 137 'killed'
	t_is "$(databases)" 'app copy postgres'
	t_is "$(pg_sql "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'copy'")" '' 'no mark is left'
}

t_begin a_database_without_its_mark_is_still_that_of_the_run
killed
t_exit 0 "$HOLDFAST" -q abandon "$(newest)"
t_is "$(databases)" 'app postgres'

t_begin single_tables_too
tables=$record
"$HOLDFAST" -q restore latest -d app -r "$repository" --target-db copy -t public.which
record=$(grep -n '"type":"step.done","step":"settings"' "$(journal)" | cut -d: -f1)
pg_sql 'DROP DATABASE copy'
killed -t public.which
t_exit 0 "$HOLDFAST" -q abandon "$(newest)"
t_is "$(databases)" 'app postgres'
record=$tables

t_begin a_database_that_somebody_else_made_since_is_left
killed
pg_sql 'DROP DATABASE copy'
pg_sql 'CREATE DATABASE copy'
t_exit 0 "$HOLDFAST" abandon "$(newest)"
t_match "$t_err" 'database "copy" was not made by this run and is left as it is'
t_is "$(databases)" 'app copy postgres'

t_begin a_database_that_was_there_before_is_left
killed
t_exit 0 "$HOLDFAST" abandon "$(newest)"
t_match "$t_err" 'database "copy" was not made by this run and is left as it is'
t_is "$(databases)" 'app copy postgres'
pg_sql 'DROP DATABASE copy'

t_begin a_database_that_was_put_in_service_by_hand_is_left
killed
pg_sql 'ALTER DATABASE copy RENAME TO live'
t_exit 0 "$HOLDFAST" -q abandon "$(newest)"
t_is "$(databases)" 'app live postgres'
pg_sql 'DROP DATABASE live'

t_begin one_that_is_undone_but_for_the_last_word_is_in_nobodys_way
killed
run=$(newest)
cp -a "$HOLDFAST_STATE_DIR" "$T_TMP/elsewhere"
before=$(wc -l <"$(journal)")
t_exit 0 "$HOLDFAST" -q abandon "$run" --state-dir "$T_TMP/elsewhere"
records=$(($(wc -l <"$T_TMP/elsewhere/runs/$run/journal") - before))
HOLDFAST_CRASH_AT=journal:1 t_run "$HOLDFAST" abandon "$run"
t_exit 10 "$HOLDFAST" restore latest -d app -r "$repository" --target-db other
t_match "$t_err" "an earlier restore of stack \"app\" did not finish: run \"$run\" \(crashed\)"
HOLDFAST_CRASH_AT=journal:$((records - 1)) t_run "$HOLDFAST" abandon "$run"
t_is "$t_status $("$HOLDFAST" status "$run" --output json | jq -r .run.state)" '137 crashed'
t_exit 0 "$HOLDFAST" restore latest -d app -r "$repository" --target-db other
t_is "$(databases)" 'app other postgres'
t_exit 0 "$HOLDFAST" -q abandon "$run"
pg_sql 'DROP DATABASE other'

t_begin the_repository_is_not_needed
killed
mv "$repository" "$repository.away"
t_exit 0 "$HOLDFAST" -q abandon "$(newest)"
t_is "$(databases)" 'app postgres'
