#!/usr/bin/env bash
# What pg-boss does by itself: 10.0.0 to 10.4.2 migrate, 10.4.2 to 11.1.2 fails and changes nothing.
# shellcheck source=lib/common.sh
. "$(dirname "$0")/lib/common.sh"
npm_or_skip

pgboss=$STACKS/pgboss
stack_npm pgboss-10.0.0 pgboss-10.1.3 pgboss-10.4.2 pgboss-11.1.2 || exit 1
stack_server main || exit 1
# shellcheck disable=SC2016
password='b"o$s'
psql -XAtq -v ON_ERROR_STOP=1 -v boss_password="$password" -f "$pgboss/setup.sql" || exit 1
stack_dir pgboss app
port=$(stack_port)
base=http://127.0.0.1:$port
url=$(stack_url boss "$password" boss)

pin() {
	printf '%s\n' "PGBOSS_VERSION=$1" "PACKAGES=$npm_cache" "PORT=$port" "DATABASE_URL='$url'" >"$stack_dir/.env"
}
migrate() {
	DATABASE_URL=$url "$pgboss/migrate.sh" "$npm_cache" "$1"
}
# what must survive: the schema's definition and every row of the queue
state() {
	PGDATABASE=boss pg_sql 'SELECT version FROM pgboss.version'
	PGDATABASE=boss pg_sql 'SELECT name, id, state FROM pgboss.job ORDER BY 1, 2'
	pg_dump -d boss --schema-only | grep -v '^.\(un\)\?restrict' | sha256sum
}

t_begin a_worker_without_its_schema_does_not_start
pin 10.0.0
t_exit 1 "$pgboss/start.sh" "$stack_dir"
t_match "$t_err" 'pg-boss is not installed'

t_begin jobs_of_the_first_version
t_ok migrate 10.0.0
t_is "$t_out" 'pg-boss 10.0.0: schema 21'
t_ok "$pgboss/start.sh" "$stack_dir"
stack_post "$base/jobs/mail" '{"count": 5}' >/dev/null
t_is "$(stack_post "$base/work/mail" '{"count": 2}' | jq .done)" 2 "two of them are done"
t_is "$(stack_get "$base/jobs")" $'mail created 3\nmail completed 2'
t_is "$(stack_get "$base/health" | jq -c .)" '{"status":"ok","version":"10.0.0","schema":21}' "health"
t_ok "$pgboss/stop.sh" "$stack_dir"

t_begin new_code_on_the_old_schema_does_not_start
pin 10.1.3
t_exit 1 "$pgboss/start.sh" "$stack_dir"
t_match "$t_err" 'pg-boss database requires migrations'

t_begin upgrades_that_succeed
t_ok migrate 10.1.3
t_is "$t_out" 'pg-boss 10.1.3: schema 23'
t_ok "$pgboss/start.sh" "$stack_dir"
t_is "$(stack_get "$base/jobs")" $'mail created 3\nmail completed 2' "the jobs are there"
t_ok "$pgboss/stop.sh" "$stack_dir"
t_ok migrate 10.4.2
t_is "$t_out" 'pg-boss 10.4.2: schema 24'
pin 10.4.2
t_ok "$pgboss/start.sh" "$stack_dir"
t_is "$(stack_get "$base/health" | jq -c .)" '{"status":"ok","version":"10.4.2","schema":24}' "health"
t_is "$(stack_post "$base/work/mail" '{"count": 1}' | jq .done)" 1 "a job of 10.0.0 is done by 10.4.2"

t_begin an_upgrade_that_fails_and_changes_nothing
before=$(state)
t_exit 1 migrate 11.1.2
t_is "$t_err" 'pg-boss 11.1.2: 42P01: relation "pgboss.job_common" does not exist'
t_is "$(state)" "$before" "schema and jobs are as before"
t_is "$(stack_get "$base/jobs")" $'mail created 2\nmail completed 3' "the old version serves on"
