#!/usr/bin/env bash
# A step that waits for a person: asked, answered by another OS user, refused, and taken away again.
# shellcheck source=../lib/t.sh
. tests/lib/t.sh
unset "${!HOLDFAST_@}" "${!PG@}" XDG_CONFIG_HOME XDG_STATE_HOME SUDO_USER
HOLDFAST=${HOLDFAST:-$PWD/build/holdfast}
export HOME=$T_TMP/home HOLDFAST_STATE_DIR=$T_TMP/state
mkdir "$HOME" "$T_TMP/world"
newest() { "$HOLDFAST" runs | awk 'NR == 2 { print $1 }'; }
approvals() { find "$HOLDFAST_STATE_DIR/approvals" -type f 2>/dev/null | wc -l; }
# plan BY_OTHER: asks, then makes a file
plan() {
	cat >"$T_TMP/plan.yaml" <<-PLAN
		name: up
		steps:
		  - { id: before, uses: exec, with: { commands: [[touch, $T_TMP/world/before], ["true"]], undo: [rm, -f, $T_TMP/world/before] } }
		  - { id: ask, uses: approve, with: { message: "release notes of 2.0 read?", by_other: $1 } }
		  - { id: after, uses: exec, with: { argv: [touch, "$T_TMP/world/by-\${steps.ask.approved_by}"] } }
	PLAN
}
run() { t_exit "$1" "$HOLDFAST" run "$T_TMP/plan.yaml" --stack shop; }
# as_other COMMAND…: as another user, who knows nothing of ours but where the state is
as_other() { setpriv --reuid nobody --regid nogroup --clear-groups env -i PATH="$PATH" HOME=/nonexistent "$@"; }

t_begin a_run_waits_and_says_for_what
plan false
run 6
run=$(newest)
t_match "$t_err" "ask: waiting.*error:  step \"ask\" waits for an approval: release notes of 2\.0 read\?"
t_match "$t_err" "hint:   \"holdfast approve $run\" gives it, then \"holdfast resume $run\" goes on"
t_is "$(ls "$T_TMP/world")" before
t_exit 0 "$HOLDFAST" status "$run"
t_match "$t_out" "state        waiting.*to approve   holdfast approve $run.*ask +approve +in flight"
t_exit 0 "$HOLDFAST" status --stack shop
t_match "$t_out" "unfinished     $run \(up, waiting\).*to approve: holdfast approve $run"
t_exit 0 "$HOLDFAST" runs --output json
t_is "$(jq -r '.runs[0].state, .runs[0].is_resumable' <<<"$t_out" | paste -sd' ')" 'waiting true'
t_exit 6 "$HOLDFAST" resume --output json
t_is "$(jq -r '.status, .run.status, .error.class' <<<"$t_out" | paste -sd' ')" 'waiting waiting waiting'

t_begin approved_it_goes_on
t_exit 2 "$HOLDFAST" approve 1999
t_match "$t_err" 'no run "1999" waits for an approval'
t_exit 2 "$HOLDFAST" approve "$run" --step before
t_exit 0 "$HOLDFAST" approve "${run%????}" --reason 'all read'
t_match "$t_out" "run          $run.*plan         up of stack shop, SHA-256 [0-9a-f]{64}.*started by   root.*question     release notes of 2\.0 read\?.*answer       approved"
t_exit 0 "$HOLDFAST" resume
t_is "$(ls "$T_TMP/world")" $'before\nby-root'
t_is "$(approvals)" 0 'request and answer are gone'
t_exit 0 "$HOLDFAST" status "$run" --output json
t_is "$(jq -r '.run.outputs.ask.reason' <<<"$t_out")" 'all read'
t_exit 2 "$HOLDFAST" approve "$run"
rm "$T_TMP/world/"*

t_begin a_rejection_fails_the_step
run 6
run=$(newest)
t_exit 0 "$HOLDFAST" approve "$run" --reject --reason 'not on a Friday'
t_match "$t_out" 'answer       rejected'
t_exit 1 "$HOLDFAST" resume
t_match "$t_err" 'error:  step "ask" was rejected by user "root": not on a Friday'
t_exit 0 "$HOLDFAST" rollback "$run" --yes
t_match "$t_out" "run $run \(up of stack shop\): rolled back.*put back     before: "
t_is "$(ls "$T_TMP/world")" ''

t_begin four_eyes
plan true
run 6
run=$(newest)
t_match "$t_err" "Another user than \"root\" has to give it, until .*holdfast --state-dir $HOLDFAST_STATE_DIR approve $run"
t_exit 10 "$HOLDFAST" approve "$run"
t_match "$t_err" "run \"$run\" wants the approval of another user than \"root\", who started it"
t_exit 1 as_other "$HOLDFAST" --state-dir "$HOLDFAST_STATE_DIR" approve "$run"
t_match "$t_err" 'could not open directory .*approvals": Permission denied'
# As the reference page says: the directory to a group, the way there passable.
chgrp nogroup "$HOLDFAST_STATE_DIR/approvals"
chmod 1770 "$HOLDFAST_STATE_DIR/approvals"
chmod 711 "$HOLDFAST_STATE_DIR"
t_exit 0 as_other "$HOLDFAST" --state-dir "$HOLDFAST_STATE_DIR" approve "$run" --reason 'looks right'
t_exit 1 as_other cat "$HOLDFAST_STATE_DIR/runs/$run/journal"
t_exit 0 "$HOLDFAST" resume
t_is "$(ls "$T_TMP/world")" $'before\nby-nobody'
t_is "$(grep "\"type\":\"approval.given\"" "$HOLDFAST_STATE_DIR/runs/$run/journal" | grep -c "\"uid\":65534")" 1

t_begin a_link_does_not_fool_it
run 6
run=$(newest)
answer=$HOLDFAST_STATE_DIR/approvals/$run.ask.given
as_other "$HOLDFAST" --state-dir "$HOLDFAST_STATE_DIR" approve "$run" -q
mv "$answer" "$T_TMP/elsewhere"
ln -s "$T_TMP/elsewhere" "$answer"
t_exit 6 "$HOLDFAST" resume
t_match "$t_err" "What was given does not count: file \"$answer\" is a symbolic link"
ln -f "$T_TMP/elsewhere" "$answer"
t_exit 6 "$HOLDFAST" resume
t_match "$t_err" "has another name, too \(a hard link\)"
t_exit 0 "$HOLDFAST" abandon "$run"
t_is "$(approvals)" 0
