#!/usr/bin/env bash
# A whole backup and a whole restore as single steps of a plan: killed inside, found done, undone.
# shellcheck source=../lib/t.sh
. tests/lib/t.sh
unset "${!HOLDFAST_@}" "${!PG@}" XDG_CONFIG_HOME
# shellcheck source=../lib/pg.sh
. tests/lib/pg.sh
HOLDFAST=${HOLDFAST:-$PWD/build/holdfast}
export HOME=$T_TMP/home HOLDFAST_STATE_DIR=$T_TMP/state
mkdir "$HOME"
pg_start main || exit 1
export DATABASE="host=$PGHOST dbname=app"

rows() { psql -XAtqd app -c 'SELECT count(*) FROM orders'; }
databases() { pg_sql "SELECT count(*) FROM pg_database WHERE datname LIKE 'app%'"; }
sets() { "$HOLDFAST" list --stack app -r "$T_TMP/repository" | tail -n +2 | wc -l; }
last_run() { "$HOLDFAST" runs | awk 'NR == 2 { print $1 }'; }
records() { find "$HOLDFAST_STATE_DIR/runs/$(last_run)" -name journal -exec cat {} + | wc -l; }
# plan END: two backups, a disaster between them, a restore of the first
plan() {
	printf '%s\n' 'name: play' 'on_failure: rollback' 'can_rollback: true' 'steps:' \
		"- { id: first, uses: backup, with: { stack: app, database: 'env:DATABASE', repository: [$T_TMP/repository] } }" \
		"- { id: disaster, uses: exec, with: { argv: [psql, -XAtqd, app, -c, 'DELETE FROM orders'], undo: ['true'] } }" \
		"- { id: second, uses: backup, with: { stack: app, database: 'env:DATABASE', repository: [$T_TMP/repository] } }" \
		"- id: back" "  uses: restore" \
		"  with: { stack: app, database: 'env:DATABASE', repository: [$T_TMP/repository], backup: '\${steps.first.backup_id}' }" \
		"- { id: end, uses: exec, with: { argv: [test, '\${steps.back.rows}', '=', '$1'] } }" >"$T_TMP/plan.yaml"
}
run() { t_run "$HOLDFAST" run "$T_TMP/plan.yaml" --stack app -d app; }
reset() {
	local name
	for name in $(pg_sql "SELECT datname FROM pg_database WHERE datname LIKE 'app%'"); do
		pg_sql "DROP DATABASE \"$name\" WITH (FORCE)"
	done
	pg_sql 'CREATE DATABASE app'
	psql -XAtqd app -c 'CREATE TABLE orders AS SELECT generate_series(1, 300) id'
}

t_begin both_are_whole
reset
plan 300
run
t_is "$t_status $(rows) $(sets) $(databases)" '0 300 2 2' 'two sets, every row, the other database kept'
total=$(records)
# Of all records of the run, the one at which the plan inside the first step begins to commit.
journal=$HOLDFAST_STATE_DIR/runs/$(last_run)/journal
commit=$(($(grep -n '"type": *"step.done".*"step": *"first"' "$journal" | cut -d: -f1) - 1 +
	$(grep -n '"type": *"step.started".*"step": *"commit"' "${journal%/*}/plans/first/journal" | cut -d: -f1)))

t_begin a_restore_is_not_undone_by_hand_unasked
t_exit 10 "$HOLDFAST" rollback "$(last_run)" --yes
t_match "$t_err" 'step "back" cannot be undone without losing what was written to the restored database since'
t_is "$(rows) $(databases)" '300 2'
t_exit 0 "$HOLDFAST" rollback "$(last_run)" --yes --discard-new-writes
t_is "$(rows) $(databases) $(sets)" '0 1 2' 'the kept database serves; a set stays a set'
t_match "$t_out$t_err" 'the database that was kept as "app_before_[0-9a-z_]+" serves again; what had been restored is removed'

t_begin a_failure_undoes_the_restore
reset
plan 301
run
t_is "$t_status $(rows) $(databases) $(sets)" '7 0 1 4'

