#!/usr/bin/env bash
# Schema migrations among others and under fire: locks, two at once, a lost connection, death at every point.
# shellcheck source=../lib/t.sh
. tests/lib/t.sh
# shellcheck source=../lib/migrate.sh
. tests/lib/migrate.sh

t_begin nothing_waits_long_behind_a_lock_that_others_hold
fresh locked
file 1_a.sql 'CREATE TABLE a (id int);'
up 0
file 2_b.sql 'ALTER TABLE a ADD COLUMN b int;'
configured "dir: $d" 'lock_timeout: 200ms' 'lock_wait: 1s'
mkfifo "$T_TMP/hold"
PGAPPNAME=holder psql -XAtqd "$db" <"$T_TMP/hold" >"$T_TMP/holder" 2>&1 &
holder=$!
exec 7>"$T_TMP/hold"
echo "BEGIN; SELECT count(*) FROM a; SELECT pg_backend_pid();" >&7
waits_for "SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'holder' AND state = 'idle in transaction'"
t_exit 1 "$HOLDFAST" --config "$T_TMP/holdfast.yaml" migrate up
t_match "$t_err" "error:  no lock within 1.0s: 2_b.sql:1:1: canceling statement due to lock timeout \\(SQLSTATE 55P03\\)"
t_match "$t_err" "In the way: process $(tail -n 1 "$T_TMP/holder") \\(application \"holder\", user \"postgres\", idle in transaction, in its transaction for [0-9]+ s\\): SELECT pg_backend_pid\\(\\);"
"$HOLDFAST" --config "$T_TMP/holdfast.yaml" migrate up >"$T_TMP/out" 2>&1 &
sleep 0.4
echo 'COMMIT; \q' >&7
exec 7>&-
wait $! "$holder"
t_is "$? $(applied)" '0 1 2' 'it goes on when the lock is free'

