#!/usr/bin/env bash
# docs/examples/dbos: a real upgrade of DBOS, 4.9.11 to 5.3.0, under a workflow that is half done: it goes on where it was.  Rolled back later
# it does so, too, from the copy and from the set.  FULL=1: also killed while the schema moves.
# shellcheck source=dbos_lib.sh
. "$(dirname "$0")/dbos_lib.sh"
dbos_install
dbos_half

t_begin an_open_transaction_is_in_the_way
coproc blocker { PGPASSWORD=$owner_password psql -XAtq -U dbos_owner -d dbos; }
printf "%s\n" "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM dbos.workflow_status;" >&"${blocker[1]}"
old() {
	[ "$(pg_sql "SELECT count(*) FROM pg_stat_activity WHERE datname = 'dbos' AND now() - xact_start > '1s'")" = 1 ]
}
t_wait 10 old
t_exit 10 holdfast upgrade 5.3.0 --accept-major
t_match "$t_err" 'cannot upgrade to version "5\.3\.0": 1 thing stands in the way'
t_match "$t_err" 'Process [0-9]+ \(user "dbos_owner", application "psql", idle in transaction\) has had a transaction open for'
t_is "$(dbos_world)" '4.9.11 4.9.11 33' "nothing was touched"
printf '%s\n' 'ROLLBACK;' '\q' >&"${blocker[1]}"
wait "${blocker_PID:-}" 2>/dev/null

t_begin an_upgrade_under_a_half_done_workflow
t_exit 10 holdfast upgrade 5.3.0
t_exit 0 holdfast upgrade 5.3.0 --accept-major --dry-run
t_exit 0 holdfast upgrade 5.3.0 --accept-major
t_exit 0 holdfast status "$(newest_run)"
dbos_is 5.3.0
t_is "$(sed -n 2p "$stack_dir/.env")" 'APP_VERSION=5.3.0   # pinned' "the pin, and nothing else in its line"

t_begin no_password_is_in_an_argument
t_is "$(grep -c "^/bin/sh .*/5\.3\.0/.*/dbos schema -r dbos_app" "$T_TMP/argv")" 1 "the arguments of dbos were seen"
dbos_no_password_is_in "$T_TMP/argv"

t_begin old_code_is_not_started_on_the_new_schema
t_exit 0 holdfast gate --stack orders
t_is "$t_out" 'version "5.3.0" may start'
t_exit 10 holdfast gate 4.9.11 --stack orders
t_match "$t_err" 'version "4\.9\.11" must not start: the schema has version "123", which is newer than it knows'
"$dbos/stop.sh" "$stack_dir"
sed -i 's/^APP_VERSION=5\.3\.0/APP_VERSION=4.9.11/' "$stack_dir/.env"
t_exit 10 "$T_TMP/start"
t_exit 3 "$STACKS/lib/status.sh" "$stack_dir" app
sed -i 's/^APP_VERSION=4\.9\.11/APP_VERSION=5.3.0/' "$stack_dir/.env"
t_exit 0 "$T_TMP/start"

t_begin a_rollback_loses_nothing_unasked
t_exit 10 holdfast rollback --dry-run
t_exit 10 holdfast rollback --yes
t_match "$t_err" 'workflow_status'
t_is "$(dbos_world)" '5.3.0 5.3.0 123' "the new version serves on"
t_exit 0 holdfast rollback --yes --discard-new-writes
dbos_is 4.9.11
t_exit 0 holdfast drop-old "$(pg_sql "SELECT datname FROM pg_database WHERE datname LIKE 'dbos\_upgraded\_%'")" --yes

t_begin a_rollback_from_the_set
dbos_configure -e 's|put_back: copy|put_back: restore|'
t_exit 0 holdfast upgrade 5.3.0 --accept-major
dbos_is 5.3.0 4.9.11
t_exit 0 stack_post "$base/workflows/later" '{"steps": 1}'
t_exit 0 stack_post "$base/wait/later"
t_exit 0 holdfast rollback --yes --save-new-writes "$T_TMP/new.sql"
t_match "$(<"$T_TMP/new.sql")" 'later' "the workflow that was begun since is in the file"
dbos_is 4.9.11
t_is "$(dbos_sql 'SELECT count(*) FROM pg_default_acl')" "$(PGDATABASE=$(pg_sql "SELECT datname FROM pg_database WHERE datname LIKE 'dbos\_upgraded\_%' ORDER BY oid DESC LIMIT 1") pg_sql 'SELECT count(*) FROM pg_default_acl')" \
	"privileges of tables to come are there, too"

t_begin a_transaction_that_blocks_the_migration
dbos_configure -e "s|put_back: copy|put_back: restore|; s|lock_timeout=30s|lock_timeout=500ms|; s|max_transaction_age: 1s|max_transaction_age: 1m|"
coproc blocker { PGPASSWORD=$app_password psql -XAtq -U dbos_app -d dbos; }
printf "%s\n" "BEGIN; SELECT count(*) FROM dbos.workflow_status;" >&"${blocker[1]}"
read -r _ <&"${blocker[0]}"
t_exit 7 holdfast upgrade 5.3.0 --accept-major
t_match "$t_err" 'migrate_command: failed'
t_is "$(grep -c "canceling statement due to lock timeout" "$T_TMP/state/runs/$(newest_run)/migrate_command.log" | sed "s,[1-9].*,told,")" told "the reason is in its log"
kill "${blocker_PID:-}" 2>/dev/null
wait "${blocker_PID:-}" 2>/dev/null
dbos_is 4.9.11
t_is "$(pg_sql "SELECT count(*) FROM pg_stat_activity WHERE usename = 'dbos_owner'")" 0 "no session of the migration is left"

t_begin a_restore
t_exit 0 holdfast list
set=$(holdfast list --output json | jq -r "[.sets[].id] | min")
t_exit 0 holdfast restore "$set" --dry-run
t_exit 0 holdfast restore "$set" --yes
dbos_is 4.9.11

t_begin killed_and_gone_on_with
HOLDFAST_CRASH_AT=journal:40 t_run holdfast upgrade 5.3.0 --accept-major
t_is "$t_status" 137 "it was killed"
t_exit 0 holdfast runs
t_exit 0 holdfast resume "$(newest_run)"
dbos_is 5.3.0 4.9.11
t_exit 0 holdfast rollback "$(newest_run)" --yes
dbos_is 4.9.11

t_begin the_runbook
book_is_run "$examples/README.md" Upgrade "When an upgrade fails" "Rolling back later" Restore

t_begin no_password_is_anywhere
dbos_no_password_is_in "$T_TMP/state" "$T_TMP/repository" "$T_TMP/argv"
