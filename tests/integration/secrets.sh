#!/usr/bin/env bash
# Secrets of the application: their fingerprints in backup sets, restores under other ones, and rotation in a plan, killed anywhere.
# FULL=1: killed after every record of the journal.
# shellcheck source=../lib/t.sh
. tests/lib/t.sh
unset "${!HOLDFAST_@}" "${!PG@}" XDG_CONFIG_HOME
# shellcheck source=../lib/pg.sh
. tests/lib/pg.sh

HOLDFAST=${HOLDFAST:-$PWD/build/holdfast}
export HOME=$T_TMP/home HOLDFAST_STATE_DIR=$T_TMP/state HOLDFAST_CONFIG=$T_TMP/holdfast.yaml
export SESSION_KEY=session-key-of-today
mkdir "$HOME"
env=$T_TMP/.env repository=$T_TMP/repository
pg_start
pg_sql 'CREATE DATABASE app'
cat >"$HOLDFAST_CONFIG" <<END
version: 1
repositories: { local: { url: "file://$repository" } }
stacks:
  app:
    database: { url: "postgresql:///app?host=$PGHOST&port=$PGPORT&user=postgres" }
    repositories: [local]
    secrets:
      API_KEY_SECRET: { env_file: $env, key: API_KEY_SECRET }
      VAULT_SIGNING_KEY: file:$T_TMP/vault
      SESSION_KEY: env:SESSION_KEY
END
printf 'API_KEY_SECRET="first-api-secret"\n' >"$env"
printf 'vault-key-of-today\n' >"$T_TMP/vault"

# Nothing that must stay secret is in what Holdfast has written or said.
leaks() { # leaks DIRECTORY…
	{ grep -rlaE 'api-secret|vault-key|session-key' "$@"
		find "$@" -name '*.zst' -exec sh -c 'zstd -dcq "$1" | grep -qaE "api-secret|vault-key|session-key" && echo "$1"' _ {} \;
		grep -oE 'api-secret|vault-key|session-key' <<<"$t_out$t_err"; }
}

t_begin a_set_has_fingerprints_and_no_secret
t_exit 0 "$HOLDFAST" backup
manifest=$(echo "$repository"/app/backups/*/manifest.json)
id=$(basename "$(dirname "$manifest")")
t_is "$(grep -c '"kdf":"pbkdf2-hmac-sha256","iterations":200000' "$manifest")" 3
t_is "$(grep -l fingerprint "$repository"/app/backups/*/set.json)" ''
t_is "$(leaks "$repository" "$HOLDFAST_STATE_DIR")" ''

t_begin a_fingerprint_is_compared_with_stock_tools
read -r salt fingerprint < <(sed -n 's/.*"name":"API_KEY_SECRET".*"salt":"\([^"]*\)","fingerprint":"\([^"]*\)".*/\1 \2/p' "$manifest")
t_is "$(openssl kdf -keylen 32 -kdfopt digest:SHA256 -kdfopt pass:first-api-secret -kdfopt hexsalt:"$salt" -kdfopt iter:200000 PBKDF2 |
	tr -d ':\n' | tr A-F a-f)" "$fingerprint"

t_begin the_same_secrets_restore
t_exit 0 "$HOLDFAST" restore latest --dry-run
t_nomatch "$t_err" 'secret'

t_begin other_secrets_are_refused_before_anything_starts
printf 'API_KEY_SECRET="second-api-secret"\n' >"$env"
t_exit 10 "$HOLDFAST" restore latest --yes
t_match "$t_err" "secret \"API_KEY_SECRET\" is not the one under which backup set \"$id\" was made"
t_match "$t_err" 'What the application has hashed, encrypted or signed in that set does not fit the secret of today'
t_match "$t_err" 'Put back the secret of that time first, or restore all the same with --accept-other-secrets'
t_is "$(pg_sql "SELECT count(*) FROM pg_database WHERE datname LIKE 'app%'")" 1
SESSION_KEY=another-session-key t_exit 10 "$HOLDFAST" restore latest --dry-run
t_match "$t_err" 'secrets "API_KEY_SECRET", "SESSION_KEY" are not those under which backup set '
t_is "$(leaks "$repository" "$HOLDFAST_STATE_DIR")" ''

