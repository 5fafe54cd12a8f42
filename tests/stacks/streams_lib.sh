# shellcheck shell=bash
# What the tests of durable streams have in common: docs/examples/durable-streams as it stands, its paths, ports and systemd's commands replaced.
# Source it, then
#
#	streams_install VERSION [SETTING=VALUE…]    that version in service, a database "sync" whose consumer has no offset yet
#	client append|read|list …       as client.mjs
#	consume                         the consumer notes the tail of every stream
#	tails, offsets, version         what is in service
#	newest_run
#
# The clients of the stack are the marker $stack_dir/clients: there while they would run.
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source=lib/book.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/book.sh"

streams=$STACKS/streams
examples=$(realpath -- "$STACKS/../../docs/examples/durable-streams")
health_url=''

streams_install() {
	local port health_port initial=$1
	shift
	npm_or_skip
	stack_holdfast
	stack_npm "streams-$initial" || exit 1
	stack_server main "$@" || exit 1
	psql -XAtq -v ON_ERROR_STOP=1 -c 'CREATE DATABASE sync' -c '\connect sync' -c 'CREATE SCHEMA sync' \
		-c 'CREATE TABLE sync.offsets (stream text PRIMARY KEY, ds_offset text NOT NULL)' || exit 1
	stack_dir streams app
	port=$(stack_port) health_port=$(stack_port)
	health_url=http://127.0.0.1:$health_port/health
	printf '%s\n' "STREAMS_VERSION=$initial" "PACKAGES=$npm_cache" "DATA_DIR=$stack_dir/data" "PORT=$port" "HEALTH_PORT=$health_port" >"$stack_dir/.env"
	mkdir "$T_TMP/etc" "$stack_dir/bin"
	printf 'postgresql://postgres@/sync?host=%s\n' "$PGHOST" >"$T_TMP/etc/owner-url"
	# shellcheck disable=SC2016 # a parameter of the script
	printf '#!/bin/sh\nexec "%s" "%s" "streams-$1"\n' "$STACKS/lib/pull.sh" "$npm_cache" >"$stack_dir/bin/fetch"
	printf '#!/bin/sh\nexec "%s" "%s"\n' "$streams/list.sh" "$stack_dir" >"$stack_dir/bin/tails"
	chmod +x "$stack_dir/bin/fetch" "$stack_dir/bin/tails"
	cp "$examples"/*.yaml "$T_TMP/etc/"
	sed -e "s|/etc/holdfast/streams|$T_TMP/etc|; s|/srv/streams|$stack_dir|g; s|file:///var/backups/holdfast|$T_TMP/repository|" \
		-e "s|127.0.0.1:4438|127.0.0.1:$health_port|; s|host=/var/run/postgresql|host=$PGHOST|" \
		-e "s|\[systemctl, stop, streams\]|[$streams/stop.sh, $stack_dir]|; s|\[systemctl, start, streams\]|[$streams/start.sh, $stack_dir]|" \
		-e "s|\[systemctl, is-active, --quiet, streams\]|[$STACKS/lib/status.sh, $stack_dir, server]|" \
		-e "s|\[systemctl, stop, sync, electric\]|[rm, -f, $stack_dir/clients]|; s|\[systemctl, start, sync, electric\]|[touch, $stack_dir/clients]|" \
		"$examples/holdfast.yaml" >"$T_TMP/holdfast.yaml"
	"$streams/start.sh" "$stack_dir" || exit 1
	touch "$stack_dir/clients"
}

client() {
	node "$streams/client.mjs" "$stack_dir" "$@"
}

tails() {
	"$stack_dir/bin/tails"
}

offsets() {
	PGDATABASE=sync pg_sql "SELECT stream || ' ' || ds_offset FROM sync.offsets ORDER BY 1"
}

consume() {
	local name offset
	while read -r name offset; do
		PGDATABASE=sync pg_sql "INSERT INTO sync.offsets VALUES ('$name', '$offset') ON CONFLICT (stream) DO UPDATE SET ds_offset = excluded.ds_offset"
	done < <(tails)
}

version() {
	stack_get "$health_url" | jq -r .version
}

newest_run() {
	"$HOLDFAST" --config "$T_TMP/holdfast.yaml" runs --output json | jq -r '.runs[0].id'
}
