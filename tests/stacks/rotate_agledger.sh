#!/usr/bin/env bash
# The ledger's six-step rotation of API_KEY_SECRET and the rotation of its signing key, as plans.  Killed before a record of the journal and
# resumed, they end as if nothing had been: the key of before is good at every moment, and the old secret is gone only in the end.
# FULL=1 kills before every record, else before a few.
# shellcheck source=lib/common.sh
. "$(dirname "$0")/lib/common.sh"
npm_or_skip
stack_holdfast

agl=$STACKS/agledger
stack_npm pgboss-10.1.3 || exit 1
stack_server main || exit 1
psql -XAtq -v ON_ERROR_STOP=1 -v owner_password=owner -v app_password=app -f "$agl/setup.sql" || exit 1
stack_dir agledger app
port=$(stack_port)
base=http://127.0.0.1:$port
printf '%s\n' "# the ledger" AGLEDGER_VERSION=0.19.17 "PACKAGES=$npm_cache" "PORT=$port" >"$stack_dir/.env"
stack_set DATABASE_URL "$(stack_url agl_app app agledger)"
stack_set DATABASE_URL_MIGRATE "$(stack_url agl_owner owner agledger)"
stack_set PLATFORM_API_KEY "platform-$(openssl rand -hex 8)"
stack_set API_KEY_SECRET "$(openssl rand -hex 24)"
stack_set VAULT_SIGNING_KEY "$(openssl rand -base64 32)"
node "$agl/migrate.mjs" "$stack_dir" >/dev/null || exit 1
"$agl/start.sh" "$stack_dir" || exit 1
"$agl/admin.sh" "$stack_dir" reload >/dev/null
"$agl/admin.sh" "$stack_dir" create-key shop >"$T_TMP/key"

cat >"$T_TMP/holdfast.yaml" <<YAML
version: 1
repositories:
  local: { url: $T_TMP/repository }
stacks:
  ledger:
    database: { url: "postgresql://postgres@localhost/agledger?host=$PGHOST" }
    repositories: [local]
    services:
      start: [$agl/start.sh, $stack_dir]
YAML
start="{ uses: service.start, with: { command: [$agl/start.sh, $stack_dir] } }"
works="{ uses: exec, with: { argv: [$agl/admin.sh, $stack_dir, auth, $T_TMP/key] } }"
secret="file: $stack_dir/.env, key: API_KEY_SECRET, previous_key: API_KEY_SECRET_PREVIOUS"
{
	printf 'name: rotate-api-key-secret\nabout: the secret of the API keys\non_failure: stop\nmust_finish: true\n'
	printf 'parameters:\n  stack: { type: string, required: true, about: "name of the stack" }\nsteps:\n'
	printf '  - { id: rotate, uses: secret.rotate, with: { %s } }\n' "$secret"
	printf '  - { id: both, %s\n  - { id: works_with_both, %s\n' "${start#\{ }" "${works#\{ }"
	printf '  - { id: rehash, uses: exec, with: { argv: [node, %s/rehash-api-keys.mjs, %s] } }\n' "$agl" "$stack_dir"
	printf '  - { id: rehashed, %s\n  - { id: works_with_new, %s\n' "${start#\{ }" "${works#\{ }"
	printf '  - { id: retire, uses: secret.retire, with: { %s } }\n' "$secret"
	printf '  - { id: new_alone, %s\n  - { id: works_alone, %s\n' "${start#\{ }" "${works#\{ }"
} >"$T_TMP/rotate.yaml"
{
	printf 'name: rotate-signing-key\nabout: the key that signs the vault\non_failure: stop\nmust_finish: true\n'
	printf 'parameters:\n  stack: { type: string, required: true, about: "name of the stack" }\nsteps:\n'
	printf '  - { id: rotate, uses: secret.rotate, with: { file: %s/.env, key: VAULT_SIGNING_KEY, ' "$stack_dir"
	printf 'previous_key: VAULT_SIGNING_KEY_PREVIOUS, generate: base64 } }\n'
	printf '  - { id: start, %s\n' "${start#\{ }"
	printf '  - { id: intact, uses: exec, with: { argv: [%s/admin.sh, %s, scan] } }\n' "$agl" "$stack_dir"
} >"$T_TMP/sign.yaml"

works() {
	"$agl/admin.sh" "$stack_dir" auth "$T_TMP/key" | jq -c .
}

t_begin the_signing_key
old=$(stack_value VAULT_SIGNING_KEY)
stack_post "$base/v1/records" '{"data": 1}' "authorization: Bearer $(<"$T_TMP/key")" >/dev/null
t_ok holdfast run "$T_TMP/sign.yaml" --stack ledger
"$agl/admin.sh" "$stack_dir" reload >/dev/null
stack_post "$base/v1/records" '{"data": 2}' "authorization: Bearer $(<"$T_TMP/key")" >/dev/null
t_isnt "$(stack_value VAULT_SIGNING_KEY)" "$old" "there is a new one"
t_is "$(stack_value VAULT_SIGNING_KEY_PREVIOUS)" "$old" "the old one is kept"
t_is "$("$agl/admin.sh" "$stack_dir" scan | jq -c '[.entries, .brokenChains]')" '[2,0]' "signatures of both are good"

t_begin the_secret_of_the_keys
old=$(stack_value API_KEY_SECRET)
t_ok holdfast run "$T_TMP/rotate.yaml" --stack ledger
t_isnt "$(stack_value API_KEY_SECRET)" "$old" "there is a new one"
t_exit 1 stack_value API_KEY_SECRET_PREVIOUS
t_is "$(works)" '{"name":"shop","secret":"current"}' "the key is good"
t_is "$(grep -rlF -e "$old" -e "$(stack_value API_KEY_SECRET)" -e "$(stack_value VAULT_SIGNING_KEY)" "$T_TMP/state")" '' \
	"the journal has no secret"

t_begin killed_and_resumed
points=$(wc -l <"$(find "$T_TMP/state/runs" -mindepth 1 -maxdepth 1 | sort | tail -n 1)/journal")
if [ -n "${FULL:-}" ]; then
	mapfile -t kills < <(seq 1 "$points")
else
	kills=($((points / 2)) $((points / 2 + 1 + RANDOM % (points / 2 - 2))))
fi
for kill in "${kills[@]}"; do
	old=$(stack_value API_KEY_SECRET)
	t_run env HOLDFAST_CRASH_AT="record:$kill" "$HOLDFAST" --config "$T_TMP/holdfast.yaml" run "$T_TMP/rotate.yaml" --stack ledger
	killed=$t_status
	between=$(works)
	t_run holdfast resume --stack ledger
	said="resume: $t_status $t_out$t_err"
	[ "$t_status" -eq 0 ] || t_run holdfast run "$T_TMP/rotate.yaml" --stack ledger # it had not begun
	after="$t_status $(works) $(stack_value API_KEY_SECRET_PREVIOUS || echo alone) $([ "$(stack_value API_KEY_SECRET)" = "$old" ] || echo new)"
	t_match "$killed $between -> $after" '^137 \{"name":"shop","secret":"(current|previous)"\} -> 0 \{"name":"shop","secret":"current"\} alone new$' \
		"killed before record $kill"
	[ "$t_status" -eq 0 ] || printf "%s\n" "$said" | sed "s/^/#   /"
done
