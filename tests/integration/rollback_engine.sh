#!/usr/bin/env bash
# The way back, seen by an operator: automatic, asked for, by hand after days; what it says, and what it refuses.
# shellcheck source=../lib/t.sh
. tests/lib/t.sh
unset "${!HOLDFAST_@}" "${!PG@}" XDG_CONFIG_HOME XDG_STATE_HOME SUDO_USER
HOLDFAST=${HOLDFAST:-$PWD/build/holdfast}
export HOME=$T_TMP/home HOLDFAST_STATE_DIR=$T_TMP/state
mkdir "$HOME" "$T_TMP/world"
world=$T_TMP/world
newest() { "$HOLDFAST" runs | awk 'NR == 2 { print $1 }'; }
state_of() { "$HOLDFAST" status "$1" --output json | jq -r .run.state; }
# plan ON_FAILURE LAST: version 1 becomes 2, then LAST is run; healthy is what after_rollback asks
plan() {
	cat >"$T_TMP/plan.yaml" <<-PLAN
		name: up
		on_failure: $1
		can_rollback: true
		must_finish: true
		steps:
		  - { id: look, uses: exec, with: { argv: [cat, $world/version], capture: true } }
		  - id: set
		    uses: exec
		    with: { argv: [cp, $T_TMP/new, $world/version], undo: [cp, $T_TMP/old, $world/version] }
		  - { id: last, uses: exec, with: { argv: [$2] } }
		after_rollback:
		  - { id: version, uses: exec, with: { argv: [grep, -qx, "\${steps.look.stdout}", $world/version] } }
		  - { id: health, uses: exec, with: { argv: [test, -e, $world/healthy] } }
	PLAN
}
run() { t_exit "$1" "$HOLDFAST" run "$T_TMP/plan.yaml" --stack shop; }
echo 1 >"$T_TMP/old"
echo 2 >"$T_TMP/new"
cp "$T_TMP/old" "$world/version"
touch "$world/healthy"

t_begin automatic
plan rollback 'false'
run 7
t_match "$t_err" 'last: failed.*set: undone.*look: undone.*version: done.*health: done.*error:  '
t_match "$t_out" '^put back     set: program "cp" was run to undo step "set"$'
t_is "$(cat "$world/version")" 1
run=$(newest)
t_exit 0 "$HOLDFAST" status "$run"
t_match "$t_out" 'state        rolled_back.*version +exec +done.*put back     set: program "cp"'
t_exit 0 "$HOLDFAST" status "$run" --output json
t_is "$(jq -c '[.run.undone[].step]' <<<"$t_out")" '["last","set","look"]'
t_exit 10 "$HOLDFAST" rollback --stack shop --yes
t_match "$t_err" "run \"$run\" cannot be rolled back: it is rolled back already"

t_begin not_proven_is_stuck_and_goes_on
rm "$world/healthy"
run 9
run=$(newest)
t_match "$t_err" "error:  run \"$run\" is undone, but step \"health\" after it failed: .*State: step \"look\" \(exec\): undone; .*; step \"version\" \(exec\): done; step \"health\" \(exec\): failed after the rollback"
t_is "$(state_of "$run")" stuck
t_exit 10 "$HOLDFAST" run "$T_TMP/plan.yaml" --stack shop
t_match "$t_err" "up of stack \"shop\" did not finish: run \"$run\" \(stuck\).*\"holdfast resume $run\" continues it"
touch "$world/healthy"
t_exit 7 "$HOLDFAST" resume "$run"
t_is "$(state_of "$run")" rolled_back

t_begin what_is_passed_over_after_it_tells_why
plan rollback 'false'
cat >>"$T_TMP/plan.yaml" <<-PLAN
	  - id: hooks
	    uses: exec
	    with: { argv: [sh, -c, 'echo the key is gone >&2; exit 3'] }
	    on_failure: continue
PLAN
run 7
run=$(newest)
t_match "$t_err" 'hooks: failed.*warning: step "hooks" failed and is passed over: program "sh" ended with exit status 3.detail: the key is gone'
t_match "$t_out" 'put back +set: .*passed over  hooks failed: program "sh" ended with exit status 3.* the key is gone'
t_match "$(tail -n 2 "$HOLDFAST_STATE_DIR/runs/$run/journal")" '"step":"hooks".*"passed_over":true.*"detail":"the key is gone'
t_exit 0 "$HOLDFAST" status "$run"
t_match "$t_out" 'error        program "false" ended with exit status 1.*put back +set: .*passed over  hooks failed: program "sh" ended with exit status 3.* the key is gone'
t_exit 0 "$HOLDFAST" status "$run" --output json
t_is "$(jq -c '.run.passed_over[] | [.step, .uses, .is_after_rollback, .message]' <<<"$t_out")" \
	'["hooks","exec",true,"program \"sh\" ended with exit status 3"]'
