#!/usr/bin/env bash
# The rotations of docs/examples/agledger on the ledger's stand-in, by the lines of the runbook: undisturbed, killed between steps and gone on
# with or given up, failing before and after the point of no return; and a restore of what was taken under the old secret.  At every
# moment the key of before is good with what .env has then.  FULL=1 kills before every record of the journal.
# shellcheck source=agledger_lib.sh
. "$(dirname "$0")/agledger_lib.sh"
ledger_install 0.19.17
ledger_configure
printf 'OTHER="x y"   # stays\n' >>"$stack_dir/.env"
first_secret=$(stack_value API_KEY_SECRET)

secrets_now() { # KEY: what stands there, and whether there is a previous one
	printf '%s %s' "$(stack_value "$1")" "$(stack_value "$1_PREVIOUS" || echo alone)"
}
rest_of_env() {
	grep -v -e '^API_KEY_SECRET' -e '^VAULT_SIGNING_KEY' "$stack_dir/.env"
}
rest=$(rest_of_env)
# What may be said in the middle: with the settings that .env has now, the API starts and knows the key, and all signatures are good.
is_open() {
	"$agl/start.sh" "$stack_dir" >/dev/null 2>&1 && reload && [[ $(known) == '{"name":"shop",'* ]] &&
		"$agl/admin.sh" "$stack_dir" scan >/dev/null
}
# rotated KEY OLD LABEL: a new secret alone, in .env and in what runs; everything else as before.
rotated() {
	t_isnt "$(stack_value "$1")" "$2" "$3: there is a new one"
	t_is "$(stack_value "$1_PREVIOUS" || echo alone)" alone "$3: the old one is gone"
	t_is "$(rest_of_env)" "$rest" "$3: nothing else in .env"
	t_is "$(known)" '{"name":"shop","secret":"current"}' "$3: the key is good"
	ledger_keep_secrets
}
last_set() {
	holdfast list --output json | jq -r '[.sets[].id] | max'
}

t_begin a_new_secret_for_the_keys
old=$first_secret
t_exit 0 book 'holdfast run rotate-api-key-secret --dry-run'
t_is "$(secrets_now API_KEY_SECRET)" "$old alone" "a dry run changes nothing"
t_exit 0 book 'holdfast run rotate-api-key-secret'
t_match "$t_err" 'no way back from here: the API keys are stored anew under the new API_KEY_SECRET'
rotated API_KEY_SECRET "$old" undisturbed
ledger_is 0.19.17
first_set=$(holdfast list --output json | jq -r '[.sets[].id] | min')
t_isnt "$(last_set)" "$first_set" "one set from before, one from after"
t_exit 10 holdfast rollback --yes "$(newest_run)"
t_match "$t_err" 'cannot be rolled back: step "retire" is a point of no return'

t_begin a_new_signing_key
old=$(stack_value VAULT_SIGNING_KEY)
t_exit 0 book 'holdfast run rotate-signing-key --dry-run'
t_exit 0 book 'holdfast run rotate-signing-key'
rotated VAULT_SIGNING_KEY "$old" undisturbed
ledger_is 0.19.17
t_is "$(sql 'SELECT count(DISTINCT key_id) FROM audit_vault')" 2 "entries of both keys, in one good chain"

# killed PLAN KEY POINT: killed there; whatever .env has then opens; resumed, it is rotated once.
killed() {
	local plan=$1 key_name=$2 point=$3 before
	before=$(stack_value "$key_name")
	HOLDFAST_CRASH_AT=$point t_run holdfast run "$plan"
	[ "$t_status" -eq 137 ] || return 1
	ledger_keep_secrets
	is_open || t_fail "$plan, $point: locked out" "$(secrets_now "$key_name")"
	if is_unfinished "$(newest_run)"; then t_exit 0 book 'holdfast resume RUN' RUN="$(newest_run)"; fi
	rotated "$key_name" "$before" "$plan, $point"
	return 0
}

t_begin killed_between_steps_they_go_on
if [ -n "${FULL:-}" ]; then
	for ((i = 2; ; i++)); do killed rotate-api-key-secret API_KEY_SECRET journal:$i || break; done
	t_is "$((i > 40)) $t_status" '1 0' "to its end"
	for ((i = 2; ; i++)); do killed rotate-signing-key VAULT_SIGNING_KEY journal:$i || break; done
	t_is "$((i > 40)) $t_status" '1 0' "to its end"
else
	# the new secret is written and not noted; the keys may be stored anew; the old secret is gone, and not noted
	rehash=$(grep -n '"step":"rehash"' "$T_TMP/state/runs/"*-rotate-api-key-secret-*/journal | head -n 1 | cut -d: -f1)
	for point in edit:2 "journal:$rehash"; do
		killed rotate-api-key-secret API_KEY_SECRET "$point" || t_fail "$point" "exit status $t_status"
	done
	killed rotate-signing-key VAULT_SIGNING_KEY edit:4 || t_fail edit:4 "exit status $t_status"
fi

t_begin a_new_signing_key_that_does_not_hold_goes_back
before=$(stack_value VAULT_SIGNING_KEY)
cat >"$T_TMP/preflight" <<-SH
	#!/bin/sh
	grep -q ^VAULT_SIGNING_KEY_PREVIOUS= $stack_dir/.env || exec node $agl/preflight.mjs $stack_dir
	echo "header = \"authorization: \$(cat $T_TMP/etc/known-key)\"" | curl -sS --fail -K - -H "content-type: application/json" -d "{}" $base/v1/records
	exit 1
