#!/usr/bin/env bash
# The repository is looked at before the dump starts, and may vanish while it runs.
# shellcheck source-path=SCRIPTDIR/../lib
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/t.sh
. tests/lib/pg.sh

hf() {
	"$HOLDFAST" --state-dir "$T_TMP/state" "$@"
}
pg_start || exit 1
pg_sql 'CREATE DATABASE app'
pg_sql 'CREATE TABLE t AS SELECT generate_series(1, 1000) AS id' -d app

t_begin a_directory_of_something_else_is_refused_before_the_dump
mkdir "$T_TMP/other"
echo x >"$T_TMP/other/file"
for option in --dry-run -q; do
	t_exit 2 hf backup -d app -r "$T_TMP/other" "$option"
	t_match "$t_err" "no repository at \"$T_TMP/other\"" 'it is named'
	t_nomatch "$t_err" 'dump' 'no dump was begun'
done
t_is "$(ls "$T_TMP/other")" file 'nothing was written there'
t_exit 0 hf runs
t_nomatch "$t_out" 'failed' 'no run is left to resume'

t_begin a_new_place_is_none_of_the_check_s_business
t_exit 0 hf backup -d app -r "$T_TMP/new/place" --dry-run
t_is "$(test -e "$T_TMP/new" && echo made)" '' 'the check makes nothing'
mkdir "$T_TMP/empty"
t_exit 0 hf backup -d app -r "$T_TMP/empty" -q
t_exit 0 hf backup -d app -r "$T_TMP/new/place" -q

t_begin a_repository_that_vanished_does_not_keep_a_run_from_being_abandoned
journal=$(grep -l '"type": *"step.checkpoint"' "$T_TMP"/state/runs/*/journal | head -n 1)
record=$(grep -n '"type": *"step.checkpoint"' "$journal" | head -n 1 | cut -d: -f1)
HOLDFAST_CRASH_AT="journal:$record" t_exit 137 hf backup -d app -r "$T_TMP/empty" -q
rm -rf "$T_TMP/empty"
mkdir "$T_TMP/empty"
echo x >"$T_TMP/empty/file"
run=$(basename "$(dirname "$(grep -L '"type": *"run.finished"' "$T_TMP"/state/runs/*/journal)")")
t_exit 0 hf abandon "$run"
t_match "$t_err" 'what there is of backup set .* was not removed: no repository at' 'it says that nothing was there'
rm "$T_TMP/empty/file"
t_exit 0 hf backup -d app -r "$T_TMP/empty"
t_nomatch "$t_err" 'earlier' 'the next backup minds it no more'
