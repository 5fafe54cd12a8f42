#!/usr/bin/env bash
# What lies around a backup: poolers, TLS, timeouts of sessions, standbys, encodings other than UTF-8.
# shellcheck source-path=SCRIPTDIR/../lib
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/t.sh
probe=$HOLDFAST_BUILD/tests/integration/dump_probe
unset "${!HOLDFAST_@}"
. tests/lib/pg.sh

HOLDFAST=${HOLDFAST:-$PWD/build/holdfast}
export HOLDFAST_STATE_DIR=$T_TMP/state
repository=$T_TMP/repository

locks_held() {
	pg_sql "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
}

pg_start main wal_level=replica max_wal_senders=4
pg_sql 'CREATE DATABASE app'
pg_sql "CREATE TABLE rows (id int PRIMARY KEY, t text); INSERT INTO rows SELECT g, repeat(md5(g::text), 4) FROM generate_series(1, 50000) g;
	CREATE SEQUENCE s; SELECT setval('s', 77); CREATE UNLOGGED TABLE unlogged (a int); INSERT INTO unlogged VALUES (1);
	SELECT lo_from_bytea(5, 'large')" -d app >/dev/null

t_begin a_backup_through_a_pooler_in_transaction_mode_leaves_no_lock_behind
pooler=$PG_ROOT/pooler
pg_as mkdir "$pooler"
printf '%s\n' '"postgres" ""' >"$pooler/users"
printf '%s\n' '[databases]' "* = host=$PGHOST port=5432" '[pgbouncer]' 'listen_addr =' "unix_socket_dir = $pooler" 'listen_port = 6432' \
	'auth_type = trust' "auth_file = $pooler/users" 'pool_mode = transaction' "logfile = $pooler/log" "pidfile = $pooler/pid" >"$pooler/ini"
pg_as "$(command -v pgbouncer || echo /usr/sbin/pgbouncer)" "$pooler/ini" >/dev/null 2>&1 &
t_defer eval "kill \"\$(cat '$pooler/pid')\""
t_wait 20 psql -XAtq -h "$pooler" -p 6432 -d app -c 'SELECT 1'
t_exit 10 "$HOLDFAST" backup --database "host=$pooler port=6432 dbname=app" --repository "$repository"
t_is "$t_err" 'error:  database "app" is reached through a pooler in transaction mode
detail: Two idle connections were given the same server process.  A snapshot or a lock cannot be held through it.
hint:   Connect to the server itself, which listens on port 5432.'
t_is "$(locks_held)" 0 'no backend of the pooler holds the lock of the stack'
t_exit 0 "$HOLDFAST" backup --database dbname=app --repository "$repository"

t_begin the_lock_of_a_stack_outlives_timeouts_of_idle_sessions
pg_sql "ALTER SYSTEM SET idle_session_timeout = '500ms'" && pg_sql 'SELECT pg_reload_conf()' >/dev/null
mkfifo "$T_TMP/holder.in"
PGAPPNAME=holder psql -XAtq -d app -f - <"$T_TMP/holder.in" >/dev/null 2>&1 &
exec 9>"$T_TMP/holder.in"
printf 'BEGIN; LOCK TABLE rows IN ACCESS EXCLUSIVE MODE;\n' >&9
is_locked() { [ "$(pg_sql "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND relation = 'rows'::regclass" -d app)" = 1 ]; }
t_wait 20 is_locked
"$HOLDFAST" backup --database dbname=app --repository "$repository" >"$T_TMP/idle.log" 2>&1 &
backup=$!
waits_long() {
	[ "$(pg_sql "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'holdfast dump' AND wait_event_type = 'Lock'
		AND clock_timestamp() - state_change > '1500ms'")" = 1 ]
}
t_wait 30 waits_long
t_is "$(locks_held)" 1 'it is held by a session that has been idle for longer than the timeout'
printf 'COMMIT;\n' >&9
exec 9>&-
t_ok wait "$backup"
pg_sql 'ALTER SYSTEM RESET idle_session_timeout' && pg_sql 'SELECT pg_reload_conf()' >/dev/null