SH
chmod +x "$T_TMP/preflight"
ledger_configure "preflight: [$T_TMP/preflight]"
t_exit 7 holdfast run rotate-signing-key
t_match "$t_err" 'preflight_both: failed'
ledger_configure
t_is "$(secrets_now VAULT_SIGNING_KEY)" "$before alone" "the old one is back"
t_is "$(rest_of_env)" "$rest" "nothing else in .env"
entries=$((entries + 1))
t_is "$(sql 'SELECT count(DISTINCT key_id) FROM audit_vault')" 3 "an entry was signed by the new one"
ledger_is 0.19.17

t_begin given_up_before_the_keys_are_stored_anew_the_old_secret_is_back
before=$(stack_value API_KEY_SECRET)
HOLDFAST_CRASH_AT=edit:2 t_run holdfast run rotate-api-key-secret
t_isnt "$(stack_value API_KEY_SECRET)" "$before" "a new one was there"
t_exit 0 book 'holdfast abandon RUN --yes' RUN="$(newest_run)"
t_is "$(secrets_now API_KEY_SECRET)" "$before alone" "the old one is back"
t_is "$(known)" '{"name":"shop","secret":"current"}' "and in use"

t_begin a_proof_that_fails_before_the_keys_are_stored_anew
printf '#!/bin/sh\ngrep -q ^API_KEY_SECRET_PREVIOUS= %s/.env && exit 1\nexec %s/start.sh %s\n' "$stack_dir" "$agl" "$stack_dir" >"$T_TMP/start"
chmod +x "$T_TMP/start"
sed -i "s,start: \[$agl/start.sh\, $stack_dir\]\$,start: [$T_TMP/start]," "$T_TMP/holdfast.yaml"
t_exit 7 holdfast run rotate-api-key-secret
t_match "$t_err" "start_both: failed"
t_is "$(secrets_now API_KEY_SECRET)" "$before alone" "the old one is back"
t_is "$(known)" '{"name":"shop","secret":"current"}' "and in use"

t_begin a_proof_that_fails_after_it_leaves_both
ledger_configure 'rehash: [false]'
t_exit 1 holdfast run rotate-api-key-secret
ledger_keep_secrets
t_match "$t_err" 'rehash: failed'
t_is "$(secrets_now API_KEY_SECRET)" "$(stack_value API_KEY_SECRET) $before" "both are there"
t_is "$(known)" '{"name":"shop","secret":"previous"}' "and accepted"
t_exit 10 holdfast rollback --yes "$(newest_run)"
t_match "$t_err" 'cannot be rolled back: step "no_way_back" is a point of no return'
t_exit 10 holdfast run rotate-api-key-secret
t_exit 10 holdfast upgrade 0.19.18
t_exit 10 holdfast abandon "$(newest_run)" --yes
t_match "$t_err" 'cannot be abandoned: step "no_way_back" is a point of no return'
t_exit 0 book 'holdfast abandon RUN --force --yes' RUN="$(newest_run)"
t_is "$(secrets_now API_KEY_SECRET)" "$(stack_value API_KEY_SECRET) $before" "both are there still"
ledger_configure
HOLDFAST_DATABASE=$DATABASE_URL_MIGRATE t_exit 0 holdfast backup # as the runbook has it
middle_set=$(last_set)
t_exit 0 holdfast restore "$middle_set" --dry-run
t_exit 7 holdfast run rotate-api-key-secret
t_match "$t_err" '"API_KEY_SECRET_PREVIOUS" is set in file ".*": an earlier rotation was not brought to its end'
node "$agl/rehash-api-keys.mjs" "$stack_dir" >/dev/null
stack_unset API_KEY_SECRET_PREVIOUS
"$agl/start.sh" "$stack_dir" && reload
t_is "$(known)" '{"name":"shop","secret":"current"}' "by hand, as the runbook says"
t_exit 10 holdfast restore "$middle_set" --dry-run
t_match "$t_err" "secret \"API_KEY_SECRET.previous\" is not the one under which backup set \"$middle_set\" was made"

t_begin a_set_from_before_does_not_fit
t_exit 0 book 'holdfast list'
t_exit 0 book 'holdfast show SET' SET="$first_set"
t_exit 10 book 'holdfast restore SET --dry-run' SET="$first_set"
t_exit 10 book 'holdfast restore SET --yes' SET="$first_set"
t_match "$t_err" "secrets \"API_KEY_SECRET\", \"VAULT_SIGNING_KEY\" are not those under which backup set \"$first_set\" was made"
t_match "$t_err" 'Put back the secrets of that time first, or restore all the same with --accept-other-secrets'
t_is "$(known)" '{"name":"shop","secret":"current"}' "nothing was changed"
t_exit 0 book 'holdfast restore SET --yes --accept-other-secrets' SET="$first_set"
t_exit 0 book 'holdfast run check'
t_is "$(known)" '{"error":"this key is not known"}' "restored all the same, nobody is known"
stack_set API_KEY_SECRET_PREVIOUS "$first_secret"
"$agl/start.sh" "$stack_dir" && reload
t_ok node "$agl/rehash-api-keys.mjs" "$stack_dir"
stack_unset API_KEY_SECRET_PREVIOUS
"$agl/start.sh" "$stack_dir" && reload
entries=1
ledger_is 0.19.17

t_begin the_end
book_is_run 'Rotation of API_KEY_SECRET' 'Rotation of VAULT_SIGNING_KEY' Restore
ledger_no_secret_is_in "$T_TMP/state" "$T_TMP/repository" "$T_TMP/said"
