#!/usr/bin/env bash
# The stand-in of the ledger behaves as the ledger's documents say, also where that hurts.
# shellcheck source=lib/common.sh
. "$(dirname "$0")/lib/common.sh"
npm_or_skip

agl=$STACKS/agledger
stack_npm pgboss-10.0.0 pgboss-10.1.3 pgboss-10.4.2 pgboss-11.1.2 || exit 1
stack_server main || exit 1
# shellcheck disable=SC2016 # no variable
owner_password='ow"ner$1' app_password="a'pp\$PATH"
psql -XAtq -v ON_ERROR_STOP=1 -v owner_password="$owner_password" -v app_password="$app_password" -f "$agl/setup.sql" || exit 1
stack_dir agledger app
port=$(stack_port)
base=http://127.0.0.1:$port
platform_key=platform-$RANDOM$RANDOM

sql() {
	PGDATABASE=agledger pg_sql "$1"
}
admin() { # METHOD PATH [JSON]
	curl -sS --fail-with-body -X "$1" -H "authorization: Bearer $platform_key" -H 'content-type: application/json' \
		-d "${3:-{\}}" "$base/v1/admin/$2"
}
me() {
	curl -sS -H "authorization: Bearer ${1:-$key}" "$base/v1/auth/me" | jq -c .
}
record() {
	stack_post "$base/v1/records" "{\"data\": \"$1\"}" "authorization: Bearer $key"
}
version() {
	stack_get "$base/conformance" | jq -c .
}
scanned() {
	admin GET "vault/scan/$1" | grep -q completed
}
vault() { # the scan's result, polled for
	local id
	id=$(admin POST vault/scan | jq -r .jobId)
	t_wait 10 scanned "$id" >/dev/null
	admin GET "vault/scan/$id" | jq -c '[.entries, .brokenChains, .broken]'
}
delivered() { # COUNT [WHERE]
	[ "$(sql "SELECT count(*) FROM deliveries ${2:-}")" = "$1" ]
}
secret() {
	openssl rand -hex 24
}

cat >"$stack_dir/.env" <<-ENV
	# the ledger
	AGLEDGER_VERSION=0.19.14
	PACKAGES=$npm_cache
	PORT=$port
	PLATFORM_API_KEY=$platform_key
	AGLEDGER_LICENSE_MODE=trial
ENV
stack_set DATABASE_URL "$(stack_url agl_app "$app_password" agledger)"
stack_set DATABASE_URL_MIGRATE "$(stack_url agl_owner "$owner_password" agledger)"
stack_set API_KEY_SECRET "$(secret)"
stack_set VAULT_SIGNING_KEY "$(openssl rand -base64 32)"
migrate() {
	node "$agl/migrate.mjs" "$stack_dir" "$@"
}
preflight() {
	node "$agl/preflight.mjs" "$stack_dir"
}

t_begin without_its_migrations_it_ends_at_once
t_exit 1 "$agl/start.sh" "$stack_dir" api
t_match "$t_err" 'agledger: relation "_migrations" does not exist'
t_exit 1 preflight
t_match "$t_out" 'FAIL  migrations: '

t_begin a_new_installation
t_ok migrate
t_is "$t_out" $'applied 001_core.sql\napplied 002_rate_limits.sql\nmigrated to 0.19.14'
t_ok preflight
t_nomatch "$t_out" FAIL "nothing failed"
t_ok "$agl/start.sh" "$stack_dir"
t_is "$(stack_get "$base/health" | jq -c .)" '{"status":"ok","version":"0.19.14"}' "health"
t_is "$(stack_get "$base/health/ready" | jq -r .status)" ready
t_is "$(version)" '{"version":"0.19.14","migration":"002_rate_limits.sql"}' "conformance"
key=$(admin POST api-keys '{"name": "shop"}' | jq -r .key)
t_is "$(me)" '{"name":"shop","secret":"current"}' "the key is known"
t_is "$(me wrong)" '{"error":"this key is not known"}' "another one is not"
for i in 1 2 3; do record "$i" >/dev/null; done
t_wait 10 delivered 3
t_is "$(vault)" '[3,0,[]]' "an unbroken chain"

t_begin an_upgrade_that_succeeds
t_ok "$agl/pull.sh" "$stack_dir" 0.19.17
t_ok "$agl/stop.sh" "$stack_dir" worker
t_ok migrate 0.19.17
stack_set AGLEDGER_VERSION 0.19.17
t_ok "$agl/start.sh" "$stack_dir"
t_is "$(version)" '{"version":"0.19.17","migration":"003_provisioning.sql"}' "conformance"
t_is "$(me)" '{"name":"shop","secret":"current"}' "the key is known"
t_exit 22 record early
t_match "$t_out" 'provisioning is not loaded' "records wait for the hook"
t_is "$(admin POST provisioning/reload | jq -c .)" '{"loaded":2}' "the hook"
t_is "$(record 4 | jq -c .)" '{"position":4}' "then they are taken"

t_begin a_version_that_does_not_exist
t_exit 1 "$agl/pull.sh" "$stack_dir" 9.9.9
t_is "$t_err" 'pull: no such image: agledger:9.9.9'

