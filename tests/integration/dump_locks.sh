#!/usr/bin/env bash
# The dump beside others: locks, tables that come and go, sessions that end, a cancelled run.
# shellcheck source-path=SCRIPTDIR/../lib
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/t.sh
. tests/lib/pg.sh

probe=$HOLDFAST_BUILD/tests/integration/dump_probe
retry=1 refused=3 cancelled=9

# A session of psql that is fed line by line: session NAME, tell NAME SQL, and leave NAME.
declare -A session_fd=() session_pid=()
session() {
	local fd
	mkfifo "$T_TMP/$1.in"
	PGAPPNAME=$1 psql -XAtq -d app -f - <"$T_TMP/$1.in" >"$T_TMP/$1.out" 2>&1 &
	session_pid[$1]=$!
	exec {fd}>"$T_TMP/$1.in"
	session_fd[$1]=$fd
	t_defer leave "$1"
}
tell() {
	printf '%s\n' "$2" >&"${session_fd[$1]}"
}
leave() {
	local fd=${session_fd[$1]:-}
	[ -n "$fd" ] || return 0
	unset "session_fd[$1]"
	exec {fd}>&-
	wait "${session_pid[$1]}"
	rm -f -- "$T_TMP/$1.in"
}
waits() {
	[ "$(pg_sql "SELECT count(*) FROM pg_stat_activity WHERE application_name = '$1' AND wait_event_type = 'Lock'")" = 1 ]
}
holds() {
	[ "$(pg_sql "SELECT count(*) FROM pg_stat_activity a JOIN pg_locks l USING (pid) WHERE application_name LIKE '$1' AND locktype = 'relation' AND l.relation = (SELECT oid FROM pg_class WHERE relname = '$2') AND l.granted" -d app)" != 0 ]
}
runs() {
	[ "$(pg_sql "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '$1' AND query ~ '$2'")" != 0 ]
}
nothing_is_left() {
	[ "$(pg_sql "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'holdfast%'")" = 0 ]
}
# begin_dump OPTION…: in the background, output in dump.out and dump.err; end_dump: sets t_status, t_err
begin_dump() {
	"$probe" -d dbname=app "$@" >"$T_TMP/dump.out" 2>"$T_TMP/dump.err" &
	dump_pid=$!
}
end_dump() {
	t_status=0
	wait "$dump_pid" || t_status=$?
	t_err=$(cat "$T_TMP/dump.err")
}

pg_start main
pg_sql 'CREATE DATABASE app'
pg_sql "CREATE TABLE a (id int, t text); INSERT INTO a SELECT g, repeat('a', 100) FROM generate_series(1, 20000) g;
	CREATE TABLE b (id int); INSERT INTO b SELECT generate_series(1, 1000); CREATE TABLE c (id int); INSERT INTO c VALUES (1)" -d app

t_begin undisturbed_dump_succeeds
t_ok "$probe" -d dbname=app "$T_TMP/plain"
t_match "$(cat "$T_TMP/plain/report.txt")" 'table\|public\|a\|table\|20000\|'

t_begin a_held_lock_fails_the_dump_after_lock_wait_and_names_the_holder
session holder
tell holder 'BEGIN; LOCK TABLE b IN ACCESS EXCLUSIVE MODE;'
t_wait 20 holds holder b
holder_pid=$(pg_sql "SELECT pid FROM pg_stat_activity WHERE application_name = 'holder'")
t_exit $retry "$probe" -w 300 -d dbname=app "$T_TMP/locked"
t_is "$(grep -v ' ms, ' <<<"$t_err")" "error (retry): could not take a snapshot: could not lock table \"public.b\" within 300 ms: process $holder_pid holds it
detail: Process $holder_pid (application \"holder\"): LOCK TABLE b IN ACCESS EXCLUSIVE MODE;
hint: Wait until it has finished, or give more time with lock_wait."

t_begin a_lock_that_is_given_up_in_time_only_delays_the_dump
begin_dump -w 60000 "$T_TMP/waited"
t_wait 20 waits 'holdfast dump'
tell holder 'ROLLBACK;'
end_dump
t_is "$t_status" 0
t_match "$(cat "$T_TMP/waited/report.txt")" 'table\|public\|b\|table\|1000\|'

t_begin a_table_dropped_between_listing_and_locking_is_no_failure
# shellcheck disable=SC2016 # dollar quotes of SQL
tell holder 'BEGIN; DROP TABLE c; CREATE TABLE c2 (id int); INSERT INTO c2 VALUES (2); ALTER TABLE b ADD COLUMN late text DEFAULT repeat($$x$$, 3);'
t_wait 20 holds holder c
begin_dump "$T_TMP/dropped"
t_wait 20 waits 'holdfast dump'
tell holder 'COMMIT;'
end_dump
t_is "$t_status" 0 'exit status'
t_is "$(grep -o '^table|public|[^|]*|table|[0-9]*' "$T_TMP/dropped/report.txt" | paste -sd ' ')" \
	'table|public|a|table|20000 table|public|b|table|1000 table|public|c2|table|1' 'what is there under the snapshot'
t_match "$(cat "$T_TMP/dropped/report.txt")" 'table\|public\|b\|[^
]*\|id,late' 'the column that came meanwhile'

t_begin a_table_rewritten_while_we_wait_for_its_lock_is_not_empty
tell holder 'BEGIN; ALTER TABLE b ALTER id TYPE bigint;'
t_wait 20 holds holder b
begin_dump "$T_TMP/rewritten"
t_wait 20 waits 'holdfast dump'
tell holder 'COMMIT;'
end_dump
t_is "$t_status" 0 'exit status'
t_match "$(cat "$T_TMP/rewritten/report.txt")" 'table\|public\|b\|table\|1000\|'

