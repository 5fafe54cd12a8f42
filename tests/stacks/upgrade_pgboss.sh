#!/usr/bin/env bash
# Upgrades of a real queue: pg-boss 10.0.0 to 10.1.3 to 10.4.2 succeed; 10.4.2 to 11.1.2 fails inside the database, and the old version
# serves again with all its jobs.
# shellcheck source=lib/common.sh
. "$(dirname "$0")/lib/common.sh"
npm_or_skip
stack_holdfast

pgboss=$STACKS/pgboss
stack_npm pgboss-10.0.0 || exit 1
stack_server main || exit 1
# shellcheck disable=SC2016 # no variable
password='b"o$s'
psql -XAtq -v ON_ERROR_STOP=1 -v boss_password="$password" -f "$pgboss/setup.sql" || exit 1
stack_dir pgboss app
port=$(stack_port)
base=http://127.0.0.1:$port
DATABASE_URL=$(stack_url boss "$password" boss)
export DATABASE_URL
printf '%s\n' "# the queue" "PGBOSS_VERSION=10.0.0   # pinned" "PACKAGES=$npm_cache" "PORT=$port" >"$stack_dir/.env"
stack_set DATABASE_URL "$DATABASE_URL"

cat >"$T_TMP/holdfast.yaml" <<YAML
version: 1
repositories:
  local: { url: $T_TMP/repository }
stacks:
  boss:
    database: { url: "env:DATABASE_URL" }
    repositories: [local]
    version: { env_file: $stack_dir/.env, key: PGBOSS_VERSION }
    services:
      stop: [$pgboss/stop.sh, $stack_dir]
      start: [$pgboss/start.sh, $stack_dir]
      check: [$STACKS/lib/status.sh, $stack_dir, worker]
    migrations:
      command: [$pgboss/migrate.sh, $npm_cache, "\${version}"]
      version_query: SELECT version FROM pgboss.version
    health: { url: "$base/health", expect: { status: ok }, version_path: version }
    upgrade:
      pull: [$STACKS/lib/pull.sh, $npm_cache, "pgboss-\${version}"]
      compare: [curl, -sf, "$base/ids"]
      put_back: copy
YAML
health() {
	stack_get "$base/health" | jq -c '[.version, .schema]'
}

"$pgboss/migrate.sh" "$npm_cache" 10.0.0 >/dev/null || exit 1
"$pgboss/start.sh" "$stack_dir" || exit 1
stack_post "$base/jobs/mail" '{"count": 5}' >/dev/null
stack_post "$base/work/mail" '{"count": 2}' >/dev/null
jobs=$(stack_get "$base/ids")

t_begin upgrades_that_succeed
t_ok holdfast upgrade 10.1.3
t_is "$(health)" '["10.1.3",23]' "the new version serves"
t_is "$(stack_get "$base/ids")" "$jobs" "no job is lost"
t_is "$(sed -n 2p "$stack_dir/.env")" 'PGBOSS_VERSION=10.1.3   # pinned' "the pin, and nothing else in its line"
t_ok holdfast upgrade 10.4.2
t_is "$(health)" '["10.4.2",24]' "the new version serves"
t_ok holdfast upgrade 10.4.2
t_is "$t_out" 'stack "boss" is at version "10.4.2" already: nothing was done'

t_begin an_upgrade_that_fails_in_the_database
cp "$stack_dir/.env" "$T_TMP/env.before"
t_exit 10 holdfast upgrade 11.1.2
t_match "$t_err" 'From version "10\.4\.2" to "11\.1\.2" is a major step\.'
t_exit 7 holdfast upgrade 11.1.2 --accept-major
t_match "$t_err" 'pg-boss 11\.1\.2: 42P01: relation "pgboss\.job_common" does not exist' "the server's reason"
t_match "$t_out" 'database "boss" is as it was: nothing had been changed in it' "what was put back"
t_is "$(health)" '["10.4.2",24]' "the old version serves"
t_is "$(stack_get "$base/ids")" "$jobs" "no job is lost"
t_is "$(<"$stack_dir/.env")" "$(<"$T_TMP/env.before")" "the pin was never changed"
t_is "$(stack_post "$base/work/mail" '{"count": 1}' | jq .done)" 1 "it works"

t_begin the_password_is_nowhere
t_is "$(grep -rlF -e "$password" -e "$(stack_encode "$password")" "$T_TMP/state" "$T_TMP/repository")" ''
