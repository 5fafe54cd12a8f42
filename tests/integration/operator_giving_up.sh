#!/usr/bin/env bash
# Runs that cannot go on and cannot go back: a plan that is lost, a server that is restarting, somebody else who was faster.
# shellcheck source=../lib/t.sh
. tests/lib/t.sh
unset "${!HOLDFAST_@}" "${!PG@}" XDG_CONFIG_HOME XDG_STATE_HOME
# shellcheck source=../lib/pg.sh
. tests/lib/pg.sh

HOLDFAST=${HOLDFAST:-$PWD/build/holdfast}
export HOME=$T_TMP/home HOLDFAST_STATE_DIR=$T_TMP/state HOLDFAST_SERVER_WAIT=1s
mkdir "$HOME"
pg_start
repository=$T_TMP/repository
newest() { "$HOLDFAST" runs | awk 'NR == 2 { print $1 }'; }
state_of() { "$HOLDFAST" status "$1" --output json | jq -r .run.state; }
new_databases() { pg_sql "SELECT count(*) FROM pg_database WHERE datname LIKE 'app!_new%' ESCAPE '!'"; }
pg_sql 'CREATE DATABASE app'
pg_sql "CREATE TABLE orders (id int PRIMARY KEY); INSERT INTO orders SELECT generate_series(1, 100)" -d app
t_exit 0 "$HOLDFAST" -q backup -d app -r "$repository"
"$HOLDFAST" plan show restore >"$T_TMP/mine.yaml"
mine() { "$HOLDFAST" run "$T_TMP/mine.yaml" -d app -r "$repository" -q "$@"; }
sed -i 's/^name: restore$/name: restore-mine/' "$T_TMP/mine.yaml"

# killed_at RECORD command…: sets run, plan
killed_at() {
	local record=$1
	shift
	HOLDFAST_CRASH_AT=journal:$record t_run "$@"
	t_is "$t_status" 137 'killed'
	run=$(newest)
	plan=$HOLDFAST_STATE_DIR/runs/$run/plan.yaml
}

t_begin a_lost_copy_of_a_built_in_plan_is_no_loss
killed_at 9 "$HOLDFAST" restore latest -d app -r "$repository" --yes
rm "$plan"
t_exit 0 "$HOLDFAST" resume "$run"
t_match "$t_err" 'plan ".*" is missing: going by the built-in one, which is the same'
t_is "$(state_of "$run")" 'done'
killed_at 9 "$HOLDFAST" restore latest -d app -r "$repository" --yes
printf '# mine\n' >>"$plan"
t_exit 0 "$HOLDFAST" abandon "$run"
t_match "$t_err" 'is not the one that was started: going by the built-in one'
t_is "$(new_databases)" 0

t_begin an_edited_plan_of_ones_own_is_refused_with_the_way_out
killed_at 9 mine
cp "$plan" "$T_TMP/good"
printf '# mine\n' >>"$plan"
for command in resume abandon; do
	t_exit 3 "$HOLDFAST" "$command" "$run"
	t_match "$t_err" "hint:   Put it back\. Where it is lost, \"holdfast abandon $run --force\" closes the run as it stands"
done

t_begin giving_up_asks_and_where_nobody_answers_changes_nothing
before=$(sha256sum "$HOLDFAST_STATE_DIR/runs/$run/journal")
t_exit 2 "$HOLDFAST" abandon "$run" --force
t_match "$t_err" "run \"$run\" would be closed without being undone, and nobody is there to confirm it.*hint:   Give --yes"
t_is "$(sha256sum "$HOLDFAST_STATE_DIR/runs/$run/journal")" "$before"

t_begin a_run_given_up_is_closed_and_says_what_it_leaves
t_is "$(new_databases)" 1
t_exit 10 "$HOLDFAST" restore latest -d app -r "$repository" --yes
t_exit 0 "$HOLDFAST" abandon "$run" --force --yes
t_match "$t_out" "^run $run \(restore-mine of stack app\): closed, nothing was undone"
t_match "$t_out" 'create \(restore\.create\), done: make the new database'
t_match "$t_out" "select\.new_db: $(pg_sql "SELECT datname FROM pg_database WHERE datname LIKE 'app!_new%' ESCAPE '!'")"
t_is "$(new_databases)" 1 'which is still there'
t_is "$(state_of "$run")" abandoned
t_exit 2 "$HOLDFAST" abandon "$run" --force --yes
t_match "$t_err" 'has ended: abandoned'
t_exit 0 "$HOLDFAST" runs
t_match "$t_out" "$run .*abandoned .*given up: closed without undoing its steps"
t_exit 0 "$HOLDFAST" -q restore latest -d app -r "$repository" --yes
pg_sql "SELECT format('DROP DATABASE %I', datname) FROM pg_database WHERE datname LIKE 'app!_new%' ESCAPE '!'" | while read -r sql; do pg_sql "$sql"; done


