#!/usr/bin/env bash
# The upgrade of docs/examples/dbos, killed before and after records of its journal, then resumed, resumed after another kill, rolled back or
# abandoned: the new version serves, entirely, or the old one does, and the workflow that was open is finished, no step of it twice.
# Six points; FULL=1: before and after every record (with START=37 LAST=60, of these).
# shellcheck source=dbos_lib.sh
. "$(dirname "$0")/dbos_lib.sh"
dbos_install
"$stack_dir/bin/fetch" 5.3.0 || exit 1
"$dbos/stop.sh" "$stack_dir"
pg_sql 'CREATE DATABASE untouched TEMPLATE dbos' || exit 1

# 4.9.11 in service with an open workflow, as if nothing had been.
prepare() {
	local database
	"$dbos/stop.sh" "$stack_dir"
	for database in $(pg_sql "SELECT datname FROM pg_database WHERE datname ~ '^dbos'"); do
		pg_sql "DROP DATABASE $database WITH (FORCE)"
	done
	psql -XAtq -v ON_ERROR_STOP=1 -c 'CREATE DATABASE dbos OWNER dbos_owner TEMPLATE untouched' -c 'REVOKE ALL ON DATABASE dbos FROM PUBLIC' \
		-c 'GRANT CONNECT ON DATABASE dbos TO dbos_app' || return 1
	sed -i 's/^APP_VERSION=[0-9.]*/APP_VERSION=4.9.11/' "$stack_dir/.env"
	"$T_TMP/start" && dbos_half
	before=$(pid)
}

upgrade() { # [POINT]
	env ${1:+HOLDFAST_CRASH_AT=$1} "$HOLDFAST" --config "$T_TMP/holdfast.yaml" upgrade 5.3.0 --accept-major >"$T_TMP/out" 2>&1 </dev/null
}

pid() {
	"$STACKS/lib/status.sh" "$stack_dir" app
}

# What there is: one line for each thing that must agree.
whole() {
	local version=$1
	# the process that holds the workflow was never stopped, and will not let go of it
	if [ "$(pid)" = "$before" ]; then
		"$dbos/stop.sh" "$stack_dir" && "$T_TMP/start"
	fi
	stack_post "$base/wait/half" >/dev/null
	printf '%s\n' "$(dbos_world)" "$(stack_get "$base/workflows" | paste -sd,)" "$(stack_get "$base/steps" | grep ^half | cut -d' ' -f1-3 | paste -sd,)"
	pg_sql "SELECT 'limit ' || datconnlimit || ', allowed ' || datallowconn FROM pg_database WHERE datname = 'dbos'"
	pg_sql "SELECT 'sessions of the owner: ' || count(*) FROM pg_stat_activity WHERE usename = 'dbos_owner'"
	printf 'open runs: %s\n' "$(holdfast runs --output json | jq '[.runs[] | select(.is_resumable)] | length')"
	grep -c "^APP_VERSION=$version   # pinned\$" "$stack_dir/.env"
}
whole_of() {
	printf '%s\n' "$1 $1 ${dbos_schema[$1]}" 'done SUCCESS 6,half SUCCESS 6' 'half 1 1,half 2 1,half 3 1' 'limit -1, allowed true' \
		'sessions of the owner: 0' 'open runs: 0' 1
}

# At the kill: nothing is pinned before its schema is there.
pinned_too_early() {
	[ "$(stack_value APP_VERSION)" = 5.3.0 ] && [ "$(dbos_sql 'SELECT version FROM dbos.dbos_migrations')" != 123 ]
}