t_begin other_secrets_may_be_accepted
t_exit 0 "$HOLDFAST" restore latest --yes --accept-other-secrets
t_match "$t_err" "warning: +secret \"API_KEY_SECRET\" is not the one under which backup set \"$id\" was made"

t_begin a_secret_that_is_not_there_is_told
printf 'API_KEY_SECRET="first-api-secret"\n' >"$env"
rm "$T_TMP/vault"
t_exit 0 "$HOLDFAST" restore latest --dry-run
t_match "$t_err" "secret \"VAULT_SIGNING_KEY\" is not here to be compared with that of the backup set: file:$T_TMP/vault: file \"$T_TMP/vault\" does not exist"
t_exit 0 "$HOLDFAST" backup
t_match "$t_err" 'secret "VAULT_SIGNING_KEY" has no fingerprint in the backup set'
t_exit 0 env -u HOLDFAST_CONFIG "$HOLDFAST" restore latest --dry-run -d app -r "$repository" --stack app
t_match "$t_err" 'not compared with those of the backup set, as the configuration does not say where they stand: "API_KEY_SECRET", "SESSION_KEY"'

t_begin in_the_middle_of_a_rotation_there_are_two
printf 'vault-key-of-today\n' >"$T_TMP/vault"
sed -i "/API_KEY_SECRET:/a\\      API_KEY_SECRET.previous: { env_file: $env, key: API_KEY_SECRET_PREVIOUS }" "$HOLDFAST_CONFIG"
# secrets_are PRESENT [PREVIOUS]
secrets_are() { printf 'API_KEY_SECRET="%s-api-secret"\n' "$1" >"$env" && [ -z "${2:-}" ] || printf 'API_KEY_SECRET_PREVIOUS=%s-api-secret\n' "$2" >>"$env"; }
declare -A sets
taken() { # taken NAME PRESENT [PREVIOUS]: a set of that time
	secrets_are "${@:2}"
	t_exit 0 "$HOLDFAST" backup --output json
	t_nomatch "$t_err" 'fingerprint'
	sets[$1]=$(jq -r .run.outputs.commit.backup_id <<<"$t_out")
}
taken before first
taken within second first
taken after second
t_is "$(grep -c '"name":"API_KEY_SECRET.previous"' "$repository"/app/backups/*/manifest.json | grep -c ':1$')" 1 'noted by one set alone'
# set, secrets of today (present, previous), exit status, what is said
while read -r of present previous status says; do
	secrets_are "$present" "${previous#-}"
	t_exit "$status" "$HOLDFAST" restore "${sets[$of]}" --dry-run
	case $says in
	-) t_nomatch "$t_err" 'secret|rotation' "$of, under $present $previous" ;;
	again) t_match "$t_err" 'secret "API_KEY_SECRET" of the backup set is the previous one here: .* before "API_KEY_SECRET.previous" is removed' ;;
	*) t_match "$t_err" "secret \"$says\" is not the one under which backup set \"${sets[$of]}\" was made" "$of, under $present $previous" ;;
	esac
	[ "$of" != within ] || [ "$status" = 0 ] || t_match "$t_err" 'made in the middle of a rotation: it needs both'
done <<'END'
before second first 0  again
before second -     10 API_KEY_SECRET
within first -      10 API_KEY_SECRET
within second first 0  -
within second -     10 API_KEY_SECRET.previous
after  second first 0  -
END
secrets_are second
t_exit 0 "$HOLDFAST" restore "${sets[within]}" --dry-run --accept-other-secrets
t_match "$t_err" 'warning: +secret "API_KEY_SECRET.previous" is not the one under which'
sed -i '/API_KEY_SECRET.previous/d' "$HOLDFAST_CONFIG"
t_exit 10 "$HOLDFAST" restore "${sets[within]}" --dry-run
t_match "$t_err" 'secret "API_KEY_SECRET.previous" is not the one' 'though nothing says where it stands'
t_is "$(leaks "$repository" "$HOLDFAST_STATE_DIR")" ''

