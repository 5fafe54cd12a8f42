#!/usr/bin/env bash
# pause and unpause: nothing starts, what runs stops before its next step, and everybody is told who said so.
# shellcheck source=../lib/t.sh
. tests/lib/t.sh
unset "${!HOLDFAST_@}" "${!PG@}" XDG_CONFIG_HOME XDG_STATE_HOME SUDO_USER
HOLDFAST=${HOLDFAST:-$PWD/build/holdfast}
export HOME=$T_TMP/home HOLDFAST_STATE_DIR=$T_TMP/state
mkdir "$HOME" "$T_TMP/world"
newest() { "$HOLDFAST" runs | awk 'NR == 2 { print $1 }'; }
cat >"$T_TMP/plan.yaml" <<-PLAN
	name: up
	steps:
	  - { id: one, uses: exec, with: { argv: [touch, $T_TMP/world/one], undo: [rm, -f, $T_TMP/world/one] } }
	  - { id: hold, uses: exec, with: { argv: [sh, -c, 'touch $T_TMP/world/held; until [ -e $T_TMP/world/go ]; do sleep 0.05; done'] } }
	  - { id: two, uses: exec, with: { argv: [touch, $T_TMP/world/two] } }
PLAN
run() { "$HOLDFAST" run "$T_TMP/plan.yaml" --stack "$1"; }

t_begin nothing_starts
t_exit 0 "$HOLDFAST" pause --reason 'the disk is being moved'
t_match "$t_out" '^runs are paused since 20[0-9TZ:.-]+ by root: the disk is being moved$'
said=$t_out
t_exit 0 "$HOLDFAST" pause --reason 'me too' --output json
t_is "$(jq -r '.changed, .pause.reason, .pause.user' <<<"$t_out" | paste -sd' ')" 'false the disk is being moved root' 'the first one stands'
t_exit 10 run shop
t_is "$t_err" "error:  $said"$'\nhint:   "holdfast unpause" lets them go on.'
[ ! -e "$HOLDFAST_STATE_DIR/runs" ]
t_is $? 0 'no run was begun'
t_exit 0 "$HOLDFAST" status --stack shop
t_match "$t_out" "paused         $said"
t_exit 0 "$HOLDFAST" unpause
t_is "$t_out" 'runs may start again'
t_exit 0 "$HOLDFAST" unpause
t_is "$t_out" 'runs may start: they were not paused'

t_begin a_running_one_stops_before_its_next_step
run shop >"$T_TMP/out" 2>"$T_TMP/err" &
t_wait 10 test -e "$T_TMP/world/held"
t_exit 0 "$HOLDFAST" pause --stack shop
touch "$T_TMP/world/go"
t_status=0
wait $! || t_status=$?
t_is "$t_status" 5 'exit status 5'
t_is "$(cd "$T_TMP/world" && echo *)" 'go held one'
run=$(newest)
t_match "$(cat "$T_TMP/err")" "error:  run \"$run\" was paused.*detail: Runs of stack \"shop\" are paused since .* by root.*hint:   After \"holdfast unpause\" run \"holdfast resume $run\" to continue"
t_exit 0 "$HOLDFAST" status "$run" --output json
t_is "$(jq -r '.run.state, .run.is_resumable' <<<"$t_out" | paste -sd' ')" 'paused true'
t_exit 10 "$HOLDFAST" resume
t_exit 10 "$HOLDFAST" abandon "$run"
t_exit 10 "$HOLDFAST" rollback "$run" --yes
t_match "$t_err" "runs of stack \"shop\" are paused since .*detail: Run \"$run\" stands on its way; begun or done, and not undone: step \"one\" \(exec\), step \"hold\" \(exec\)\..hint:   \"holdfast unpause --stack shop\" lets them go on"

t_begin another_stack_goes_on
t_exit 0 run garden

t_begin unpaused_it_goes_on
t_exit 0 "$HOLDFAST" unpause
t_match "$t_out" '^runs may start: they were not paused$' 'this one is of the stack alone'
t_exit 10 "$HOLDFAST" resume "$run"
t_exit 0 "$HOLDFAST" unpause --stack shop
t_exit 0 "$HOLDFAST" resume "$run"
t_is "$(cd "$T_TMP/world" && echo *)" 'go held one two'

t_begin what_stands_on_the_way_back_is_named
cat >"$T_TMP/plan.yaml" <<-PLAN
	name: up
	steps:
	  - { id: look, uses: compare, with: { argv: [echo, x] } }
	  - { id: stop, uses: service.stop, with: { command: ['true'], undo: [test, -e, $T_TMP/world/mended] } }
	  - { id: two, uses: exec, with: { argv: [touch, $T_TMP/world/two], undo: [rm, $T_TMP/world/two] } }
PLAN
t_exit 0 run yard
run=$(newest)
t_exit 9 "$HOLDFAST" rollback "$run" --yes
t_exit 0 "$HOLDFAST" pause --stack yard
for command in resume "rollback --yes" "abandon --yes"; do
	# shellcheck disable=SC2086 # a command and its option
	t_exit 10 "$HOLDFAST" $command "$run"
	t_match "$t_err" "detail: Run \"$run\" stands on the way back; begun or done, and not undone: step \"stop\" \(service.stop\)\."
done
t_exit 0 "$HOLDFAST" unpause --stack yard
touch "$T_TMP/world/mended"
t_exit 0 "$HOLDFAST" resume "$run"

t_begin names_that_are_none
t_exit 2 "$HOLDFAST" pause --stack ../x
t_match "$t_err" 'stack name "../x" cannot be used as a file name'
t_exit 2 "$HOLDFAST" pause shop