# After the kill at POINT, by WAY; sets $end to the version that must be in service
end=''
bring_to_an_end() {
	end=5.3.0
	[ "$(holdfast runs --output json | jq '[.runs[] | select(.is_resumable)] | length')" -gt 0 ] || {
		t_run upgrade # it had not begun, or was over
		return
	}
	case $1 in
	resume) t_run holdfast resume ;;
	again)
		t_run env HOLDFAST_CRASH_AT=record:$((1 + RANDOM % 25)) "$HOLDFAST" --config "$T_TMP/holdfast.yaml" resume
		[ "$t_status" -ne 137 ] || t_run holdfast resume
		;;
	rollback | abandon)
		end=4.9.11
		t_run holdfast "$1" "$(newest_run)" --yes
		# the new version may have served already, and gone on with the workflow
		if [ "$t_status" -eq 10 ] && [[ $t_err == *'were written since the upgrade'* ]]; then
			t_run holdfast rollback "$(newest_run)" --yes --discard-new-writes
		fi
		;;
	esac
}

# 1: it was over before that point
try() { # POINT WAY
	local status early=no
	prepare || t_fail "prepare"
	{ upgrade "$1"; } 2>/dev/null
	status=$?
	[ "$status" -eq 137 ] || return 1
	pinned_too_early && early=yes
	bring_to_an_end "$2"
	t_is "$early $(whole "$end")" "no $(whole_of "$end")" "$1, then $2: $end"
	[ "$t_status" -eq 0 ] || t_fail "$1, then $2: exit status $t_status" "$t_err"
}

t_begin undisturbed
prepare || exit 1
t_exit 0 upgrade
t_is "$(whole 5.3.0)" "$(whole_of 5.3.0)" "the new version"
points=$(find "$T_TMP/state/runs/$(newest_run)" -name journal -exec cat {} + | wc -l)
t_is "$((points > 60))" 1 "its journals have many records: $points"

t_begin killed
ways=(resume rollback again abandon)
if [ -n "${FULL:-}" ]; then
	for ((n = ${START:-1}; n <= ${LAST:-1000000}; n++)); do
		try "record:$n" "${ways[n % 4]}" || break
		try "journal:$n" "${ways[(n + 1 + n / 4) % 4]}" || break
	done
	t_is "$((n > ${LAST:-60}))" 1 "killed at $n records"
else
	kinds=(record journal)
	for ((i = 1; i <= 6; i++)); do
		try "${kinds[i % 2]}:$((points * (2 * i - 1) / 12 + RANDOM % (points / 8)))" "${ways[i % 4]}" || t_fail "it was not killed"
	done
fi

t_begin killed_while_the_migration_waits_for_a_lock
dbos_configure -e "s|put_back: copy|put_back: restore|; s|max_transaction_age: 1s|max_transaction_age: 1m|"
prepare
coproc blocker { PGPASSWORD=$app_password psql -XAtq -U dbos_app -d dbos; }
printf "%s\n" "BEGIN; SELECT count(*) FROM dbos.workflow_status;" >&"${blocker[1]}"
read -r _ <&"${blocker[0]}"
"$HOLDFAST" --config "$T_TMP/holdfast.yaml" upgrade 5.3.0 --accept-major >"$T_TMP/out" 2>&1 </dev/null &
victim=$!
waits() {
	[ "$(pg_sql "SELECT count(*) FROM pg_stat_activity WHERE usename = 'dbos_owner' AND wait_event_type = 'Lock'")" = 1 ]
}
t_wait 30 waits
kill -KILL "$victim"
wait "$victim" 2>/dev/null
t_is "$?" 137 "it was killed"
t_is "$(dbos_sql "SELECT version > 33 AND version < 123 FROM dbos.dbos_migrations")" t "the schema is neither"
t_exit 10 holdfast upgrade 5.3.0 --accept-major
t_exit 0 holdfast rollback "$(newest_run)" --yes
kill "${blocker_PID:-}" 2>/dev/null
wait "${blocker_PID:-}" 2>/dev/null
t_is "$(whole 4.9.11)" "$(whole_of 4.9.11)" "the old version"

t_begin no_password_is_anywhere
dbos_no_password_is_in "$T_TMP/state" "$T_TMP/repository" "$T_TMP/argv"
