#!/usr/bin/env bash
# What the DBOS application does by itself, before anybody upgrades it: the facts that the tests of upgrades stand on.
# shellcheck source=lib/common.sh
. "$(dirname "$0")/lib/common.sh"
npm_or_skip

dbos=$STACKS/dbos
stack_npm dbos-4.9.11 dbos-5.3.0 || exit 1
stack_server main || exit 1
psql -XAtq -v ON_ERROR_STOP=1 -v owner_password="o'wn\$er" -v app_password='a@p/p' -f "$dbos/setup.sql" || exit 1
stack_dir dbos app
port=$(stack_port)
base=http://127.0.0.1:$port
owner_url=$(stack_url dbos_owner dbos)

pin() {
	printf '%s\n' "APP_VERSION=$1" "APP_NAME=orders" "PACKAGES=$npm_cache" "PORT=$port" \
		"DATABASE_URL='$(stack_url dbos_app a@p/p dbos)'" >"$stack_dir/.env"
}
schema() {
	PGDATABASE=dbos pg_sql 'SELECT version FROM dbos.dbos_migrations'
}
is_stopped() {
	! "$STACKS/lib/status.sh" "$stack_dir" app
}
migrate() {
	PGPASSWORD="o'wn\$er" "$dbos/migrate.sh" "$npm_cache" "$1" "$owner_url" dbos_app
}

t_begin schema_is_made_by_the_owner_with_its_password_from_the_environment
t_exit 1 env PGPASSWORD=wrong "$dbos/migrate.sh" "$npm_cache" 4.9.11 "$owner_url" dbos_app
t_match "$t_out$t_err" 'password authentication failed for user "dbos_owner"'
t_ok migrate 4.9.11
t_is "$(schema)" 33 "version of the schema"

t_begin the_old_version_serves
pin 4.9.11
t_ok "$dbos/start.sh" "$stack_dir"
t_is "$(stack_get "$base/health" | jq -c .)" \
	'{"status":"ok","version":"4.9.11","application":"orders","database":"ok","schema":33}' "health"
t_ok "$dbos/start.sh" "$stack_dir"
for i in 1 2 3; do
	stack_post "$base/workflows/done-$i" '{"steps": 3}' >/dev/null
	stack_post "$base/wait/done-$i" >/dev/null
done
t_is "$(stack_get "$base/workflows")" $'done-1 SUCCESS 6\ndone-2 SUCCESS 6\ndone-3 SUCCESS 6' "three workflows"

t_begin a_killed_workflow_stays_pending
t_run stack_post "$base/workflows/half" '{"steps": 3, "kill_after": 1}'
t_wait 10 is_stopped
t_is "$(PGDATABASE=dbos pg_sql "SELECT status FROM dbos.workflow_status WHERE workflow_uuid = 'half'")" PENDING
t_is "$(PGDATABASE=dbos pg_sql "SELECT count(*) FROM app.steps WHERE workflow = 'half'")" 1 "one step was executed"
# the next ones are tried from the same state: as a copy of the database
pg_sql 'CREATE DATABASE dbos_before TEMPLATE dbos OWNER dbos_owner'

t_begin new_code_on_the_old_schema_is_refused
pin 5.3.0
t_exit 1 "$dbos/start.sh" "$stack_dir"
t_match "$t_err" 'is at schema version 33, but this version of DBOS requires 123' "says why"

t_begin the_schema_moves_and_the_workflow_goes_on_where_it_was
# shellcheck disable=SC2016 # no variable
printf '*:*:*:dbos_owner:o'\''wn$er\n' >"$T_TMP/pgpass"
chmod 600 "$T_TMP/pgpass"
t_ok env PGPASSFILE="$T_TMP/pgpass" "$dbos/migrate.sh" "$npm_cache" 5.3.0 "$owner_url" dbos_app
t_is "$(schema)" 123 "version of the schema"
t_ok "$dbos/start.sh" "$stack_dir"
t_is "$(stack_get "$base/health" | jq -r '.version, .schema' | paste -sd' ')" '5.3.0 123' "health"
t_is "$(stack_post "$base/wait/half" | jq .output)" 6 "result of the workflow that was killed"
t_is "$(stack_get "$base/steps" | grep ^half)" $'half 1 1 4.9.11\nhalf 2 1 5.3.0\nhalf 3 1 5.3.0' "no step was repeated"
t_is "$(stack_get "$base/workflows" | grep -c SUCCESS)" 4 "all workflows are there"

t_begin old_code_on_the_new_schema_starts_without_a_word
pin 4.9.11
t_ok "$dbos/start.sh" "$stack_dir"
t_is "$(stack_get "$base/health" | jq -r '.version, .schema' | paste -sd' ')" '4.9.11 123' "health is fine, which it should not be"

t_begin the_old_state_is_back_with_the_old_database
t_ok "$dbos/stop.sh" "$stack_dir"
pg_sql 'ALTER DATABASE dbos RENAME TO dbos_after; ALTER DATABASE dbos_before RENAME TO dbos'
pg_sql 'GRANT CONNECT ON DATABASE dbos TO dbos_app'
t_ok "$dbos/start.sh" "$stack_dir"
t_is "$(schema)" 33 "version of the schema"
t_is "$(stack_post "$base/wait/half" | jq .output)" 6 "the old code finishes it"

t_begin held_workflows_outlive_a_stop
stack_post "$base/workflows/held" '{"steps": 2, "hold_after": 1}' >/dev/null
t_ok "$dbos/stop.sh" "$stack_dir"
t_is "$(PGDATABASE=dbos pg_sql "SELECT status FROM dbos.workflow_status WHERE workflow_uuid = 'held'")" PENDING
t_ok "$dbos/stop.sh" "$stack_dir"

t_begin without_its_database_the_application_does_not_start
sed -i 's|/dbos?|/nowhere?|' "$stack_dir/.env"
t_exit 1 "$dbos/start.sh" "$stack_dir"
t_match "$t_err" 'database "nowhere" does not exist: \(3D000\)' "says why"
