#!/usr/bin/env bash
# An upgrade of pgStack in the order that its documents ask for, by a plan of the stack's own: database, migrations, roles, proxy, and only
# when the proxy administers by its own role, the membership that goes.
# shellcheck source=lib/common.sh
. "$(dirname "$0")/lib/common.sh"
npm_or_skip
stack_holdfast

pgstack=$STACKS/pgstack
stack_npm pgboss-10.1.3 || exit 1 # for its pg
stack_server main || exit 1
# shellcheck disable=SC2016 # no variables
proxy_password='p"r$o'
# shellcheck disable=SC2016,SC2089,SC2090 # no variables, and quotes are meant
export AUTHENTICATOR_PASSWORD='a'\''u"t$h\x #1' AUTHENTICATOR_ADMIN_PASSWORD='$ad'\''m"in%'
psql -XAtq -v ON_ERROR_STOP=1 -v proxy_password="$proxy_password" -f "$pgstack/setup.sql" || exit 1
stack_dir pgstack app
port=$(stack_port)
base=http://127.0.0.1:$port
printf '%s\n' PGSTACK_VERSION=2026.5 "PACKAGES=$npm_cache" "PORT=$port" "DB_HOST=$PGHOST" "DB_PORT=$PGPORT" DB_NAME=pgstack \
	"DB_DATA=$PGDATA" "DB_BINDIR=$PG_BINDIR" >"$stack_dir/.env"
stack_set PROXY_PASSWORD "$proxy_password"
stack_set AUTHENTICATOR_PASSWORD "$AUTHENTICATOR_PASSWORD"
stack_set AUTHENTICATOR_ADMIN_PASSWORD "$AUTHENTICATOR_ADMIN_PASSWORD"
export PGDATABASE=pgstack

cat >"$T_TMP/upgrade.yaml" <<YAML
name: upgrade-pgstack
about: the stack to another version, in the order of its documents
on_failure: rollback
must_finish: true
can_rollback: true
parameters:
  stack:        { type: string, required: true, about: "name of the stack" }
  version:      { type: string, required: true, about: "the version to upgrade to" }
  from_version: { type: string, from: pinned_version, about: "the version in service" }
  database:     { type: conninfo, required: true, about: "as a superuser" }
  repository:   { type: list, required: true, about: "repositories of the backup before" }
  stop:         { type: list, from: services.stop, required: true, about: "stops the proxy" }
  start:        { type: list, from: services.start, required: true, about: "starts it" }
  check:        { type: list, from: services.check, about: "tells whether it runs" }
  migrations:   { type: string, from: migrations.dir, required: true, about: "directory of migrations" }
  env_file:     { type: string, from: version.env_file, required: true, about: "file with the pin" }
  key:          { type: string, from: version.key, required: true, about: "its key" }
  base_url:     { type: string, required: true, about: "of the proxy" }
  db_start:     { type: list, required: true, about: "starts the database alone" }
  admin_url:    { type: list, required: true, about: "puts ADMIN_DATABASE_URL" }
  no_admin_url: { type: list, required: true, about: "takes it away" }
  live:         { type: string, default: "SELECT count(*) FROM pgr.live_subscriptions", about: "live queries" }
  persisted:    { type: string, default: "SELECT count(*) FROM pgr.persisted_subscriptions", about: "those that should be" }
steps:
  - id: backup
    uses: backup
    with: { stack: "\${stack}", database: "\${database}", repository: "\${repository}", app_version: "\${from_version}" }
  - id: stop
    uses: service.stop
    with: { command: "\${stop}", undo: "\${start}", check: "\${check}", expect_check: "1-255" }
  - id: db
    uses: exec
    with: { argv: "\${db_start}" }
  - id: savepoint
    uses: database.savepoint
    with: { database: "\${database}", method: copy, stack: "\${stack}", repository: "\${repository}" }
  - id: migrate
    uses: migrate
    with: { database: "\${database}", dir: "\${migrations}" }
  - id: authenticator
    uses: role.password
    with: { database: "\${database}", role: authenticator, password: "env:AUTHENTICATOR_PASSWORD", login: true }
  - id: authenticator_admin
    uses: role.password
    with: { database: "\${database}", role: authenticator_admin, password: "env:AUTHENTICATOR_ADMIN_PASSWORD", login: true }
  - id: admin_url
    uses: exec
    with: { argv: "\${admin_url}", undo: "\${no_admin_url}" }
  - id: mark
    uses: database.mark
    with: { database: "\${database}" }
  - id: pin
    uses: pin
    with: { file: "\${env_file}", key: "\${key}", value: "\${version}" }
  - id: start
    uses: service.start
    with: { command: "\${start}", undo: "\${stop}", check: "\${check}" }
  - id: health
    uses: health.wait
    with: { url: "\${base_url}/health", expect: { status: ok, pg_connected: "true" }, within: 15s }
  - id: administers
    uses: health.wait
    with: { url: "\${base_url}/admin/whoami", expect: { session_user: authenticator_admin }, within: 5s }
  - id: revoke
    uses: role.step
    with:
      database: "\${database}"
      done_query: SELECT NOT pg_has_role('authenticator', 'service_role', 'MEMBER')
      statements: [REVOKE service_role FROM authenticator]
      undo: [GRANT service_role TO authenticator]
  - id: still_administers
    uses: health.wait
    with: { url: "\${base_url}/admin/whoami", expect: { current_user: service_role }, within: 5s }
  - id: subscriptions
    uses: sql
    with:
      database: "\${database}"
      statements: [SELECT pgr.restore_subscriptions()]
      query: "\${live}"
      compare_query: "\${persisted}"