limit() { pg_sql "SELECT datconnlimit FROM pg_database WHERE datname = 'app'"; }
# Killed before the swap, and the fence put up by hand: what a kill an instant later leaves.
fenced() { # command…
	killed_at "$fence" "$@"
	pg_sql 'ALTER DATABASE app CONNECTION LIMIT 0'
}
pg_sql 'ALTER DATABASE app CONNECTION LIMIT 50'
fence=$(grep -n '"type": *"step.checkpoint"' "$HOLDFAST_STATE_DIR/runs/$(newest)/journal" | tail -n 1 | cut -d: -f1)

t_begin clients_are_let_in_again_where_the_plan_is_there
fenced mine
t_exit 0 "$HOLDFAST" abandon "$run" --force --yes --output json
t_is "$(limit)" 50
t_is "$(jq -r '.run.is_fence_left, .run.not_undone[-1].checkpoint.connection_limit' <<<"$t_out" | paste -sd' ')" 'false 50'

t_begin without_the_plan_it_says_that_they_may_be_kept_out
fenced mine
rm "$plan"
t_exit 0 "$HOLDFAST" abandon "$run" --force --yes
t_is "$(limit)" 0
t_match "$t_err" "could not lift what run \"$run\" put up to keep clients out: plan \".*\" of run \"$run\" is missing"
t_match "$t_out" 'connection_limit: 50.*clients may still be kept out: look at the connection limit of the database'
pg_sql 'ALTER DATABASE app CONNECTION LIMIT 50'

t_begin a_server_that_is_restarted_is_waited_for
pg_stop
"$HOLDFAST" backup -d app -r "$repository" >"$T_TMP/out" 2>"$T_TMP/err" &
waiting=$!
t_wait 20 grep -q 'trying again in' "$T_TMP/err"
pg_start main
status=0
wait "$waiting" || status=$?
t_is "$status" 0 "$(cat "$T_TMP/err")"

t_begin a_server_that_does_not_come_back_is_given_up_after_a_while
pg_stop
start=$SECONDS
t_exit 1 "$HOLDFAST" backup -d app -r "$repository" --server-wait 5s
t_match "$t_err" 'could not connect to server'
t_is "$((SECONDS - start >= 4 && SECONDS - start < 25))" 1 "after $((SECONDS - start)) s"

t_begin giving_up_needs_no_server
pg_start main
killed_at 9 mine
rm "$plan"
pg_stop
t_exit 0 "$HOLDFAST" abandon "$run" --force --yes --output json
t_is "$(jq -c '.run.status, .run.not_undone[0].id, .run.is_fence_left' <<<"$t_out" | paste -sd' ')" '"given-up" "create" false'
t_match "$t_err" "closing run \"$run\" without the server's lock: could not connect"
pg_start main

t_begin the_second_of_two_who_resume_is_told_that_another_is_at_it
killed_at 9 "$HOLDFAST" restore latest -d app -r "$repository" --yes
pids=()
for i in 1 2 3 4; do
	"$HOLDFAST" resume >"$T_TMP/out.$i" 2>"$T_TMP/err.$i" &
	pids+=($!)
done
results=()
for pid in "${pids[@]}"; do
	status=0
	wait "$pid" || status=$?
	results+=("$status")
done
t_is "$(printf '%s\n' "${results[@]}" | sort -n | paste -sd' ')" '0 4 4 4' "$(cat "$T_TMP"/err.?)"

t_begin resume_passes_a_damaged_run_over_and_says_so
t_exit 2 "$HOLDFAST" resume
t_match "$t_err" 'there is no run to resume'
t_nomatch "$t_err" 'detail: The journal'
sed -i '1s/run/nur/' "$HOLDFAST_STATE_DIR/runs/$run/journal"
t_exit 2 "$HOLDFAST" resume
t_match "$t_err" "detail: The journal of run \"$run\" cannot be read: journal \".*\" is damaged: record 1 "