t_begin a_kill_inside
plan 300
points="$((total / 4)) $((total - 9))"
[ -z "${FULL:-}" ] || points=$(seq 2 $((total - 1)))
for at in $points; do
	reset
	HOLDFAST_CRASH_AT=journal:$at run
	t_is "$t_status" 137 "killed at record $at"
	t_run "$HOLDFAST" resume "$(last_run)"
	t_is "$t_status $(rows) $(databases)" '0 300 2' "killed at record $at: resumed to the end"
done
HOLDFAST_CRASH_AT=journal:$((total / 4)) run
before=$(sets)
t_exit 0 "$HOLDFAST" abandon "$(last_run)"
t_is "$(sets)" "$before" 'what an unfinished backup left is no set'
t_exit 0 "$HOLDFAST" verify all --quick -r "$T_TMP/repository" --stack app

t_begin a_kill_while_it_commits
no_sets() { find "$T_TMP/repository/app/backups" -mindepth 1 -maxdepth 1 -type d ! -exec test -e {}/manifest.json \; -print; }
for at in "journal:$commit 0" "record:$((commit + 1)) 1"; do
	read -r at more <<<"$at"
	reset
	before=$(sets)
	HOLDFAST_CRASH_AT=$at run
	t_is "$t_status" 137 "killed at $at"
	[ "$more" = 1 ] || t_isnt "$(no_sets)" '' 'the archive lies there'
	t_run "$HOLDFAST" abandon "$(last_run)"
	t_is "$t_status $(no_sets)" '0 ' 'an archive without a manifest is removed at once'
	t_is "$(sets)" "$((before + more))" 'a set is a set'
	t_exit 0 "$HOLDFAST" verify all --quick -r "$T_TMP/repository" --stack app
done
for at in "journal:$commit" "record:$((commit + 1))"; do
	reset
	HOLDFAST_CRASH_AT=$at run
	t_run "$HOLDFAST" resume "$(last_run)"
	t_is "$t_status $(rows) $(no_sets)" '0 300 ' "killed at $at: resumed to the end"
done

t_begin a_set_that_cannot_be_asked_for_holds_up_nobody
reset
HOLDFAST_CRASH_AT=journal:$commit run
mv "$T_TMP/repository" "$T_TMP/away"
t_run "$HOLDFAST" resume "$(last_run)"
t_is "$t_status" 7 'committing fails, and the way back goes on'
t_match "$t_err" 'warning: whether step "commit" of plan "backup" was done is not known; it and the steps before it stay as they are: .*"'"$T_TMP"'/repository" does not exist.*first: undone'
mv "$T_TMP/away" "$T_TMP/repository"
t_isnt "$(no_sets)" '' 'the archive is left to prune'

[ -n "${FULL:-}" ] || exit 0 # what follows waits for a repository for minutes

t_begin a_repository_that_is_down_holds_up_nobody
reset
cat >"$T_TMP/far.yaml" <<YAML
version: 1
repositories: { far: { url: $T_TMP/far } }
stacks: { app: { database: { url: "$DATABASE" }, repositories: [far] } }
YAML
plan 300
sed -i "s|\[$T_TMP/repository\]|[far]|" "$T_TMP/plan.yaml"
HOLDFAST_CRASH_AT=journal:$((commit - 2)) t_run "$HOLDFAST" run "$T_TMP/plan.yaml" --stack app --config "$T_TMP/far.yaml"
t_is "$t_status" 137 'killed with an archive'
sed -i "s|url: $T_TMP/far|url: s3://far/away, endpoint: 'http://127.0.0.1:1', region: here|" "$T_TMP/far.yaml"
AWS_ACCESS_KEY_ID=a AWS_SECRET_ACCESS_KEY=b t_run "$HOLDFAST" abandon "$(last_run)" --config "$T_TMP/far.yaml"
t_is "$t_status" 0 'the way back ends'
t_match "$t_err" 'warning: what there is of the unfinished backup set was not removed: '
