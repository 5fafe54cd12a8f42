#!/usr/bin/env bash
# The stand-in of pgStack: the orders that its documents ask for are the only ones that work.
# shellcheck source=lib/common.sh
. "$(dirname "$0")/lib/common.sh"
npm_or_skip

pgstack=$STACKS/pgstack
stack_npm pgboss-10.1.3 || exit 1 # for its pg
stack_server main || exit 1
# shellcheck disable=SC2016 # no variables
proxy_password='p"r$o' password='a'\''u"t$h\x #1' admin_password='$ad'\''m"in%'
psql -XAtq -v ON_ERROR_STOP=1 -v proxy_password="$proxy_password" -f "$pgstack/setup.sql" || exit 1
stack_dir pgstack app
port=$(stack_port)
base=http://127.0.0.1:$port
printf '%s\n' PGSTACK_VERSION=2026.5 "PACKAGES=$npm_cache" "PORT=$port" "DB_HOST=$PGHOST" "DB_PORT=$PGPORT" DB_NAME=pgstack \
	"DB_DATA=$PGDATA" "DB_BINDIR=$PG_BINDIR" >"$stack_dir/.env"
stack_set PROXY_PASSWORD "$proxy_password"
stack_set AUTHENTICATOR_PASSWORD "$password"
export PGDATABASE=pgstack

health() {
	curl -sS "$base/health" | jq -c .
}
whoami_admin() {
	curl -sS "$base/admin/whoami" | jq -c .
}
log() {
	tail -n 3 "$stack_dir/run/proxy.log"
}
role_password() { # ROLE PASSWORD: not by -c, where psql replaces nothing
	psql -XAtq -v ON_ERROR_STOP=1 -v password="$2" <<<"ALTER ROLE $1 LOGIN PASSWORD :'password'"
}
apply() {
	psql -XAtq -v ON_ERROR_STOP=1 --single-transaction -f "$pgstack"/migrations/"$1"_*.sql
}

t_begin passwords_come_through_the_settings_unharmed
t_is "$(stack_value PROXY_PASSWORD)" "$proxy_password"
t_is "$(stack_value AUTHENTICATOR_PASSWORD)" "$password"

t_begin the_old_version_serves
t_ok "$pgstack/start.sh" "$stack_dir"
t_is "$(health)" '{"status":"ok","pg_connected":true}'
t_is "$(whoami_admin)" '{"session_user":"pgstack_proxy","current_user":"service_role"}'
stack_post "$base/admin/subscriptions" '{"name": "orders", "query": "SELECT * FROM app.orders"}' >/dev/null
stack_post "$base/admin/subscriptions" '{"name": "hooks", "query": "SELECT url FROM app.webhooks"}' >/dev/null
t_is "$(stack_get "$base/subscriptions" | jq -c .)" '{"persisted":2,"live":2}'

t_begin a_restart_ends_every_live_query
t_ok "$pgstack/db.sh" "$stack_dir" restart
t_wait 10 stack_get "$base/subscriptions"
t_is "$(stack_get "$base/subscriptions" | jq -c .)" '{"persisted":2,"live":0}'
t_is "$(PGUSER=pgstack_proxy PGPASSWORD=$proxy_password psql -XAtq -c 'SELECT pgr.restore_subscriptions()' 2>&1)" \
	'ERROR:  permission denied for schema pgr'$'\n''LINE 1: SELECT pgr.restore_subscriptions()'$'\n''               ^' "not for everybody"
t_is "$(pg_sql 'SELECT pgr.restore_subscriptions()')" 2 "both are restored"
t_is "$(pg_sql 'SELECT pgr.restore_subscriptions()')" 0 "once more changes nothing"
t_is "$(stack_get "$base/subscriptions" | jq -c .)" '{"persisted":2,"live":2}'

t_begin a_copy_of_the_database_has_no_live_queries
t_ok "$pgstack/stop.sh" "$stack_dir"
pg_sql 'CREATE DATABASE copy TEMPLATE pgstack' -d postgres
t_is "$(PGDATABASE=copy pg_sql 'SELECT count(*) FROM pgr.live_subscriptions')" 0

t_begin the_new_proxy_first_is_no_good
stack_set PGSTACK_VERSION 2026.6
t_ok "$pgstack/start.sh" "$stack_dir"
t_is "$(health)" '{"status":"degraded","pg_connected":false}'
t_match "$(log)" 'password authentication failed for user "authenticator"'

t_begin before_its_role_step_neither
pg_sql "INSERT INTO app.webhooks (url, secret) VALUES ('http://127.0.0.1/', 'x')"
t_ok apply 20260516120000
t_is "$(pg_sql "SELECT count(*) FROM app.webhooks WHERE enabled")" 0 "webhooks are off"
t_ok apply 20260613120000
t_is "$(health)" '{"status":"degraded","pg_connected":false}'
t_match "$(log)" 'password authentication failed for user "authenticator"'

t_begin after_its_role_step_it_serves
t_ok role_password authenticator "$password"
t_is "$(health)" '{"status":"ok","pg_connected":true}'
t_is "$(whoami_admin)" '{"session_user":"authenticator","current_user":"service_role"}'
stack_set AUTHENTICATOR_PASSWORD wrong
t_ok "$pgstack/start.sh" "$stack_dir"
t_is "$(health)" '{"status":"degraded","pg_connected":false}' "not with another password"
stack_set AUTHENTICATOR_PASSWORD "$password"
t_ok "$pgstack/start.sh" "$stack_dir"

t_begin revoking_first_breaks_administration
t_ok apply 20260613140000
pg_sql 'REVOKE service_role FROM authenticator'
t_is "$(health)" '{"status":"ok","pg_connected":true}' "health does not tell"
t_is "$(whoami_admin)" '{"status":"error","error":"permission denied to set role \"service_role\""}'
pg_sql 'GRANT service_role TO authenticator'

t_begin the_right_order_does_not
t_ok role_password authenticator_admin "$admin_password"
stack_set ADMIN_DATABASE_URL "$(stack_url authenticator_admin "$admin_password" pgstack)"
t_is "$(whoami_admin)" '{"session_user":"authenticator","current_user":"service_role"}' "not before it is created anew"
t_ok "$pgstack/start.sh" "$stack_dir"
t_is "$(whoami_admin)" '{"session_user":"authenticator_admin","current_user":"service_role"}'
pg_sql 'REVOKE service_role FROM authenticator'
t_is "$(whoami_admin)" '{"session_user":"authenticator_admin","current_user":"service_role"}'
t_is "$(stack_get "$base/info" | jq -c .)" \
	'{"version":"2026.6","session_user":"authenticator","admin_session_user":"authenticator_admin"}'

t_begin what_cannot_be_restored_is_told
pg_sql 'DROP TABLE app.orders'
t_ok "$pgstack/db.sh" "$stack_dir" stop
t_ok "$pgstack/db.sh" "$stack_dir" stop
t_is "$(health)" '{"status":"degraded","pg_connected":false}' "without its database"
t_ok "$pgstack/db.sh" "$stack_dir" start
t_ok "$pgstack/db.sh" "$stack_dir" start
t_ok pg_sql 'SELECT pgr.restore_subscriptions()'
t_is "$t_out" 1
t_is "$t_err" 'WARNING:  could not restore subscription "orders": relation "app.orders" does not exist'
t_is "$(health)" '{"status":"ok","pg_connected":true}' "the proxy has come back by itself"
