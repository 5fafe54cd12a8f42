#!/usr/bin/env bash
# What the dump refuses before it starts, with the words an operator sees; and pg_dump's patterns.
# shellcheck source-path=SCRIPTDIR/../lib
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/t.sh
. tests/lib/pg.sh

probe=$HOLDFAST_BUILD/tests/integration/dump_probe
retry=1 config=2 refused=3 denied=4

pg_start main
pg_sql 'CREATE ROLE reader LOGIN; CREATE ROLE locked_out NOLOGIN'
pg_sql 'CREATE DATABASE app'
pg_sql "CREATE SCHEMA shop; CREATE TABLE shop.orders (id serial, t text); INSERT INTO shop.orders (t) SELECT 'x' FROM generate_series(1, 10);
	CREATE TABLE shop.order_items (id int); CREATE TABLE shop.\"Orders\" (id int); CREATE TABLE public.orders (id int);
	CREATE TABLE public.notes (id int); CREATE SCHEMA shop2; CREATE TABLE shop2.\"\$money\" (id int);
	SELECT lo_from_bytea(4711, 'bytes')" -d app >/dev/null

t_begin sound_database_is_accepted
t_ok "$probe" -P -d dbname=app
t_is "$t_err" ''

t_begin unreadable_relations_are_named_all_at_once
t_exit $refused "$probe" -P -d 'dbname=app user=reader'
# shellcheck disable=SC2016 # a table is named so
t_is "$t_err" 'error (refused): role "reader" may not read 7 relations of database "app"
detail: Not readable: "shop.orders_id_seq", "shop.orders", "shop.order_items", "shop.Orders", "public.orders", "public.notes", "shop2.$money".
hint: Grant the role pg_read_all_data (PostgreSQL 14 or later), or run as the owner or a superuser.'
t_exit $refused "$probe" -d 'dbname=app user=reader' "$T_TMP/unreadable"

t_begin unreadable_large_objects_are_named
pg_sql 'GRANT pg_read_all_data TO reader'
t_exit $refused "$probe" -P -d 'dbname=app user=reader'
t_is "$t_err" 'error (refused): role "reader" may not read 1 large object
detail: The first one is 4711.
hint: Run as a superuser, or grant SELECT on the large objects to the role.'

t_begin a_role_with_rights_but_no_superuser_dumps_all
pg_sql 'GRANT SELECT ON LARGE OBJECT 4711 TO reader' -d app
t_ok "$probe" -P -d 'dbname=app user=reader'
t_ok "$probe" -d 'dbname=app user=reader' -V 'dbname=app user=postgres'

t_begin row_level_security_is_refused_where_the_role_may_not_bypass_it
pg_sql 'ALTER TABLE shop.orders ENABLE ROW LEVEL SECURITY' -d app
t_exit $refused "$probe" -P -d 'dbname=app user=reader'
t_is "$t_err" "error (refused): row-level security hides rows of 1 table from role \"reader\"
detail: With row-level security: \"shop.orders\".
hint: Run as a superuser or the tables' owner, or give the role the attribute BYPASSRLS."
pg_sql 'ALTER ROLE reader BYPASSRLS'
t_ok "$probe" -P -d 'dbname=app user=reader'
t_ok "$probe" -d 'dbname=app user=reader' -V 'dbname=app user=postgres'

t_begin no_pg_dump_is_refused
t_exit $refused "$probe" -P -b /nonexistent -d dbname=app
t_is "$t_err" 'error (refused): no "pg_dump" of version 15 or newer is installed
detail: There is none in directory "/nonexistent".
hint: Install the package postgresql-client-15 (Debian) or postgresql15 (RPM).'

t_begin an_old_pg_dump_is_refused
mkdir "$T_TMP/old"
printf '#!/bin/sh\necho "pg_dump (PostgreSQL) 12.1"\n' >"$T_TMP/old/pg_dump"
chmod +x "$T_TMP/old/pg_dump"
t_exit $refused "$probe" -P -b "$T_TMP/old" -d dbname=app
t_match "$t_err" "The newest one found is \"$T_TMP/old/pg_dump\", version 12\\."

t_begin a_server_that_is_not_there_may_be_tried_again
t_exit $retry "$probe" -P -d 'host=/nonexistent dbname=app user=u'
t_is "$t_err" 'error (retry): could not connect to server at "/nonexistent" (database "app", user "u"): No such file or directory'

t_begin a_database_that_is_not_there
t_exit 11 "$probe" -P -d 'dbname=nothing'
t_is "$t_err" "error (failed): could not connect to server at \"$PGHOST\" (database \"nothing\", user \"postgres\"): database \"nothing\" does not exist"