t_begin two_at_once_apply_each_file_once
fresh twice
for i in 1 2 3 4 5 6; do file "${i}_x.sql" "CREATE TABLE x$i (); SELECT pg_sleep(0.05);"; done
"$HOLDFAST" migrate up -d "$db" --dir "$d" --stack one >"$T_TMP/one" 2>&1 &
"$HOLDFAST" migrate up -d "$db" --dir "$d" --stack two >"$T_TMP/two" 2>&1
t_is "$?" 0
wait $!
t_is "$? $(cat "$T_TMP/one" "$T_TMP/two" | awk '/^applied +[0-9]+$/ { n += $2 } END { print n }')" '0 6'
file 7_x.sql 'SELECT pg_sleep(60)'
"$HOLDFAST" migrate up -d "$db" --dir "$d" --stack one >/dev/null 2>&1 &
waits_for "SELECT count(*) = 1 FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)' || chr(10)"
configured "dir: $d" 'lock_wait: 100ms'
t_exit 1 "$HOLDFAST" --config "$T_TMP/holdfast.yaml" migrate up
t_match "$t_err" 'error:  another session applies migrations to database "twice"'
t_match "$t_err" 'detail: Server process [0-9]+ .application "holdfast migrate [0-9a-z_]+".: SELECT pg_sleep.60.'
app "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(60)%'" >/dev/null
wait $!
file 7_x.sql 'SELECT 1'
t_exit 0 "$HOLDFAST" --config "$T_TMP/holdfast.yaml" migrate up
rm "$d"/*.sql
"$HOLDFAST" migrate up -d "$db" --dir "$d" --stack one >/dev/null 2>&1 &
t_exit 10 "$HOLDFAST" migrate up -d "$db" --dir "$d" --stack two
wait $!

t_begin an_index_whose_creation_was_killed_is_dropped_and_made_again
fresh index
file 1_a.sql 'CREATE TABLE a (id int); INSERT INTO a SELECT generate_series(1, 1000);'
up 0
file 2_i.sql '-- holdfast: no-transaction' 'INSERT INTO a VALUES (0);' 'CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS "I x" ON ONLY public.a (id);' \
	'INSERT INTO a VALUES (-1)'
psql -XAtqd "$db" <"$T_TMP/hold" >/dev/null 2>&1 &
holder=$!
exec 7>"$T_TMP/hold"
echo "BEGIN; INSERT INTO a VALUES (5000);" >&7
"$HOLDFAST" migrate up -d "$db" --dir "$d" >/dev/null 2>&1 &
victim=$!
waits_for "SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'CREATE UNIQUE%' AND wait_event_type = 'Lock'"
kill -KILL $victim
wait $victim 2>/dev/null
t_is "$(app "SELECT indisvalid FROM pg_index WHERE indexrelid = '\"I x\"'::regclass")" f 'it is left invalid'
t_exit 0 "$HOLDFAST" migrate -d "$db" --dir "$d"
t_match "$t_out" '2_i.sql +unfinished'
"$HOLDFAST" resume >"$T_TMP/out" 2>&1 &
victim=$!
waits_for "SELECT count(*) = 0 FROM pg_stat_activity WHERE query LIKE 'CREATE UNIQUE%' AND wait_event_type = 'Lock'"
echo 'COMMIT; \q' >&7
exec 7>&-
wait $victim
t_is "$? $(applied)" '0 1 2'
wait "$holder"
t_match "$(cat "$T_TMP/out")" '2_i.sql: index public."I x" was left half made; it is dropped and made again'
t_is "$(app "SELECT indisvalid, (SELECT count(*) FROM a WHERE id = 0), (SELECT count(*) FROM a WHERE id = -1) FROM pg_index WHERE indexrelid = '\"I x\"'::regclass")" \
	't|1|1' 'each statement beside it ran once'
file 3_i.sql '-- holdfast: no-transaction' 'INSERT INTO a VALUES (7000);' 'CREATE UNIQUE INDEX CONCURRENTLY again ON a ((id / 2));' 'INSERT INTO a VALUES (1)'
up 1
t_match "$t_err" '3_i.sql:3:1: could not create unique index "again" \(SQLSTATE 23505\)'
t_is "$(app "SELECT to_regclass('again')")" '' 'a failed one leaves no invalid index'
file 3_i.sql '-- holdfast: no-transaction' 'INSERT INTO a VALUES (7001);' 'SELECT 1;'
up 10
t_match "$t_err" 'migration "3_i.sql" was changed where it is applied already'
file 3_i.sql '-- holdfast: no-transaction' 'INSERT INTO a VALUES (7000);' 'CREATE INDEX CONCURRENTLY again ON a ((id / 2));'
up 0
t_is "$(app 'SELECT count(*) FROM a WHERE id = 7000')" 1 'what failed may be corrected, what is done is not repeated'

t_begin killed_at_every_point_and_resumed_each_file_is_applied_once
make_files() {
	file 1_a.sql 'CREATE TABLE log (n int); INSERT INTO log VALUES (1);'
	file 2_b.sql 'INSERT INTO log VALUES (2);'
	file 3_c.sql '-- holdfast: no-transaction' "SET my.setting = '3';" "INSERT INTO log SELECT current_setting('my.setting')::int;" \
		'CREATE INDEX CONCURRENTLY i ON log (n);' "INSERT INTO log SELECT current_setting('my.setting')::int + 1;"
	file 4_d.sql 'INSERT INTO log VALUES (5);'
}
# Every fourth point; with FULL=1 each.
point=0 killed=0 step=${FULL:+1}
step=${step:-4}
fresh killed
make_files
while :; do
	point=$((point + (point ? step : 1)))
	app "DROP TABLE IF EXISTS log, holdfast_migrations"
	HOLDFAST_CRASH_AT=migration:$point "$HOLDFAST" migrate up -d "$db" --dir "$d" >"$T_TMP/out" 2>&1 && break
	killed=$((killed + 1))
	if [ $((point % 2)) -eq 0 ]; then
		"$HOLDFAST" resume >"$T_TMP/out" 2>&1 || t_fail "resumed after point $point" "$(cat "$T_TMP/out")"
	else
		"$HOLDFAST" migrate up -d "$db" --dir "$d" >"$T_TMP/out" 2>&1 || t_fail "begun anew after point $point" "$(cat "$T_TMP/out")"
	fi
	got="$(app "SELECT string_agg(n::text, ' ' ORDER BY n) FROM log") $(app "SELECT count(*) FROM holdfast_migrations WHERE state = 'applied'") \
$(app "SELECT indisvalid FROM pg_index WHERE indexrelid = 'i'::regclass")"
	[ "$got" = '1 2 3 4 5 4 t' ] || t_fail "after point $point" "$got"
done
t_is "$killed" $((12 / step + 1)) points

t_begin a_connection_lost_at_commit_is_answered_by_the_table
fresh lost
file 1_a.sql 'CREATE TABLE a ();'
up 0
file 2_b.sql 'CREATE TABLE b ();'
psql -XAtqd postgres -c "ALTER SYSTEM SET synchronous_standby_names = 'nobody'" -c 'SELECT pg_reload_conf()' >/dev/null
"$HOLDFAST" migrate up -d "$db" --dir "$d" >"$T_TMP/out" 2>&1 &
waits_for "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
psql -XAtqd postgres -c "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'" >/dev/null
wait $!
t_is "$?" 0 'it was committed'
psql -XAtqd postgres -c "ALTER SYSTEM RESET synchronous_standby_names" -c 'SELECT pg_reload_conf()' >/dev/null
t_is "$(applied)" '1 2'
file 3_c.sql 'SELECT pg_sleep(60);'
"$HOLDFAST" migrate up -d "$db" --dir "$d" >"$T_TMP/out" 2>&1 &
waits_for "SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid()"
psql -XAtqd postgres -c "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid()" >/dev/null
wait $!
t_is "$?" 1
t_match "$(cat "$T_TMP/out")" '3_c.sql: connection to the server was lost: FATAL:  terminating connection due to administrator command.*The server was asked again: migration "3_c.sql" is not applied'
t_match "$(applied)" '^1 2$' 'it was not'

t_begin a_thousand_files
fresh many
for ((i = 1; i <= ${FULL:+9}00 + 100; i++)); do
	printf 'CREATE TABLE t%d (id int);' "$i" >"$d/$(printf '%05d_x.sql' "$i")"
done
SECONDS=0
up 0 -q
t_is "$(app 'SELECT count(*) FROM holdfast_migrations')" $((i - 1))
t_is "$((SECONDS > 20))" 0 quickly