t_begin a_dropped_setting_keeps_the_new_version_from_starting
t_ok migrate 1.3.3
stack_set AGLEDGER_VERSION 1.3.3
t_exit 1 "$agl/start.sh" "$stack_dir"
t_match "$t_err" 'agledger: AGLEDGER_LICENSE_MODE is no longer supported: remove it from the environment'
stack_unset AGLEDGER_LICENSE_MODE
t_ok "$agl/start.sh" "$stack_dir"
t_is "$(version)" '{"version":"1.3.3","migration":"004_last_used.sql"}' "conformance"
admin POST provisioning/reload >/dev/null

t_begin restart_does_not_read_the_settings_anew
first=$(stack_value API_KEY_SECRET)
stack_set API_KEY_SECRET_PREVIOUS "$first"
stack_set API_KEY_SECRET "$(secret)"
t_ok "$agl/restart.sh" "$stack_dir"
t_is "$(me)" '{"name":"shop","secret":"current"}' "still the old secret"

t_begin rotation_of_the_secret
t_ok "$agl/start.sh" "$stack_dir"
t_is "$(me)" '{"name":"shop","secret":"previous"}' "both secrets are good"
t_ok node "$agl/rehash-api-keys.mjs" "$stack_dir"
t_is "$t_out" 're-hashed 1 of 1 keys'
t_ok node "$agl/rehash-api-keys.mjs" "$stack_dir"
t_is "$t_out" 're-hashed 0 of 1 keys' "once more changes nothing"
t_is "$(me)" '{"name":"shop","secret":"current"}' "the new secret"
stack_unset API_KEY_SECRET_PREVIOUS
t_ok "$agl/start.sh" "$stack_dir"
t_is "$(me)" '{"name":"shop","secret":"current"}' "the new secret alone"
second=$(stack_value API_KEY_SECRET)
stack_set API_KEY_SECRET "$first"
t_ok "$agl/start.sh" "$stack_dir" api
t_is "$(me)" '{"error":"this key is not known"}' "the old one opens nothing any more"
t_exit 1 node "$agl/rehash-api-keys.mjs" "$stack_dir"
t_is "$t_err" 'rehash-api-keys: API_KEY_SECRET and API_KEY_SECRET_PREVIOUS must both be set'
stack_set API_KEY_SECRET_PREVIOUS "$(secret)"
t_exit 1 node "$agl/rehash-api-keys.mjs" "$stack_dir"
t_is "$t_err" 'rehash-api-keys: 1 of 1 keys are stored under neither secret; nothing was changed'
stack_unset API_KEY_SECRET_PREVIOUS
stack_set API_KEY_SECRET "$second"

t_begin rotation_of_the_signing_key
stack_set VAULT_SIGNING_KEY_PREVIOUS "$(stack_value VAULT_SIGNING_KEY)"
stack_set VAULT_SIGNING_KEY "$(openssl rand -base64 32)"
t_exit 1 preflight
t_match "$t_out" 'FAIL  signing key: VAULT_SIGNING_KEY is not in the registry of the database'
t_ok "$agl/start.sh" "$stack_dir"
t_ok preflight
admin POST provisioning/reload >/dev/null
record 5 >/dev/null
t_is "$(vault)" '[5,0,[]]' "old and new signatures are good"
t_is "$(sql 'SELECT count(DISTINCT key_id) FROM audit_vault')" 2 "by two keys"

t_begin a_broken_chain_is_found
cp "$stack_dir/.env" "$T_TMP/env.good"
sql "UPDATE audit_vault SET envelope = replace(envelope, '\"data\":\"2\"', '\"data\":\"9\"') WHERE chain_position = 2"
t_is "$(vault)" '[5,1,[{"position":2,"reason":"payload hash"}]]' "changed data"
sql "UPDATE audit_vault SET envelope = replace(envelope, '\"data\":\"9\"', '\"data\":\"2\"') WHERE chain_position = 2"
t_is "$(vault)" '[5,0,[]]' "put right"

t_begin a_migration_that_fails_half_way
jobs=$(sql 'SELECT count(*) FROM pgboss.job')
t_ok "$agl/stop.sh" "$stack_dir" worker
record 6 >/dev/null
t_exit 1 migrate 1.4.0
t_is "$t_out" 'applied 005_tenants.sql' "the ledger's own part is done"
t_is "$t_err" 'migrate: 42P01: relation "pgboss.job_common" does not exist' "the queue's is not"
stack_set AGLEDGER_VERSION 1.4.0
t_exit 1 "$agl/start.sh" "$stack_dir"
t_match "$t_err" 'agledger: pg-boss database requires migrations' "the new version does not start"
stack_set AGLEDGER_VERSION 1.3.3
t_ok "$agl/start.sh" "$stack_dir"
t_is "$(stack_get "$base/health" | jq -r .version)" 1.3.3 "the old one does"
t_is "$(sql 'SELECT count(*) FROM pgboss.job')" $((jobs + 1)) "no job is lost"
t_wait 10 delivered 1 "WHERE chain_position = 6"

t_begin code_older_than_its_migrations_is_its_own_affair_newer_is_not
sql "DELETE FROM _migrations WHERE name = '004_last_used.sql'"
t_exit 1 "$agl/restart.sh" "$stack_dir" api
t_match "$t_err" 'agledger: migrations are behind version 1.3.3: 004_last_used.sql'