sed -i 's/argv: \[false\]/argv: ["true"]/' "$T_TMP/plan.yaml"
run 0
run=$(newest)
t_exit 8 "$HOLDFAST" rollback "$run" --yes --quiet
t_is "$t_err" 'warning: degraded: step "hooks" after the rollback failed: program "sh" ended with exit status 3'
t_is "$(state_of "$run") $(cat "$world/version")" 'rolled_back 1'
run 0
t_exit 8 "$HOLDFAST" rollback "$(newest)" --yes --output json
t_is "$(jq -r '.status, .degraded, .run.passed_over[0].detail' <<<"$t_out" | head -n 3)" 'degraded
step "hooks" after the rollback failed: program "sh" ended with exit status 3
the key is gone'

sed -i 's/on_failure: rollback/on_failure: stop/; s/argv: \["true"\]/argv: [false]/' "$T_TMP/plan.yaml"
run 1
t_exit 8 "$HOLDFAST" abandon "$(newest)"
t_match "$t_out" ': abandoned.put back +set: .*passed over  hooks failed: '

t_begin an_abandoned_one_is_told_as_such
plan stop 'false'
for after in 0 3; do # records of abandon: killed after them, and resumed
	run 1
	run=$(newest)
	if [ $after = 0 ]; then
		t_exit 0 "$HOLDFAST" abandon "$run"
	else
		HOLDFAST_CRASH_AT=journal:$after t_run "$HOLDFAST" abandon "$run"
		t_is "$t_status" 137 'killed'
		t_exit 0 "$HOLDFAST" resume "$run"
	fi
	t_match "$t_out" "^run $run \(up of stack shop\): abandoned.put back     set: program \"cp\" was run to undo step \"set\"$" "$after"
	t_is "$(state_of "$run")" abandoned
done

t_begin a_person_decides
plan ask 'false'
run 6
run=$(newest)
t_match "$t_err" "hint: .*\"holdfast rollback $run\" puts back what was before; \"holdfast resume $run\" tries the step again"
t_is "$(cat "$world/version")" 2
t_exit 0 "$HOLDFAST" status "$run"
t_match "$t_out" "state        failed.*to go on     holdfast resume $run.to undo      holdfast rollback $run"
t_exit 2 "$HOLDFAST" rollback --stack shop
t_match "$t_err" "run \"$run\" would be rolled back, and nobody is there to confirm it"
t_exit 0 "$HOLDFAST" rollback --stack shop --yes --reason 'smells of smoke'
t_is "$(cat "$world/version")" 1
t_match "$(cat "$HOLDFAST_STATE_DIR/runs/$run/journal")" '"type":"run.undoing".*' 'journaled'
t_is "$(grep -c '"reason":"rollback".*"user":"root".*"why":"smells of smoke"' "$HOLDFAST_STATE_DIR/runs/$run/journal")" 1

t_begin by_hand_when_it_is_done
plan rollback 'true'
run 0
first=$(newest)
cp "$T_TMP/old" "$world/version"
run 0
second=$(newest)
t_exit 0 "$HOLDFAST" rollback --stack shop --dry-run
t_match "$t_out" 'STEP +USES +WHAT.*last +exec +undo.*set +exec +undo.*version +exec +run.*health +exec +run'
t_is "$(cat "$world/version")" 2
t_exit 10 "$HOLDFAST" rollback "$first" --yes
t_match "$t_err" "run \"$first\" cannot be rolled back: run \"$second\" \(up, done\) came after it"
t_exit 2 "$HOLDFAST" rollback --stack shop --yes --discard-new-writes --save-new-writes x
t_exit 0 "$HOLDFAST" rollback --stack shop --yes --discard-new-writes --output json
t_is "$(jq -r '.exit_status, .run.id, .run.undone[1].outputs.put_back' <<<"$t_out")" "0
$second
program \"cp\" was run to undo step \"set\""
t_is "$(cat "$world/version")" 1
t_is "$(grep -c '"discard_new_writes":true' "$HOLDFAST_STATE_DIR/runs/$second/journal")" 1
t_is "$(state_of "$second")" rolled_back
t_exit 10 "$HOLDFAST" rollback "$second" --yes

