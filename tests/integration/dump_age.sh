#!/usr/bin/env bash
# A dump that takes long keeps vacuum from its work: it is told when that becomes serious.
# shellcheck source-path=SCRIPTDIR/../lib
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/t.sh
unset "${!HOLDFAST_@}"
. tests/lib/pg.sh

HOLDFAST=${HOLDFAST:-$PWD/build/holdfast}
export HOLDFAST_STATE_DIR=$T_TMP/state
pg_start main autovacuum_freeze_max_age=100000 autovacuum=off
pg_sql 'CREATE DATABASE app'
pg_sql 'CREATE TABLE t AS SELECT 1 AS a' -d app
pg_sql 'CREATE PROCEDURE burn(n int) LANGUAGE plpgsql AS $$ BEGIN FOR i IN 1..n LOOP PERFORM txid_current(); COMMIT; END LOOP; END $$'

# A pg_dump that takes as long as the test likes.
mkdir "$T_TMP/bin"
printf '#!/bin/sh\ncase " $* " in *" --schema-only "*) while [ ! -e "%s" ] && [ -d "%s" ]; do sleep 0.1; done ;; esac\nexec %q "$@"\n' \
	"$T_TMP/go" "$T_TMP" "$PG_BINDIR/pg_dump" >"$T_TMP/bin/pg_dump"
ln -s "$PG_BINDIR/pg_restore" "$T_TMP/bin/pg_restore"
chmod +x "$T_TMP/bin/pg_dump"
# dump_of TRANSACTIONS: dumps while so many others begin and end
dump_of() {
	rm -f "$T_TMP/go"
	"$HOLDFAST" backup -d app -r "$T_TMP/repository" --pg-bindir "$T_TMP/bin" >"$T_TMP/out" 2>"$T_TMP/err" &
	dump=$!
	t_wait 20 has_snapshot
	pg_sql "CALL burn($1)"
}
has_snapshot() { [ "$(pg_sql "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'holdfast dump' AND backend_xmin IS NOT NULL")" = 1 ]; }
ended() {
	local status=0
	touch "$T_TMP/go"
	wait "$dump" || status=$?
	t_is "$status" 0 "$(cat "$T_TMP/err")"
}

t_begin an_old_snapshot_is_told_while_the_dump_runs
dump_of 80000
t_wait 40 grep -qE 'the snapshot of the dump is [0-9]{5,} transactions old: until it ends vacuum cannot clean up behind it' "$T_TMP/err"
t_pass 'a warning'
ended
t_is "$(grep -c 'snapshot of the dump' "$T_TMP/err")" 1 'once'

t_begin a_young_snapshot_is_nothing_to_speak_of
dump_of 1000
ended
t_is "$(grep -c 'snapshot of the dump' "$T_TMP/err")" 0