t_begin an_exclusive_lock_that_queues_behind_ours_does_not_block_the_workers
# each piece takes half a second to begin, so the queue is there before the last table is reached
begin_dump -j 1 -s 500 "$T_TMP/queued"
t_wait 20 holds 'holdfast dump' c2
session queuer
tell queuer 'TRUNCATE c2;'
t_wait 20 waits queuer
end_dump
t_is "$t_status" 0 'exit status'
t_match "$(cat "$T_TMP/queued/report.txt")" 'table\|public\|c2\|table\|1\|' 'the row is there'
t_wait 20 runs queuer TRUNCATE
leave queuer
t_is "$(pg_sql 'SELECT count(*) FROM c2' -d app)" 0 'the truncation went on afterwards'

t_begin a_worker_holds_the_lock_of_the_table_it_copies_and_no_other
begin_dump -j 1 -s 1000 "$T_TMP/one_lock"
t_wait 20 holds 'holdfast dump worker 1' b
t_is "$(pg_sql "SELECT string_agg(DISTINCT l.relation::regclass::text, ' ') FROM pg_stat_activity a JOIN pg_locks l USING (pid) WHERE
	application_name = 'holdfast dump worker 1' AND locktype = 'relation' AND relation >= 16384 AND relation::regclass::text !~ 'pg_toast'" -d app)" b \
	'the largest, which came first, is given up'
end_dump
t_is "$t_status" 0 'exit status'

t_begin the_dump_gives_way_to_a_lock_that_waits_too_long
pg_sql 'INSERT INTO c2 VALUES (2)' -d app
begin_dump -j 1 -p 65536 -s 1000 -w 1000 "$T_TMP/gives_way"
t_wait 20 holds 'holdfast dump' c2
session queuer
tell queuer 'ALTER TABLE c2 ADD COLUMN x int;'
end_dump
leave queuer
t_is "$t_status" $retry 'exit status'
t_match "$t_err" 'event: a lock is waited for behind the dump, which gives way after 1000 ms: process [0-9]+ \(application "queuer"\): ALTER TABLE c2' 'warning'
t_match "$t_err" 'error \(retry\): gave way to a lock that was waited for behind the dump longer than 1000 ms' 'error'
t_ok nothing_is_left

t_begin a_worker_whose_session_is_ended_fails_the_dump_for_another_try
begin_dump -j 2 -p 65536 -s 300 "$T_TMP/killed"
t_wait 20 runs 'holdfast dump worker 2' COPY
t_is "$(pg_sql "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'holdfast dump worker 2'")" t 'ended'
end_dump
t_is "$t_status" $retry 'exit status'
t_match "$t_err" 'error \(retry\): could not (copy|lock) table "public\.[abc2]+": ' 'names the table'
t_ok nothing_is_left

t_begin the_leader_whose_session_is_ended_fails_the_dump_for_another_try
begin_dump -j 1 -p 65536 -s 300 "$T_TMP/killed2"
t_wait 20 runs 'holdfast dump worker 1' COPY
t_is "$(pg_sql "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'holdfast dump'")" 1 'ended'
end_dump
t_is "$t_status" $retry 'exit status'
t_ok nothing_is_left

t_begin a_cancelled_dump_ends_its_statements_on_the_server
begin_dump -j 2 -p 65536 -s 2000 "$T_TMP/cancelled"
t_wait 20 runs 'holdfast dump worker 1' COPY
kill -TERM "$dump_pid"
end_dump
t_is "$t_status" $cancelled 'exit status'
t_match "$t_err" 'error \(cancelled\): '
t_wait 10 nothing_is_left && t_pass 'no session is left'

t_begin cancelling_while_a_lock_is_waited_for
tell holder 'BEGIN; LOCK TABLE b IN ACCESS EXCLUSIVE MODE;'
t_wait 20 holds holder b
begin_dump "$T_TMP/cancelled2"
t_wait 20 waits 'holdfast dump'
kill -TERM "$dump_pid"
end_dump
t_is "$t_status" $cancelled 'exit status'
t_wait 10 nothing_is_left && t_pass 'no session is left'
tell holder 'ROLLBACK;'
leave holder

t_begin the_snapshot_is_released_when_the_dump_has_ended
t_ok "$probe" -d dbname=app -V dbname=app
t_is "$(pg_sql 'SELECT count(*) FROM pg_stat_activity WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid()')" 0

t_begin more_tables_than_the_lock_table_holds_are_told_before
pg_start small max_locks_per_transaction=10 max_connections=10
pg_sql 'CREATE DATABASE app'
for i in 0 1 2 3 4 5 6; do
	pg_sql "DO \$\$ BEGIN FOR i IN 1..20 LOOP EXECUTE format('CREATE TABLE t%s_%s (id int)', $i, i); END LOOP; END \$\$" -d app
done
t_exit $refused "$probe" -P -d dbname=app
t_is "$t_err" "error (refused): the server's lock table has room for 100 locks, and 140 tables and sequences must be locked
detail: max_locks_per_transaction is 10.
hint: Set max_locks_per_transaction to at least 18 and restart the server."
pg_stop small
pg_start small max_locks_per_transaction=18 max_connections=10
t_ok "$probe" -P -d dbname=app
t_ok "$probe" -d dbname=app "$T_TMP/small"
t_is "$(grep -c '^table' "$T_TMP/small/report.txt")" 140 'tables'