t_begin another_secret_that_differs_is_no_matter_of_the_rotation
sed -i "/API_KEY_SECRET:/a\\      API_KEY_SECRET.previous: { env_file: $env, key: API_KEY_SECRET_PREVIOUS }" "$HOLDFAST_CONFIG"
secrets_are second first
SESSION_KEY=another-session-key t_exit 10 "$HOLDFAST" restore "${sets[within]}" --dry-run
t_match "$t_err" 'secret "SESSION_KEY" is not the one'
t_nomatch "$t_err" 'rotation'

t_begin a_previous_secret_that_cannot_be_read_is_told
mkdir "$T_TMP/old"
sed -i "s|\(API_KEY_SECRET.previous:\).*|\1 file:$T_TMP/old|" "$HOLDFAST_CONFIG"
t_exit 0 "$HOLDFAST" backup
t_match "$t_err" "secret \"API_KEY_SECRET.previous\" has no fingerprint in the backup set: file:$T_TMP/old: .*Is a directory"
t_exit 10 "$HOLDFAST" restore "${sets[within]}" --dry-run
t_match "$t_err" 'secret "API_KEY_SECRET.previous" is not here to be compared with that of the backup set: .*Is a directory'
rmdir "$T_TMP/old"
echo >"$T_TMP/old"
t_exit 0 "$HOLDFAST" backup
t_nomatch "$t_err" 'fingerprint' 'an empty file: there is no rotation'

t_begin a_previous_secret_alone_is_one_like_any_other
sed -i '/API_KEY_SECRET:/d' "$HOLDFAST_CONFIG"
t_exit 0 "$HOLDFAST" backup
t_match "$t_err" 'secret "API_KEY_SECRET.previous" has no fingerprint in the backup set: .* is empty'
echo alone-api-secret >"$T_TMP/old"
t_exit 0 "$HOLDFAST" backup
echo changed-api-secret >"$T_TMP/old"
t_exit 10 "$HOLDFAST" restore latest --dry-run
t_match "$t_err" 'secret "API_KEY_SECRET.previous" is not the one'
t_nomatch "$t_err" 'rotation|not compared'

# --- rotation ----------------------------------------------------------------------------------------------------------------

# A stand-in for an application with two secrets: "start" reads the file, "rehash" moves what is stored to the present secret, "verify"
# says whether what is stored is accepted.
cat >"$T_TMP/app" <<END
#!/bin/sh
set -e
cd $T_TMP
value() { sed -n "s/^\$1=['\"]*\([^'\"]*\)['\"]*\$/\1/p" running; }
case \$1 in
start) cp .env running ;;
rehash) value KEY >stored.new && mv stored.new stored ;;
verify) test "\$(cat stored)" = "\$(value KEY)" || test "\$(cat stored)" = "\$(value KEY_PREVIOUS)" ;;
fail) exit 1 ;;
esac
END
chmod +x "$T_TMP/app"
rotation() { # rotation [FAIL]
	cat <<END
name: rotate
about: API_KEY_SECRET
on_failure: rollback
parameters:
  stack: { type: string, about: "name of the stack" }
steps:
  - { id: rotate, uses: secret.rotate, with: { file: $env, key: KEY, previous_key: KEY_PREVIOUS } }
  - { id: restart, uses: exec, with: { argv: [$T_TMP/app, start], undo: [$T_TMP/app, start] } }
  - { id: verify, uses: exec, with: { argv: [$T_TMP/app, ${1:-verify}] } }
  - { id: rehash, uses: exec, with: { argv: [$T_TMP/app, rehash] } }
  - { id: verify_new, uses: exec, with: { argv: [$T_TMP/app, verify] } }
  - { id: retire, uses: secret.retire, with: { file: $env, key: KEY, previous_key: KEY_PREVIOUS } }
  - { id: restart_again, uses: exec, with: { argv: [$T_TMP/app, start] } }
  - { id: verify_again, uses: exec, with: { argv: [$T_TMP/app, verify] } }
END
}
before='# of the application
KEY="old-api-secret"
OTHER=1'
lay_out() {
	rm -rf "$HOLDFAST_STATE_DIR"
	printf '%s' "$before" >"$env"
	printf 'old-api-secret\n' >"$T_TMP/stored"
	cp "$env" "$T_TMP/running"
}
# The new secret alone, in the file, in the application that runs, and for what is stored.
rotated() {
	local new
	new=$(sed -n 's/^KEY="\([0-9a-f]*\)"$/\1/p' "$env")
	t_is "${#new} $(grep -c KEY_PREVIOUS "$env") $(cmp "$env" "$T_TMP/running" && cat "$T_TMP/stored")" "64 0 $new" "$1"
	t_is "$(sed "s/$new/old-api-secret/" "$env")" "$before" "$1: nothing else"
	t_is "$(grep -rla "$new" "$HOLDFAST_STATE_DIR")$(leaks "$HOLDFAST_STATE_DIR")" '' "$1: nowhere else"
}
rotation >"$T_TMP/rotate.yaml"
rotate=("$HOLDFAST" run "$T_TMP/rotate.yaml" --stack shop)
unset HOLDFAST_CONFIG