t_begin a_role_that_may_not_log_in
t_exit $denied "$probe" -P -d 'dbname=app user=locked_out'
t_match "$t_err" 'role "locked_out" is not permitted to log in'

t_begin an_invalid_connection_string_is_no_place_for_a_password
t_exit $config "$probe" -P -d 'host=x pasword=geheim'
t_nomatch "$t_err" geheim

# --- patterns -----------------------------------------------------------------------------------------------------------------------

# The tables whose rows pg_dump dumps, for the same options.
dumped_by_pg_dump() {
	"$PG_BINDIR/pg_dump" -a "$@" app | sed -nE 's/^COPY ([^ ]+) .*/\1/p' | sort | paste -sd ' '
}
dumped() {
	rm -rf "$T_TMP/patterns"
	"$probe" -d dbname=app "$@" "$T_TMP/patterns" 2>"$T_TMP/patterns.err" || {
		cat "$T_TMP/patterns.err"
		return
	}
	awk -F '|' '$1 == "table" && $2 != "" { q = "\""; n = ($3 ~ /^[a-z_]+$/) ? $3 : q $3 q; print $2 "." n }' "$T_TMP/patterns/report.txt" |
		sort | paste -sd ' '
}

t_begin patterns_choose_what_pg_dump_chooses
while read -r -a options; do
	want=$(dumped_by_pg_dump "${options[@]}")
	t_isnt "$want" '' "${options[*]}: something is chosen"
	t_is "$(dumped "${options[@]}")" "$want" "${options[*]}"
done <<'EOT'
-n shop
-n shop*
-N shop
-N shop?
-t shop.orders
-t shop.*
-t "shop"."Orders"
-t shop.ORDERS
-t orders
-t shop*.*
-t shop2.$money
-t shop.order[s_]*
-T shop.order*
-T *.notes
-n shop -T shop.orders
-N shop -t shop.orders
-n shop -n public
-t shop.orders -t public.notes
-t shop.(orders|order_items)
EOT

t_begin what_patterns_leave_out_is_listed
dumped -n shop -T shop.order_items >/dev/null
t_match "$(cat "$T_TMP/patterns/report.txt")" 'left out\|table\|shop\|order_items\|excluded by --exclude-table' 'excluded table'
t_match "$(cat "$T_TMP/patterns/report.txt")" 'left out\|table\|public\|notes\|not selected by --schema' 'schema that was not selected'
t_match "$(cat "$T_TMP/patterns/report.txt")" 'left out\|large objects\|\|1\|' 'large objects'
t_match "$(cat "$T_TMP/patterns/report.txt")" 'sequence\|shop\|orders_id_seq\|10\|1' 'the sequence of a table goes with it'

t_begin a_pattern_that_matches_nothing_is_refused
t_exit $refused "$probe" -P -t 'shop.nothing*' -d dbname=app
t_match "$t_err" 'no table matches pattern "shop.nothing\*"'

# --- poolers ------------------------------------------------------------------------------------------------------------------------

start_pooler() { # MODE
	pooler_dir=$PG_ROOT/pooler-$1
	pg_as mkdir "$pooler_dir"
	printf '%s\n' '"postgres" ""' >"$pooler_dir/users"
	printf '%s\n' '[databases]' "* = host=$PGHOST port=5432" '[pgbouncer]' 'listen_addr =' "unix_socket_dir = $pooler_dir" 'listen_port = 6432' \
		'auth_type = trust' "auth_file = $pooler_dir/users" "pool_mode = $1" 'ignore_startup_parameters = extra_float_digits' \
		"logfile = $pooler_dir/log" "pidfile = $pooler_dir/pid" >"$pooler_dir/ini"
	pg_as "$(command -v pgbouncer || echo /usr/sbin/pgbouncer)" "$pooler_dir/ini" >/dev/null 2>&1 &
	t_defer eval "kill \"\$(cat '$pooler_dir/pid')\""
	t_wait 20 psql -XAtq -h "$pooler_dir" -p 6432 -d app -c 'SELECT 1'
}

t_begin a_pooler_in_transaction_mode_is_refused
start_pooler transaction
t_exit $refused "$probe" -P -d "host=$pooler_dir port=6432 dbname=app"
t_is "$t_err" 'error (refused): database "app" is reached through a pooler in transaction mode
detail: Two idle connections were given the same server process.  A snapshot or a lock cannot be held through it.
hint: Connect to the server itself, which listens on port 5432.'

t_begin a_pooler_in_session_mode_is_told_and_used
start_pooler session
t_ok "$probe" -P -d "host=$pooler_dir port=6432 dbname=app"
t_match "$t_err" 'event: connected through a pooler in session mode; the server itself listens on port 5432'
t_ok "$probe" -d "host=$pooler_dir port=6432 dbname=app" -V dbname=app
