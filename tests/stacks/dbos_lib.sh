# shellcheck shell=bash
# What the tests of DBOS have in common: docs/examples/dbos as it stands, its paths, port and systemd's commands replaced.  Source it, then
#
#	dbos_install            4.9.11 in service, with one finished workflow, "done"; sets $base and $owner_url
#	dbos_configure [SED…]   the example's configuration as $T_TMP/holdfast.yaml, further changed
#	dbos_half               begins workflow "half", of which one step is done and the second never comes while this process lives
#	dbos_world              "PIN VERSION SCHEMA": what is pinned, what serves, and the schema it serves on
#	dbos_is VERSION [BY]    asserts that this version serves, entirely; half was finished by version BY (default: VERSION), nothing twice
#	dbos_sql SQL            in the application's database, as superuser
#	newest_run
#
# The arguments of all processes that Holdfast has started and that run beside "dbos schema" or the start script are added to $T_TMP/argv.
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source=lib/book.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/book.sh"

dbos=$STACKS/dbos
examples=$(realpath -- "$STACKS/../../docs/examples/dbos")
owner_password="o'wn\$er-7" app_password='a"pp%pass-9'
base='' owner_url='' port=''
declare -A dbos_schema=([4.9.11]=33 [5.3.0]=123)

# In place of /srv/orders/bin/fetch: a directory for the version, whose dbos is the real one.
dbos_write_programs() {
	mkdir -p "$stack_dir/bin" "$T_TMP/etc"
	cat >"$T_TMP/note-argv" <<-'BASH'
		#!/usr/bin/env bash
		for environ in $(grep -lsz "^T_TMP=$T_TMP\$" /proc/[0-9]*/environ); do tr "\0" " " <"${environ%environ}cmdline"; echo; done 2>/dev/null >>"$T_TMP/argv"
	BASH
	cat >"$stack_dir/bin/fetch" <<-BASH
		#!/usr/bin/env bash
		set -e
		"$STACKS/lib/pull.sh" "$npm_cache" "dbos-\$1"
		bin=$stack_dir/releases/\$1/node_modules/.bin
		mkdir -p "\$bin"
		printf '#!/bin/sh\n"%s" "\$@"\nexec "%s" "\$@"\n' "$T_TMP/note-argv" "$npm_cache/dbos-\$1/node_modules/.bin/dbos" >"\$bin/dbos.new"
		chmod +x "\$bin/dbos.new"
		mv "\$bin/dbos.new" "\$bin/dbos"
	BASH
	# As in orders.service: what the gate refuses is not started.
	cat >"$T_TMP/start" <<-BASH
		#!/usr/bin/env bash
		unset HOLDFAST_CRASH_AT
		"$T_TMP/note-argv"
		"$HOLDFAST" --config "$T_TMP/holdfast.yaml" gate --quiet --stack orders || exit
		exec "$dbos/start.sh" "$stack_dir"
	BASH
	chmod +x "$T_TMP/note-argv" "$stack_dir/bin/fetch" "$T_TMP/start"
}

# shellcheck disable=SC2120 # its arguments are optional
dbos_configure() {
	sed -e "s|/etc/holdfast/dbos|$T_TMP/etc|; s|/srv/orders|$stack_dir|g; s|file:///var/backups/holdfast|$T_TMP/repository|" \
		-e "s|127.0.0.1:3000|127.0.0.1:$port|; s|host=127.0.0.1 port=5432|host=$PGHOST|; s|max_transaction_age: 1m|max_transaction_age: 1s|" \
		-e "s|\[systemctl, stop, orders\]|[$dbos/stop.sh, $stack_dir]|; s|\[systemctl, start, orders\]|[$T_TMP/start]|" \
		-e "s|\[systemctl, is-active, --quiet, orders\]|[$STACKS/lib/status.sh, $stack_dir, app]|" \
		"$@" "$examples/holdfast.yaml" >"$T_TMP/holdfast.yaml"
}

dbos_install() {
	npm_or_skip
	stack_holdfast
	stack_server main || exit 1
	psql -XAtq -v ON_ERROR_STOP=1 -v owner_password="$owner_password" -v app_password="$app_password" -f "$dbos/setup.sql" || exit 1
	# as README.md of the example says
	pg_sql 'ALTER ROLE dbos_owner CREATEDB CREATEROLE; GRANT pg_monitor, pg_signal_backend TO dbos_owner' || exit 1
	stack_dir dbos orders
	port=$(stack_port)
	base=http://127.0.0.1:$port
	dbos_write_programs
	"$stack_dir/bin/fetch" 4.9.11 || exit 1
	printf '%s\n' '# settings' 'APP_VERSION=4.9.11   # pinned' APP_NAME=orders "PACKAGES=$npm_cache" "PORT=$port" >"$stack_dir/.env"
	stack_set DATABASE_URL "$(stack_url dbos_app dbos)"
	stack_set PGPASSWORD "$app_password"
	cp "$examples/dbos-config.yaml" "$examples/rotate-role-password.yaml" "$T_TMP/etc/"
	owner_url=$(stack_url dbos_owner "$owner_password" dbos)
	printf '%s\n' "$owner_url" >"$T_TMP/etc/owner-url"
	chmod 600 "$T_TMP/etc/owner-url"
	# shellcheck disable=SC2119
	dbos_configure
	(cd "$T_TMP/etc" && DBOS_SYSTEM_DATABASE_URL=$owner_url "$stack_dir/releases/4.9.11/node_modules/.bin/dbos" schema -r dbos_app) \
		>"$T_TMP/schema.log" 2>&1 || exit 1
	"$T_TMP/start" || exit 1
	stack_post "$base/workflows/done" '{"steps": 3}' >/dev/null
	stack_post "$base/wait/done" >/dev/null
}

dbos_half() {
	stack_post "$base/workflows/half" '{"steps": 3, "hold_after": 1}' >/dev/null
}

dbos_world() {
	printf '%s ' "$(stack_value APP_VERSION)"
	stack_get "$base/health" | jq -r '"\(.version) \(.schema)"'
}

dbos_sql() {
	PGDATABASE=dbos pg_sql "$1"
}

dbos_is() {
	local by=${2:-$1}
	t_is "$(dbos_world)" "$1 $1 ${dbos_schema[$1]}" "version $1 is pinned and serves, on its schema"
	t_is "$(stack_post "$base/wait/half" | jq .output)" 6 "the open workflow is finished"
	t_is "$(stack_get "$base/steps" | grep ^half)" "half 1 1 4.9.11"$'\n'"half 2 1 $by"$'\n'"half 3 1 $by" "no step was repeated"
	t_is "$(stack_get "$base/workflows")" $'done SUCCESS 6\nhalf SUCCESS 6' "all workflows are there"
}

newest_run() {
	holdfast runs --output json | jq -r '.runs[0].id'
}

dbos_no_password_is_in() { # FILE-OR-DIRECTORY…
	local password
	t_is "$(for password in "$owner_password" "$app_password"; do
		grep -rlF -e "$password" -e "$(stack_encode "$password")" -- "$@"
	done)" '' "no password is in ${*##*/}"
}
