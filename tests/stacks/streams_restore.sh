#!/usr/bin/env bash
# docs/examples/durable-streams: a set of database and streams that belong together, and its restore: no offset is ahead of its stream.  A
# logical slot that is used is refused; one that is not is told, and made anew by its consumer.
# shellcheck source=streams_lib.sh
. "$(dirname "$0")/streams_lib.sh"
streams_install 0.3.2 wal_level=logical
client append orders 3
client append events 2
consume
at_backup=$(tails)

t_begin a_set_of_both
t_exit 0 holdfast run backup-together
t_is "$(version)" 0.3.2 "the server runs again"
client append orders 4
consume
now=$(tails)

t_begin a_server_that_cannot_be_backed_up_is_started_again
mv "$T_TMP/repository" "$T_TMP/elsewhere"
touch "$T_TMP/repository"
t_run holdfast run backup-together
t_isnt "$t_status" 0 "it fails"
t_is "$(version)" 0.3.2 "the server runs again"
rm "$T_TMP/repository"
mv "$T_TMP/elsewhere" "$T_TMP/repository"

t_begin a_slot_in_use
PGDATABASE=sync pg_sql "SELECT pg_create_logical_replication_slot('electric_slot_default', 'pgoutput')" >/dev/null
PGDATABASE=sync pg_sql "CREATE PUBLICATION shapes FOR TABLE sync.offsets"
"${PG_BINDIR:-/usr/lib/postgresql/15/bin}/pg_recvlogical" -d "host=$PGHOST user=postgres dbname=sync" -S electric_slot_default --start -f - \
	-o proto_version=1 -o publication_names=shapes --no-loop >/dev/null 2>&1 &
consumer=$!
in_use() {
	[ "$(pg_sql "SELECT active FROM pg_replication_slots")" = "$1" ]
}
t_wait 10 in_use t
t_run holdfast run restore-together
t_match "$t_status $t_err" '^7 .*Logical replication slot "electric_slot_default" of database "sync" is in use by process [0-9]+'
t_is "$(version) $(tails)" "0.3.2 $now" "nothing was changed, and the server runs"
t_is "$(offsets)" "$now"
t_is "$(ls "$stack_dir/clients")" "$stack_dir/clients" "the clients run"
kill "$consumer"
wait "$consumer" 2>/dev/null
t_wait 10 in_use f

t_begin an_offset_ahead_of_its_stream_is_not_served
cp "$T_TMP/holdfast.yaml" "$T_TMP/as-it-was.yaml"
sed -i "s|SELECT stream, ds_offset FROM|SELECT stream, '9' \|\| ds_offset FROM|" "$T_TMP/holdfast.yaml"
t_exit 7 holdfast run restore-together
t_match "$t_err" 'offsets_within_tails: failed.*orders'
t_is "$(tails) $(offsets)" "$now $now" "both are as they were"
mv "$T_TMP/as-it-was.yaml" "$T_TMP/holdfast.yaml"

t_begin both_are_restored
t_exit 0 holdfast list
set=$(holdfast list --output json | jq -r "[.sets[].id] | min")
t_exit 0 holdfast run restore-together -p backup="$set" --dry-run
HOLDFAST_CRASH_AT=journal:22 t_run holdfast run restore-together -p backup="$set"
t_is "$t_status" 137 "it was killed"
t_match "$t_err" 'logical replication slot "electric_slot_default" \(pgoutput\) stays with the old database|logical replication slot "electric_slot_default"' "the slot is told"
t_exit 0 holdfast resume
t_is "$(tails)" "$at_backup" "the streams of the set"
t_is "$(offsets)" "$at_backup" "and its offsets: none is ahead"
t_is "$(client read orders | wc -l)" 3 "so are the messages"
t_is "$(pg_sql 'SELECT count(*) FROM pg_replication_slots')" 0 "the slot is gone: its consumer makes a new one"
t_is "$(ls "$stack_dir/clients")" "$stack_dir/clients" "the clients run"

t_begin the_runbook
book_is_run "$examples/README.md" Backup Restore
