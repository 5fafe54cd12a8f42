# shellcheck shell=bash
# What the tests of the plans of docs/examples/agledger have in common: source this file, then
#
#	ledger_install VERSION      server, database and a running installation of that version, which has one API key and one entry
#	ledger_configure [KEY: VALUE…]      the configuration: the plans of docs/examples with the programs of the stand-in; more parameters
#	book 'holdfast upgrade VERSION' [VERSION=1.3.3…]    runs this very line of the runbook, its words in capitals replaced
#	book_is_run HEADING…        every command below these headings of the runbook was run by book
#	ledger_is VERSION           asserts that this version serves, on its schema, with all entries, by both of its addresses
#	ledger_secrets              every secret there has been, one a line
#
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

EXAMPLE=$(cd "$STACKS/../../docs/examples/agledger" && pwd -P)
agl=$STACKS/agledger
# shellcheck disable=SC2016 # no variables
owner_password='ow"ner-pass$1' app_password="a'pp-pass\$PATH"
base='' port='' platform_key='' key='' entries=0

sql() {
	PGDATABASE=agledger pg_sql "$1"
}

ledger_install() {
	npm_or_skip
	stack_holdfast
	stack_npm pgboss-10.1.3 || exit 1
	stack_server main || exit 1
	psql -XAtq -v ON_ERROR_STOP=1 -v owner_password="$owner_password" -v app_password="$app_password" -f "$agl/setup.sql" || exit 1
	pg_sql "GRANT pg_monitor TO agl_owner" || exit 1
	stack_dir agledger app
	port=$(stack_port)
	base=http://127.0.0.1:$port
	DATABASE_URL=$(stack_url agl_app "$app_password" agledger)
	DATABASE_URL_MIGRATE=$(stack_url agl_owner "$owner_password" agledger)
	platform_key=platform-$(openssl rand -hex 12)
	printf '%s\n' '# the ledger' "AGLEDGER_VERSION=$1   # pinned" "PACKAGES=$npm_cache" "PORT=$port" >"$stack_dir/.env"
	stack_set DATABASE_URL "$DATABASE_URL"
	stack_set DATABASE_URL_MIGRATE "$DATABASE_URL_MIGRATE"
	stack_set PLATFORM_API_KEY "$platform_key"
	stack_set API_KEY_SECRET "$(openssl rand -hex 32)"
	stack_set VAULT_SIGNING_KEY "$(openssl genpkey -algorithm ed25519 -outform DER | base64 -w 0)"
	chmod 600 "$stack_dir/.env"
	export DATABASE_URL DATABASE_URL_MIGRATE
	node "$agl/migrate.mjs" "$stack_dir" >/dev/null && "$agl/start.sh" "$stack_dir" || exit 1
	mkdir -m 700 "$T_TMP/etc"
	printf 'Bearer %s\n' "$platform_key" >"$T_TMP/etc/authorization"
	reload || exit 1
	key=$(stack_post "$base/v1/admin/api-keys" '{"name": "shop"}' "$(ledger_header)" | jq -r .key)
	printf 'Bearer %s\n' "$key" >"$T_TMP/etc/known-key"
	record first
	ledger_keep_secrets
}

ledger_header() {
	printf 'authorization: %s' "$(<"$T_TMP/etc/authorization")"
}

reload() {
	stack_post "$base/v1/admin/provisioning/reload" '' "$(ledger_header)" >/dev/null
}

record() {
	stack_post "$base/v1/records" "{\"data\": \"$1\"}" "authorization: Bearer $key" >/dev/null && entries=$((entries + 1))
}

# What /v1/auth/me says of the key that must go on working.
known() {
	curl -sS -H "authorization: Bearer $key" "$base/v1/auth/me" | jq -c .
}

# Secrets come and go: what .env has now is kept for ledger_secrets.
ledger_keep_secrets() {
	local name
	for name in API_KEY_SECRET API_KEY_SECRET_PREVIOUS VAULT_SIGNING_KEY VAULT_SIGNING_KEY_PREVIOUS; do
		stack_value "$name" >>"$T_TMP/secrets"
	done
}

ledger_secrets() {
	sort -u "$T_TMP/secrets"
	printf '%s\n' "$platform_key" "$key" "$owner_password" "$(stack_encode "$owner_password")" "$app_password" "$(stack_encode "$app_password")"
}

ledger_no_secret_is_in() { # FILE-OR-DIRECTORY…
	ledger_keep_secrets
	t_is "$(ledger_secrets | grep -v '^$' | grep -rlF -f - -- "$@")" '' "no secret is in ${*##*/}"
}

