#!/usr/bin/env bash
# The plan of docs/examples/agledger on the ledger's stand-in, by the lines of its runbook: an upgrade that succeeds; versions whose start,
# preflight, version or migration is wrong, and one that breaks the chain: the old one serves again, and nothing is lost.  FULL=1: with the
# API running meanwhile, the database restored from the set, and killed before every record of the journal.
# shellcheck source=agledger_lib.sh
. "$(dirname "$0")/agledger_lib.sh"
ledger_install 0.19.17

# In place of docker login: takes one password.
cat >"$T_TMP/login" <<-SH
	#!/bin/sh
	password=\$(cat) && [ "\$password" = registry-pass-31 ] && echo "logged in with \$password"
SH
# In place of a migration that rewrites what is signed.
cat >"$T_TMP/spoil" <<-SH
	#!/bin/sh
	node $agl/migrate.mjs $stack_dir "\$1" && PGDATABASE=agledger PGHOST=$PGHOST PGUSER=postgres PGPASSWORD= psql -Xqc \
		"UPDATE audit_vault SET envelope = replace(envelope, 'first', 'forged') WHERE chain_position = 1"
SH
chmod +x "$T_TMP/login" "$T_TMP/spoil"
printf 'registry-pass-31\n' >"$T_TMP/etc/registry"
printf 'registry-pass-31\n' >>"$T_TMP/secrets"
login=("registry_login: [$T_TMP/login]" "registry_password: file:$T_TMP/etc/registry")
stack_set AGLEDGER_LICENSE_MODE trial
stack_set AGLEDGER_IMAGE_PIN agledger/agledger@sha256:00
ledger_configure "${login[@]}"

remember() {
	cp -p "$stack_dir/.env" "$T_TMP/env.before"
	version_before=$(cat "$stack_dir/VERSION" 2>&1)
	pids=$("$STACKS/lib/status.sh" "$stack_dir" api)
}
as_before() {
	t_is "$(cmp "$stack_dir/.env" "$T_TMP/env.before" 2>&1)" '' ".env is as it was, byte for byte"
	t_is "$(cat "$stack_dir/VERSION" 2>&1)" "$version_before" "and so is VERSION"
}
# fails_well VERSION MESSAGE [OPTION…]: that upgrade fails with this reason, and 0.19.17 serves as before.
fails_well() {
	remember
	record "before $1" # its job may be on the way
	t_exit 7 book 'holdfast upgrade VERSION --accept-major' VERSION="$1"
	t_match "$t_err" "$2" "the reason is told"
	as_before
	ledger_is 0.19.17
}

t_begin the_example_of_a_configuration_is_one
sed -e "s,/etc/holdfast/agledger/\([a-z-]*\.yaml\),$EXAMPLE/\1,; s,/srv/agledger/compose,$stack_dir," "$EXAMPLE/holdfast.yaml" >"$T_TMP/example.yaml"
t_exit 0 env AGLEDGER_DATABASE_URL="$DATABASE_URL" AGLEDGER_DATABASE_URL_OWNER="$DATABASE_URL_MIGRATE" \
	"$HOLDFAST" --config "$T_TMP/example.yaml" upgrade 0.19.18 --dry-run
t_match "$t_out" 'command=\["docker","compose","run","--rm","-e","PGAPPNAME","agledger-migrate"\]' "with the commands of compose"
for plan in rotate-api-key-secret rotate-signing-key check; do
	t_exit 0 env AGLEDGER_DATABASE_URL="$DATABASE_URL" AGLEDGER_DATABASE_URL_OWNER="$DATABASE_URL_MIGRATE" \
		"$HOLDFAST" --config "$T_TMP/example.yaml" run "$plan" --dry-run
done

t_begin what_must_be_said_first
remember
t_exit 10 holdfast upgrade 1.3.3
t_match "$t_err" 'From version "0\.19\.17" to "1\.3\.3" is a major step\.'
t_exit 0 book 'holdfast upgrade VERSION --accept-major --dry-run' VERSION=1.3.3
as_before
t_is "$("$STACKS/lib/status.sh" "$stack_dir" api)" "$pids" "AGLedger was not touched"

t_begin a_chain_that_was_broken_before_is_not_the_upgrades_doing
sql "UPDATE audit_vault SET envelope = replace(envelope, 'first', 'forged') WHERE chain_position = 1"
t_exit 7 holdfast upgrade 1.3.3 --accept-major
t_match "$t_err" 'vault_before: failed'
t_match "$t_err" '/v1/admin/vault/scan" has ended otherwise than expected: "brokenChains" is "1", wanted "0"'
t_is "$("$STACKS/lib/status.sh" "$stack_dir" api)" "$pids" "AGLedger was not touched"
sql "UPDATE audit_vault SET envelope = replace(envelope, 'forged', 'first') WHERE chain_position = 1"

t_begin a_version_whose_preflight_fails
fails_well 1.3.5 'preflight_after: failed.*FAIL  connections: max_connections is below 5000'

t_begin a_version_that_is_another_one
fails_well 1.3.4 "\"$base/conformance\" is not healthy after 5\.0s: \"version\" is \"1\.3\.3\", wanted \"1\.3\.4\""

t_begin a_version_whose_migration_fails_half_way
fails_well 1.4.0 'migrate: failed.*applied 005_tenants\.sql.*42P01: relation "pgboss\.job_common" does not exist'