t_begin a_secret_is_rotated
lay_out
t_exit 0 "${rotate[@]}"
rotated undisturbed

t_begin killed_anywhere_it_is_rotated_once
points=(edit:1 edit:2 edit:4 journal:3)
[ -z "${FULL-}" ] || points+=(edit:3 journal:{2,4,{5..18}})
for point in "${points[@]}"; do
	lay_out
	HOLDFAST_CRASH_AT=$point "${rotate[@]}" >/dev/null 2>&1
	t_is $? 137 "$point: killed"
	t_exit 0 "$HOLDFAST" resume
	rotated "$point"
done

t_begin given_up_in_the_middle_the_old_secret_is_back
for point in edit:1 edit:2; do
	lay_out
	HOLDFAST_CRASH_AT=$point "${rotate[@]}" >/dev/null 2>&1
	t_exit 0 "$HOLDFAST" abandon "$(ls "$HOLDFAST_STATE_DIR/runs")" --yes
	t_is "$(cat "$env")" "$before" "$point"
	t_is "$(leaks "$HOLDFAST_STATE_DIR")" ''
done

t_begin a_new_secret_that_does_not_work_goes_back
lay_out
rotation fail >"$T_TMP/rotate.yaml"
t_exit 7 "${rotate[@]}"
t_match "$t_out" "\"KEY\" in file \"$env\" is the secret it was before; the one that took its place is gone"
t_is "$(cat "$env")" "$before"
rotation >"$T_TMP/rotate.yaml"

t_begin an_unfinished_rotation_is_not_rotated_over
lay_out
printf '\nKEY_PREVIOUS=older-api-secret\n' >>"$env"
t_exit 7 "${rotate[@]}"
t_match "$t_err" "\"KEY_PREVIOUS\" is set in file \"$env\": an earlier rotation was not brought to its end"
t_is "$(leaks "$HOLDFAST_STATE_DIR")" ''

t_begin what_somebody_has_changed_is_not_overwritten
lay_out
HOLDFAST_CRASH_AT=edit:2 "${rotate[@]}" >/dev/null 2>&1
sed -i 's/^KEY=.*/KEY=mine-api-secret/' "$env"
t_exit 9 "$HOLDFAST" abandon "$(ls "$HOLDFAST_STATE_DIR/runs")" --yes
t_match "$t_err" "\"KEY\" and \"KEY_PREVIOUS\" in file \"$env\" are not as this run has left them"
t_is "$(sed -n 's/^KEY=//p' "$env")" mine-api-secret