ledger_configure() {
	{
		cat <<-YAML
			version: 1
			repositories:
			  local: { url: $T_TMP/repository }
			stacks:
			  agledger:
			    database: { url: "env:DATABASE_URL", admin_url: "env:DATABASE_URL_MIGRATE" }
			    repositories: [local]
			    version: { env_file: $stack_dir/.env, key: AGLEDGER_VERSION }
			    secrets:
			      API_KEY_SECRET: { env_file: $stack_dir/.env, key: API_KEY_SECRET }
			      API_KEY_SECRET.previous: { env_file: $stack_dir/.env, key: API_KEY_SECRET_PREVIOUS }
			      VAULT_SIGNING_KEY: { env_file: $stack_dir/.env, key: VAULT_SIGNING_KEY }
			      VAULT_SIGNING_KEY.previous: { env_file: $stack_dir/.env, key: VAULT_SIGNING_KEY_PREVIOUS }
			    services:
			      stop: [$agl/stop.sh, $stack_dir]
			      start: [$agl/start.sh, $stack_dir]
			    health: { url: "$base/health", within: 5s }
			    plans:
			      upgrade: $EXAMPLE/upgrade.yaml
			      rotate-api-key-secret: $EXAMPLE/rotate-api-key-secret.yaml
			      rotate-signing-key: $EXAMPLE/rotate-signing-key.yaml
			      check: $EXAMPLE/check.yaml
			    parameters:
			      dir: $stack_dir
			      version_file: $stack_dir/VERSION
			      base_url: $base
			      conformance: /conformance
			      authorization: file:$T_TMP/etc/authorization
			      known_key: file:$T_TMP/etc/known-key
			      known_key_is: { secret: current }
			      pull: [$agl/pull.sh, $stack_dir, "\${version}"]
			      stop_worker: [$agl/stop.sh, $stack_dir, worker]
			      start_worker: [$agl/start.sh, $stack_dir, worker]
			      api_stop: [$agl/stop.sh, $stack_dir, api]
			      api_start: [$agl/start.sh, $stack_dir, api]
			      preflight: [node, $agl/preflight.mjs, $stack_dir]
			      rehash: [node, $agl/rehash-api-keys.mjs, $stack_dir]
			      migrate: [node, $agl/migrate.mjs, $stack_dir, "\${version}"]
		YAML
		# the last of two is what counts
		[ $# -eq 0 ] || printf '      %s\n' "$@"
	} | tac | awk -F: '!/^      [a-z_]+:/ || !seen[$1]++' | tac >"$T_TMP/holdfast.yaml"
}

# As that of common.sh; what it has said is kept for ledger_no_secret_is_in.
holdfast() {
	local status=0
	"$HOLDFAST" --config "$T_TMP/holdfast.yaml" "$@" >"$T_TMP/said.out" 2>"$T_TMP/said.err" || status=$?
	cat "$T_TMP/said.out" "$T_TMP/said.err" >>"$T_TMP/said"
	cat "$T_TMP/said.out"
	cat "$T_TMP/said.err" >&2
	return "$status"
}

# --- the runbook -----------------------------------------------------------------------------------------------------------------

books=()

book() {
	local line=$1 words word
	shift
	grep -qxF -- "$line" "$EXAMPLE/README.md" || t_fail "the runbook has the line: $line"
	books+=("$line")
	for word in "$@"; do
		line=${line//"${word%%=*}"/"${word#*=}"}
	done
	read -ra words <<<"$line"
	holdfast "${words[@]:1}"
}

book_is_run() {
	local heading
	for heading in "$@"; do
		t_is "$(sed -n "/^## $heading\$/,/^## /p" "$EXAMPLE/README.md" | grep '^holdfast ' | grep -vxF -f <(printf '%s\n' "${books[@]}"))" '' \
			"every command below \"$heading\" was run"
	done
}

# --- what serves -------------------------------------------------------------------------------------------------------------------

declare -A ledger_schema=([0.19.14]=002_rate_limits.sql [0.19.17]=003_provisioning.sql [1.3.3]=004_last_used.sql)

ledger_is() {
	local version=$1 scan jobs
	t_is "$(stack_get "$base/health" | jq -r .version) $(stack_get "$base/conformance" | jq -r '[.version, .migration] | join(" ")')" \
		"$version $version ${ledger_schema[$version]}" "version $version serves, on its schema"
	t_is "$(stack_value AGLEDGER_VERSION)" "$version" "it is pinned"
	scan=$("$agl/admin.sh" "$stack_dir" scan | jq -c '[.entries, .brokenChains]')
	t_is "$scan" "[$entries,0]" "all entries are there, in one chain"
	t_is "$(known)" '{"name":"shop","secret":"current"}' "the key is good"
	record "under $version" || t_fail "it takes a record"
	t_wait 20 delivered "$entries"
	jobs=$(sql 'SELECT count(*) FROM deliveries')
	t_is "$jobs" "$entries" "the worker has delivered it"
}

delivered() {
	[ "$(sql 'SELECT count(DISTINCT chain_position) FROM deliveries')" = "$1" ]
}

newest_run() {
	holdfast runs --output json | jq -r '.runs[0].id'
}

# Killed behind its last record a run has ended, and there is nothing left to resume.
is_unfinished() { # RUN
	holdfast runs --output json | jq -e --arg id "$1" 'any(.runs[]; .id == $id and .is_resumable)' >/dev/null
}