after_rollback:
  - id: health_before
    uses: health.wait
    with: { url: "\${base_url}/health", expect: { status: ok }, within: 15s }
  - id: subscriptions_before
    uses: sql
    with:
      database: "\${database}"
      statements: [SELECT pgr.restore_subscriptions()]
      query: "\${live}"
      compare_query: "\${persisted}"
YAML
cat >"$T_TMP/holdfast.yaml" <<YAML
version: 1
repositories:
  local: { url: $T_TMP/repository }
stacks:
  pgstack:
    database: { url: "postgresql://postgres@localhost/pgstack?host=$PGHOST" }
    repositories: [local]
    version: { env_file: $stack_dir/.env, key: PGSTACK_VERSION }
    services:
      stop: [$pgstack/stop.sh, $stack_dir]
      start: [$pgstack/start.sh, $stack_dir]
      check: [$STACKS/lib/status.sh, $stack_dir, proxy]
    migrations: { dir: $pgstack/migrations }
    plans: { upgrade: $T_TMP/upgrade.yaml }
    parameters:
      base_url: $base
      db_start: [$pgstack/db.sh, $stack_dir, restart]
      admin_url: [$pgstack/admin-url.sh, $stack_dir]
      no_admin_url: [$pgstack/admin-url.sh, $stack_dir, remove]
YAML
info() {
	stack_get "$base/info" | jq -r '[.version, .session_user, .admin_session_user] | join(" ")'
}
subscriptions() {
	stack_get "$base/subscriptions" | jq -r '[.live, .persisted] | join(" of ")'
}
member() {
	pg_sql "SELECT pg_has_role('authenticator', 'service_role', 'MEMBER')"
}

"$pgstack/start.sh" "$stack_dir" || exit 1
stack_post "$base/admin/subscriptions" '{"name": "orders", "query": "SELECT * FROM app.orders"}' >/dev/null
stack_post "$base/admin/subscriptions" '{"name": "hooks", "query": "SELECT url FROM app.webhooks"}' >/dev/null

t_begin a_proxy_that_does_not_administer_by_its_own_role_stops_the_revocation
cp "$stack_dir/.env" "$T_TMP/env.before"
stack_set AUTHENTICATOR_ADMIN_PASSWORD "not it"
t_exit 7 holdfast upgrade 2026.6
t_match "$t_err" 'administers: failed'
t_nomatch "$t_err" 'revoke: done' "the membership was never touched"
t_is "$(info)" '2026.5 pgstack_proxy pgstack_proxy' "the old proxy serves"
t_is "$(pg_sql "SELECT count(*) FROM holdfast_migrations" 2>&1 | grep -c 'does not exist')" 1 "on the old schema"
t_is "$(subscriptions)" '2 of 2' "with its live queries"
stack_set AUTHENTICATOR_ADMIN_PASSWORD "$AUTHENTICATOR_ADMIN_PASSWORD"
t_is "$(<"$stack_dir/.env")" "$(<"$T_TMP/env.before")" "the settings are the old ones"

t_begin the_order_of_the_documents
t_ok holdfast upgrade 2026.6
t_is "$(info)" '2026.6 authenticator authenticator_admin' "the new proxy serves by its own roles"
t_is "$(member)" f "the membership is gone"
t_is "$(subscriptions)" '2 of 2' "the live queries are restored"
t_is "$(pg_sql "SELECT string_agg(version, ' ' ORDER BY version) FROM holdfast_migrations")" \
	'20260516120000 20260613120000 20260613140000' "the migrations are noted"

t_begin back_again
run=$(basename "$(find "$T_TMP/state/runs" -mindepth 1 -maxdepth 1 -name '*-upgrade-*' | sort | tail -n 1)")
t_ok holdfast rollback "$run" --yes --discard-new-writes
t_is "$(info)" '2026.5 pgstack_proxy pgstack_proxy' "the old proxy serves"
t_is "$(subscriptions)" '2 of 2' "with its live queries"
t_is "$(<"$stack_dir/.env")" "$(<"$T_TMP/env.before")" "the settings are the old ones"

t_begin no_password_is_anywhere
t_is "$(grep -rlF -e "$AUTHENTICATOR_PASSWORD" -e "$AUTHENTICATOR_ADMIN_PASSWORD" -e "$(stack_encode "$AUTHENTICATOR_ADMIN_PASSWORD")" \
	"$T_TMP/state" "$T_TMP/repository" "$PG_ROOT/main/log")" ''
