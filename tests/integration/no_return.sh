#!/usr/bin/env bash
# no_return in a plan: what is done before it stays done, whether the run fails behind it, is killed on it, rolled back or given up.
# shellcheck source=../lib/t.sh
. tests/lib/t.sh
unset "${!HOLDFAST_@}" "${!PG@}" XDG_CONFIG_HOME

HOLDFAST=${HOLDFAST:-$PWD/build/holdfast}
export HOME=$T_TMP/home HOLDFAST_STATE_DIR=$T_TMP/state HOLDFAST_STACK=shop
mkdir "$HOME"
touch "$T_TMP/is-bad"
cat >"$T_TMP/plan.yaml" <<END
name: forward
about: one line that is not crossed twice
on_failure: rollback
parameters:
  stack: { type: string, about: "name of the stack" }
steps:
  - { id: before, uses: exec, with: { argv: [touch, $T_TMP/before], undo: [rm, -f, $T_TMP/before] } }
  - { id: line, uses: no_return, with: { because: "the old form is not kept" } }
  - { id: behind, uses: exec, with: { argv: [touch, $T_TMP/behind], undo: [rm, -f, $T_TMP/behind] } }
  - { id: proof, uses: exec, with: { argv: [test, "!", -e, $T_TMP/is-bad] } }
after_rollback:
  - { id: after, uses: exec, with: { argv: [touch, $T_TMP/after] } }
END
run() {
	rm -rf "$HOLDFAST_STATE_DIR" "$T_TMP"/{before,behind,after}
	t_run "$HOLDFAST" run "$T_TMP/plan.yaml"
	id=$(ls "$HOLDFAST_STATE_DIR/runs" 2>/dev/null)
}
there() {
	(cd "$T_TMP" && echo before* behind* after*)
}
shopt -s nullglob

t_begin a_failure_behind_it_goes_back_to_it_and_no_further
run
t_is "$t_status" 1
t_match "$t_err" 'no way back from here: the old form is not kept'
t_match "$t_err" 'Step "line" is a point of no return: it and the steps before it stay done'
t_match "$t_err" "The way is forward: when the cause is mended, run \"holdfast resume $id\""
t_is "$(there)" before "what is behind it is undone, and no proof is asked for"

t_begin it_is_not_rolled_back
t_exit 10 "$HOLDFAST" rollback "$id" --yes
t_match "$t_err" "run \"$id\" cannot be rolled back: step \"line\" is a point of no return"
t_is "$(there)" before

t_begin the_way_is_forward
rm "$T_TMP/is-bad"
t_exit 0 "$HOLDFAST" resume "$id"
t_is "$(there)" 'before behind'
touch "$T_TMP/is-bad"

t_begin killed_on_it_it_counts_as_crossed
for point in record journal; do # of its start: not written yet, written
	export HOLDFAST_CRASH_AT=$point:4
	run
	unset HOLDFAST_CRASH_AT
	t_is "$t_status $(there)" '137 before' "$point"
	t_run "$HOLDFAST" abandon "$id" --yes
	if [ "$point" = record ]; then t_is "$t_status $(there)" '0 after' 'not begun'; else
		t_is "$t_status $(there)" '10 before' 'begun'
		t_match "$t_err" "run \"$id\" cannot be abandoned: step \"line\" is a point of no return"
		t_match "$t_err" "Nothing was changed.*\"holdfast resume $id\" to go on"
		t_exit 10 "$HOLDFAST" run "$T_TMP/plan.yaml"
		t_match "$t_err" "did not finish: run \"$id\""
		rm "$T_TMP/is-bad"
		t_exit 0 "$HOLDFAST" resume "$id"
		t_is "$(there)" 'before behind'
		touch "$T_TMP/is-bad"
	fi
done

t_begin where_the_plan_says_so_it_may_be_closed_halfway
sed -i 's/^on_failure:/must_finish: false\n&/' "$T_TMP/plan.yaml"
run
t_is "$t_status" 1
t_exit 10 "$HOLDFAST" abandon "$id" --yes
t_match "$t_err" "run \"$id\" is closed, but not undone before step \"line\""
t_is "$(there)" before

t_begin it_must_say_why
sed -i 's/with: { because.*} }/with: { } }/' "$T_TMP/plan.yaml"
run
t_is "$t_status" 2
t_match "$t_err" 'because'
