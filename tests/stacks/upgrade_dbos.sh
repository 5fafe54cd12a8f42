#!/usr/bin/env bash
# A real upgrade of DBOS, 4.9.11 to 5.3.0, under a workflow that is half done: it goes on where it was.  Rolled back later it does so, too.
# shellcheck source=lib/common.sh
. "$(dirname "$0")/lib/common.sh"
npm_or_skip
stack_holdfast

dbos=$STACKS/dbos
stack_npm dbos-4.9.11 || exit 1
stack_server main || exit 1
owner_password="o'wn\$er"
psql -XAtq -v ON_ERROR_STOP=1 -v owner_password="$owner_password" -v app_password=app -f "$dbos/setup.sql" || exit 1
stack_dir dbos app
port=$(stack_port)
base=http://127.0.0.1:$port
ADMIN_URL=$(stack_url dbos_owner "$owner_password" dbos)
DATABASE_URL=$(stack_url dbos_app app dbos)
export ADMIN_URL DATABASE_URL
printf '%s\n' APP_VERSION=4.9.11 APP_NAME=orders "PACKAGES=$npm_cache" "PORT=$port" "DATABASE_URL='$DATABASE_URL'" >"$stack_dir/.env"

cat >"$T_TMP/holdfast.yaml" <<YAML
version: 1
repositories:
  local: { url: $T_TMP/repository }
stacks:
  orders:
    database: { url: "env:DATABASE_URL", admin_url: "env:ADMIN_URL" }
    repositories: [local]
    version: { env_file: $stack_dir/.env, key: APP_VERSION }
    services:
      stop: [$dbos/stop.sh, $stack_dir]
      start: [$dbos/start.sh, $stack_dir]
      check: [$STACKS/lib/status.sh, $stack_dir, app]
    migrations:
      command: [$dbos/migrate.sh, $npm_cache, "\${version}", "$(stack_url dbos_owner dbos)", dbos_app]
      version_query: SELECT version FROM dbos.dbos_migrations
    health: { url: "$base/health", expect: { status: ok, database: ok }, version_path: version }
    upgrade:
      pull: [$STACKS/lib/pull.sh, $npm_cache, "dbos-\${version}"]
      put_back: copy
      max_transaction_age: 1s
YAML
health() {
	stack_get "$base/health" | jq -c '[.version, .schema]'
}

PGPASSWORD=$owner_password "$dbos/migrate.sh" "$npm_cache" 4.9.11 "$(stack_url dbos_owner dbos)" dbos_app >/dev/null || exit 1
"$dbos/start.sh" "$stack_dir" || exit 1
stack_post "$base/workflows/done" '{"steps": 3}' >/dev/null
stack_post "$base/wait/done" >/dev/null
stack_post "$base/workflows/half" '{"steps": 3, "hold_after": 1}' >/dev/null

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
t_is "$(health)" '["4.9.11",33]' "nothing was touched"
printf '%s\n' 'ROLLBACK;' '\q' >&"${blocker[1]}"
wait "${blocker_PID:-}" 2>/dev/null

t_begin an_upgrade_under_a_half_done_workflow
t_exit 10 holdfast upgrade 5.3.0
t_ok holdfast upgrade 5.3.0 --accept-major
t_is "$(health)" '["5.3.0",123]' "the new version serves"
t_is "$(stack_post "$base/wait/half" | jq .output)" 6 "the workflow is finished"
t_is "$(stack_get "$base/steps" | grep ^half)" $'half 1 1 4.9.11\nhalf 2 1 5.3.0\nhalf 3 1 5.3.0' "no step was repeated"
t_is "$(stack_get "$base/workflows")" $'done SUCCESS 6\nhalf SUCCESS 6' "all workflows are there"

t_begin a_rollback_does_not_lose_what_was_written_since
t_exit 10 holdfast rollback --stack orders --yes
t_match "$t_err" 'workflow_status'
t_is "$(health)" '["5.3.0",123]' "the new version serves on"

t_begin a_rollback_that_may
t_ok holdfast rollback --stack orders --discard-new-writes --yes
t_is "$(health)" '["4.9.11",33]' "the old version serves"
t_is "$(grep APP_VERSION "$stack_dir/.env")" APP_VERSION=4.9.11 "the pin"
t_is "$(stack_post "$base/wait/half" | jq .output)" 6 "the old code finishes the workflow"
t_is "$(stack_get "$base/steps" | grep ^half)" $'half 1 1 4.9.11\nhalf 2 1 4.9.11\nhalf 3 1 4.9.11' "no step was repeated"

t_begin killed_while_the_schema_moves
"$HOLDFAST" --config "$T_TMP/holdfast.yaml" upgrade 5.3.0 --accept-major >"$T_TMP/out" 2>&1 &
upgrade=$!
moves() {
	[ "$(PGDATABASE=dbos pg_sql "SELECT version FROM dbos.dbos_migrations")" -gt 33 ]
}
t_wait 30 moves
kill -KILL "$upgrade"
wait "$upgrade" 2>/dev/null
t_is "$?" 137 "it was killed"
t_exit 10 holdfast upgrade 5.3.0 --accept-major
t_ok holdfast resume
t_is "$(health)" '["5.3.0",123]' "the new version serves"
t_is "$(stack_get "$base/workflows")" $'done SUCCESS 6\nhalf SUCCESS 6' "all workflows are there"

t_begin the_password_is_nowhere
t_is "$(grep -rlF -e "$owner_password" -e "$(stack_encode "$owner_password")" "$T_TMP/state" "$T_TMP/repository")" ''
