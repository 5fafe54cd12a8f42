#!/usr/bin/env bash
# Upgrades of the ledger by the built-in plan: one that succeeds, one whose new version does not start, one whose migration fails half way.
# What was changed is put back, from a copy or from the backup set, and the old version serves.
# shellcheck source=lib/common.sh
. "$(dirname "$0")/lib/common.sh"
npm_or_skip
stack_holdfast

agl=$STACKS/agledger
stack_npm pgboss-10.0.0 || exit 1
stack_server main || exit 1
# shellcheck disable=SC2016 # no variable
owner_password='ow"ner$1' app_password="a'pp\$PATH"
psql -XAtq -v ON_ERROR_STOP=1 -v owner_password="$owner_password" -v app_password="$app_password" -f "$agl/setup.sql" || exit 1
stack_dir agledger app
port=$(stack_port)
base=http://127.0.0.1:$port
DATABASE_URL=$(stack_url agl_app "$app_password" agledger)
DATABASE_URL_MIGRATE=$(stack_url agl_owner "$owner_password" agledger)
export DATABASE_URL DATABASE_URL_MIGRATE
cat >"$stack_dir/.env" <<-ENV
	# the ledger
	AGLEDGER_VERSION=0.19.14
	PACKAGES=$npm_cache
	PORT=$port
	AGLEDGER_LICENSE_MODE=trial
ENV
stack_set DATABASE_URL "$DATABASE_URL"
stack_set DATABASE_URL_MIGRATE "$DATABASE_URL_MIGRATE"
stack_set PLATFORM_API_KEY "platform-$(openssl rand -hex 8)"
stack_set API_KEY_SECRET "$(openssl rand -hex 24)"
stack_set VAULT_SIGNING_KEY "$(openssl rand -base64 32)"

configure() { # copy|restore
	cat >"$T_TMP/holdfast.yaml" <<-YAML
		version: 1
		repositories:
		  local: { url: $T_TMP/repository }
		stacks:
		  ledger:
		    database: { url: "env:DATABASE_URL", admin_url: "env:DATABASE_URL_MIGRATE" }
		    repositories: [local]
		    version: { env_file: $stack_dir/.env, key: AGLEDGER_VERSION }
		    services:
		      stop: [$agl/stop.sh, $stack_dir]
		      start: [$agl/start.sh, $stack_dir]
		      check: [$STACKS/lib/status.sh, $stack_dir, api]
		    migrations:
		      command: [node, $agl/migrate.mjs, $stack_dir, "\${version}"]
		      version_query: SELECT name FROM _migrations ORDER BY id DESC LIMIT 1
		    health: { url: "$base/conformance", version_path: version }
		    preflight: [[node, $agl/preflight.mjs, $stack_dir]]
		    upgrade:
		      pull: [$agl/pull.sh, $stack_dir, "\${version}"]
		      post_start: [[$agl/admin.sh, $stack_dir, reload], [$agl/admin.sh, $stack_dir, scan]]
		      put_back: $1
	YAML
}
state() {
	stack_get "$base/conformance" | jq -r '[.version, .migration] | join(" ")'
}
record() {
	stack_post "$base/v1/records" "{\"data\": \"$1\"}" "authorization: Bearer $key" | jq .position
}

node "$agl/migrate.mjs" "$stack_dir" >/dev/null || exit 1
"$agl/start.sh" "$stack_dir" || exit 1
key=$("$agl/admin.sh" "$stack_dir" create-key shop)
record 1 >/dev/null

t_begin an_upgrade_that_succeeds
configure copy
t_ok holdfast upgrade 0.19.17
t_is "$(state)" '0.19.17 003_provisioning.sql' "the new version serves"
t_is "$(record 2)" 2 "the hook has run"

t_begin a_new_version_that_does_not_start
cp "$stack_dir/.env" "$T_TMP/env.before"
t_exit 7 holdfast upgrade 1.3.3 --accept-major
t_match "$t_err" 'AGLEDGER_LICENSE_MODE is no longer supported' "its reason is told"
t_match "$t_out" 'database "agledger" is the copy of' "the database was put back"
t_is "$(state)" '0.19.17 003_provisioning.sql' "the old version serves on the old schema"
t_is "$(<"$stack_dir/.env")" "$(<"$T_TMP/env.before")" "the settings are the old ones"
t_is "$(record 3)" 3 "the hook has run"

t_begin a_migration_that_fails_half_way
configure restore
stack_unset AGLEDGER_LICENSE_MODE
cp "$stack_dir/.env" "$T_TMP/env.before"
t_exit 7 holdfast upgrade 1.4.0 --accept-major
t_match "$t_err" '42P01: relation "pgboss\.job_common" does not exist' "its reason is told"
t_match "$t_out" 'database "agledger" is restored from backup set' "the database was put back"
t_is "$(state)" '0.19.17 003_provisioning.sql' "the old version serves on the old schema"
t_is "$(record 4)" 4 "with its data"
t_is "$("$agl/admin.sh" "$stack_dir" scan | jq -c '[.entries, .brokenChains]')" '[4,0]' "the chain is whole"
t_is "$(<"$stack_dir/.env")" "$(<"$T_TMP/env.before")" "the pin was never changed"

t_begin no_secret_is_anywhere
t_is "$(grep -rlF -e "$owner_password" -e "$(stack_encode "$owner_password")" -e "$app_password" -e "$(stack_value PLATFORM_API_KEY)" \
	"$T_TMP/state" "$T_TMP/repository")" ''