t_begin killed_on_the_way_back_it_goes_on
cp "$T_TMP/new" "$world/version"
HOLDFAST_CRASH_AT=journal:2 t_run "$HOLDFAST" rollback "$first" --yes
t_is "$t_status" 137 'killed'
t_is "$(state_of "$first")" crashed
t_exit 0 "$HOLDFAST" resume "$first"
t_match "$t_out" "run $first \\(up of stack shop\\): rolled back.put back +set: program"
t_is "$(cat "$world/version") $(state_of "$first")" '1 rolled_back'

t_begin by_the_configuration_of_now
configured() { # START
	cat >"$T_TMP/holdfast.yaml" <<-YAML
		version: 1
		repositories: { near: { url: $T_TMP/near } }
		stacks:
		  shop:
		    database: { url: dbname=nowhere }
		    repositories: [near]
		    services: { stop: [rm, -f, $world/up], start: [$1], check: [test, -e, $world/up] }
		    health: { url: "http://127.0.0.1:1/", within: 2s }
		    upgrade: { post_start: [[test, -e, $world/up]], pull: [echo, $1] }
	YAML
}
cat >"$T_TMP/plan.yaml" <<-PLAN
	name: up
	on_failure: rollback
	can_rollback: true
	parameters:
	  stop: { type: list, from: services.stop }
	  start: { type: list, from: services.start }
	  within: { type: duration, from: health.within }
	  pull: { type: list, from: upgrade.pull }
	steps:
	  - { id: stop, uses: service.stop, with: { command: "\${stop}", undo: "\${start}" } }
	  - { id: pull, uses: exec, with: { argv: "\${pull}" } }
PLAN
export HOLDFAST_CONFIG=$T_TMP/holdfast.yaml
printf '#!/bin/sh\ntouch %s/up\n' "$world" >"$T_TMP/start-1"
chmod +x "$T_TMP/start-1"
configured "$T_TMP/start-1"
run 0
run=$(newest)
mv "$T_TMP/start-1" "$T_TMP/start-2"
t_exit 9 "$HOLDFAST" rollback "$run" --yes
t_match "$t_err" "hint:   Install it.*Where the command is another one by now, --use-configuration takes.*\"holdfast resume $run\" to go on undoing"
configured "$T_TMP/start-2"
t_exit 9 "$HOLDFAST" resume "$run"
HOLDFAST_CRASH_AT=journal:1 t_run "$HOLDFAST" resume "$run" --use-configuration
t_is "$t_status" 137 'killed'
t_match "$t_err" 'parameter "start" is taken from the configuration as it is now'
t_is "$(tail -n 1 "$HOLDFAST_STATE_DIR/runs/$run/journal" | grep -o '"parameters":{[^}]*}')" "\"parameters\":{\"start\":[\"$T_TMP/start-2\"]}" \
	'the one that differs, and not what only goes forward'
t_exit 0 "$HOLDFAST" resume "$run"
[ -e "$world/up" ]
t_is $? 0 'the journaled one counts'
run 0
run=$(newest)
mv "$T_TMP/start-2" "$T_TMP/start-3"
configured "$T_TMP/start-3"
t_exit 0 "$HOLDFAST" rollback "$run" --yes --use-configuration
[ -e "$world/up" ]
t_is $? 0 'started by hand, too'
# shellcheck disable=SC2016 # of the plan
sed -i 's/on_failure: rollback/on_failure: stop/; s/"${pull}"/["false"]/' "$T_TMP/plan.yaml"
run 1
t_exit 2 "$HOLDFAST" resume --use-configuration
t_match "$t_err" "run \"$(newest)\" is not on the way back: it goes on by the configuration it was started with"
sed -i 's/  shop:/  yard:/' "$T_TMP/holdfast.yaml"
t_exit 2 "$HOLDFAST" rollback "$(newest)" --yes --use-configuration
t_match "$t_err" "stack \"shop\" of run \"$(newest)\" is not in the configuration"
unset HOLDFAST_CONFIG

t_begin nothing_to_roll_back
t_exit 2 "$HOLDFAST" rollback --stack garden --yes
t_match "$t_err" "there is no run to roll back.detail: The runs in directory \"$HOLDFAST_STATE_DIR\" were looked at.*given by --state-dir"
t_exit 2 "$HOLDFAST" rollback "$first" --yes --state-dir "$T_TMP/elsewhere"
t_match "$t_err" "there is no run \"$first\" in directory \"$T_TMP/elsewhere\".hint: .*given by --state-dir"
[ ! -e "$T_TMP/elsewhere" ]
t_is $? 0 'and none was made'