t_begin a_standby_is_backed_up_and_unlogged_tables_are_listed
pg_as mkdir -p "$PG_ROOT/standby"
pg_as "$PG_BINDIR/pg_basebackup" -D "$PG_ROOT/standby/data" -h "$PGHOST" -U postgres -X stream -R -c fast >/dev/null 2>&1
printf '%s\n' "unix_socket_directories = '$PG_ROOT/standby'" >>"$PG_ROOT/standby/data/postgresql.conf"
pg_start standby
t_is "$(pg_sql 'SELECT pg_is_in_recovery()')" t
t_exit 0 "$HOLDFAST" --stack standby backup --database dbname=app --repository "$repository"
t_match "$t_err" 'the server is a standby: unlogged tables are left out'
t_exit 0 "$HOLDFAST" --stack standby show latest --repository "$repository"
t_match "$t_out" 'public\.rows +50,000'
t_match "$t_out" 'unlogged.*cannot be read on a standby'
pg_stop standby immediate
pg_use main

t_begin a_connection_under_tls_brings_the_same_rows
openssl req -new -x509 -nodes -days 2 -subj /CN=localhost -newkey rsa:2048 -keyout "$PG_ROOT/main/data/server.key" \
	-out "$PG_ROOT/main/data/server.crt" 2>/dev/null
chmod 600 "$PG_ROOT/main/data/server.key"
[ "$(id -u)" -ne 0 ] || chown postgres: "$PG_ROOT"/main/data/server.*
pg_stop main
pg_start main ssl=on listen_addresses=127.0.0.1 port=$((20000 + $$ % 20000))
export PGPORT=$((20000 + $$ % 20000))
t_ok "$probe" -j 3 -p 1000000 -d "host=127.0.0.1 dbname=app sslmode=require" -V dbname=app "$T_TMP/tls"
t_match "$t_out" 'tables are equal'

t_begin a_message_in_another_encoding_is_journaled
pg_sql "CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
mkfifo "$T_TMP/latin.in"
PGCLIENTENCODING=LATIN1 psql -XAtq -d latin -f - <"$T_TMP/latin.in" >/dev/null 2>&1 &
exec 9>"$T_TMP/latin.in"
printf 'CREATE TABLE "gr\xfc\xdfe" (a int); BEGIN; LOCK TABLE "gr\xfc\xdfe";\n' >&9
is_latin_locked() { [ "$(pg_sql "SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = relation WHERE mode = 'AccessExclusiveLock' AND granted AND relkind = 'r' AND c.oid > 16383" -d latin)" = 1 ]; }
t_wait 20 is_latin_locked
t_exit 1 "$HOLDFAST" --output json backup --database dbname=latin --repository "$repository" --lock-wait 100ms
t_match "$(cat "$HOLDFAST_STATE_DIR"/runs/*/journal)" 'could not lock table .{1,2}public\.gr.{1,12}e.{1,2} within 100 ms' 'in the journal'
exec 9>&-

t_begin databases_of_other_encodings_come_back
# encoding, table, column, value: as bytes of that encoding
while read -r encoding table column value; do
	name=$(printf %b "$table")
	db=e_${encoding,,}
	pg_sql "CREATE DATABASE $db ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
	PGCLIENTENCODING=$encoding psql -XAtq -v ON_ERROR_STOP=1 -d "$db" -c "CREATE TABLE \"$name\" (\"$(printf %b "$column")\" text PRIMARY KEY, n text);
		INSERT INTO \"$name\" VALUES ('$(printf %b "$value")', NULL), (E'a\\\\b\\n', ''); COMMENT ON TABLE \"$name\" IS '$name'"
	before=$(psql -XAtq -d "$db" -c "SET client_encoding = '$encoding'; TABLE \"$name\"" | od -An -tx1)
	t_isnt "$before" '' "$encoding: something is there"
	t_exit 0 "$HOLDFAST" backup --database "dbname=$db" --repository "$repository"
	pg_sql "DROP DATABASE $db"
	t_exit 0 "$HOLDFAST" restore latest --database "dbname=$db" --repository "$repository" --yes
	t_is "$(PGCLIENTENCODING=$encoding psql -XAtq -d "$db" -c "TABLE \"$name\"" | od -An -tx1)" "$before" "$encoding: rows"
	t_is "$(PGCLIENTENCODING=$encoding psql -XAtq -d "$db" -c "SELECT relname = obj_description(oid, 'pg_class') FROM pg_class WHERE relkind = 'r' AND relnamespace = 2200")" t \
		"$encoding: comment"
	t_exit 0 "$HOLDFAST" verify latest --stack "$db" --repository "$repository" --output json
done <<'LIST'
LATIN1 gr\xfc\xdfe \xe4 \xf6\xff
SQL_ASCII \xff\xfe \xe4 \x80\x81
EUC_JP \xc6\xfc\xcb\xdc \xcc\xbe \xc1\xb0
LIST