t_begin a_migration_that_breaks_the_chain
ledger_configure "${login[@]}" "migrate: [$T_TMP/spoil, \"\${version}\"]"
fails_well 1.3.3 'vault_after: failed.*"brokenChains" is "1", wanted "0"'
ledger_configure "${login[@]}"

t_begin an_upgrade_that_is_killed_and_goes_on
remember
HOLDFAST_CRASH_AT=journal:33 t_run holdfast upgrade 1.3.3 --accept-major
t_is "$t_status" 137 "it was killed"
t_exit 10 holdfast upgrade 1.3.3 --accept-major
t_exit 0 book 'holdfast runs'
t_exit 0 book 'holdfast status RUN' RUN="$(newest_run)"
t_exit 0 book 'holdfast resume RUN' RUN="$(newest_run)"
ledger_is 1.3.3
run=$(newest_run)
commented="# commented out by holdfast $run: "
t_is "$(cat "$stack_dir/VERSION")" 1.3.3 "VERSION"
t_is "$(grep -v AGLEDGER_ "$stack_dir/.env")" "$(grep -v AGLEDGER_ "$T_TMP/env.before")"$'\nCOMPOSE_FILE=docker-compose.yml' "what .env has else"
t_is "$(grep AGLEDGER_ "$stack_dir/.env")" "AGLEDGER_VERSION=1.3.3   # pinned
${commented}AGLEDGER_LICENSE_MODE='trial'
${commented}AGLEDGER_IMAGE_PIN='agledger/agledger@sha256:00'" "the version, and what it does not take any more"
t_is "$(<"$T_TMP/state/runs/$run/login.log")" 'logged in with ***' "the registry's password was given, and is in no log"

t_begin the_way_back_loses_no_entry_unasked
sed -i 's/^COMPOSE_FILE=.*/&/' "$stack_dir/.env"
t_exit 10 book 'holdfast rollback --dry-run'
t_exit 10 book 'holdfast rollback --yes'
t_match "$t_err" 'rows in [0-9]+ tables were written since the upgrade'
ledger_is 1.3.3
t_exit 0 book 'holdfast rollback --yes --save-new-writes FILE' FILE="$T_TMP/new.sql"
t_is "$(stat -c %a "$T_TMP/new.sql") $(grep -c 'under 1\.3\.3' "$T_TMP/new.sql")" '600 2' "both entries are in the file"
entries=$((entries - 2))
as_before
ledger_is 0.19.17

t_begin killed_and_given_up
remember
HOLDFAST_CRASH_AT=journal:41 t_run holdfast upgrade 1.3.3 --accept-major
t_is "$t_status" 137 "it was killed"
t_exit 0 book 'holdfast rollback RUN --yes' RUN="$(newest_run)"
as_before
ledger_is 0.19.17
printf 'COMPOSE_FILE=mine.yml\n' >>"$stack_dir/.env"
t_exit 0 holdfast upgrade 1.3.3 --accept-major --skip-backup --yes
t_is "$(stack_value COMPOSE_FILE)" mine.yml "a COMPOSE_FILE that is there stays"
t_exit 0 book 'holdfast rollback --yes --discard-new-writes'
ledger_is 0.19.17
kept=$(pg_sql "SELECT datname FROM pg_database WHERE datname LIKE 'agledger\_upgraded\_%' ORDER BY oid DESC LIMIT 1")
t_exit 0 book 'holdfast drop-old NAME --yes' NAME="$kept"

if [ -n "${FULL:-}" ]; then
	t_begin killed_before_every_record_and_resumed_or_rolled_back
	for ((i = 2; ; i++)); do
		remember
		HOLDFAST_CRASH_AT=journal:$i t_run holdfast upgrade 1.3.3 --accept-major
		[ "$t_status" -eq 137 ] || break
		run=$(newest_run)
		if ((i % 2)); then
			if is_unfinished "$run"; then t_exit 0 holdfast resume "$run"; fi
			ledger_is 1.3.3
			entries=$((entries - 1)) # the one that ledger_is has made
		fi
		t_exit 0 holdfast rollback "$run" --yes --discard-new-writes
		as_before
		ledger_is 0.19.17
		holdfast runs --output json | jq -e '[.runs[] | select(.is_resumable)] == []' >/dev/null || t_fail "journal:$i: all runs have ended"
	done
	t_is "$t_status $((i > 60))" '0 1' "at last it was not killed any more"
	holdfast rollback --yes --discard-new-writes >/dev/null 2>&1

	t_begin the_set_restored
	ledger_configure "${login[@]}" "put_back: restore"
	sed -i 's,^    plans:,    upgrade: { put_back: restore }\n&,; /put_back: restore$/d' "$T_TMP/holdfast.yaml"
	fails_well 1.4.0 'migrate: failed'
	t_match "$t_out" 'database "agledger" is restored from backup set' "from the set"

	t_begin the_api_serves_meanwhile
	pg_sql "GRANT agl_app TO agl_owner"
	ledger_configure "${login[@]}" "stop_api: false"
	fails_well 1.4.0 'migrate: failed'
fi

t_begin the_end
book_is_run Upgrade 'When an upgrade fails' 'Rolling back later'
ledger_no_secret_is_in "$T_TMP/state" "$T_TMP/repository" "$T_TMP/said"
