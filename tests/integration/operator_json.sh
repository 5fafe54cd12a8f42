#!/usr/bin/env bash
# docs/json-output.md against what the program prints: every member that comes is in the table of its command, with its type; and it is
# one object, whatever fails.
# shellcheck source=../lib/t.sh
. tests/lib/t.sh
unset "${!HOLDFAST_@}" "${!PG@}" "${!AWS_@}" XDG_CONFIG_HOME
# shellcheck source=../lib/pg.sh
. tests/lib/pg.sh

HOLDFAST=${HOLDFAST:-$PWD/build/holdfast}
export HOME=$T_TMP/home HOLDFAST_STATE_DIR=$T_TMP/state HOLDFAST_SERVER_WAIT=1s
mkdir "$HOME"
pg_start
repository=$T_TMP/repository
pg_sql 'CREATE DATABASE app'
pg_sql "CREATE TABLE orders (id int PRIMARY KEY, what text); INSERT INTO orders SELECT g, 'x' FROM generate_series(1, 100) g" -d app

# documented HEADING: "member<TAB>types" of the tables under it, and of those of every command
documented() {
	awk -F '|' -v heading="## $1" '
		/^## / { is_on = $0 == heading || $0 == "## Every command" }
		is_on && /^\| `/ { gsub(/[` ]/, "", $2); gsub(/ /, "", $3); print $2 "\t" $3 }' docs/json-output.md
}

# printed: "member<TAB>type" of $t_out; what is under run.outputs.*, run.parameters.*, steps[] and manifest is told as a whole
printed() {
	jq -r '
		def path_text: reduce .[] as $k (""; if $k | type == "number" then . + "[]" elif . == "" then $k else . + "." + $k end);
		paths(type != "array") as $p | [($p | path_text), (getpath($p) | type)] | @tsv' <<<"$t_out" |
		sed -E 's/^(run\.outputs\.)[^.\t]+\t/\1*\t/; s/^(run\.parameters\.)[^.\t]+\t.*/\1*\tany/;
			s/^(run\.undone\[\]\.outputs\.)[^.\t]+\t.*/\1*\tany/' |
		awk -F '\t' '$1 !~ /^(run\.outputs|run\.parameters|run\.undone\[\]\.outputs)\.[^.]+\../ && $1 !~ /^(manifest|steps\[\])\../ &&
			$1 !~ /^stacks\[\]\.(open_runs\[\]|last_restore)\../' | sort -u
}

# Objects that hold documented members need no line of their own.
undocumented() {
	documented "$1" >"$T_TMP/documented"
	printed | awk -F '\t' '
		FILENAME != "-" { if (!($1 in types)) types[$1] = "," $2 ","; all = all "\n" $0; next }
		index(types[$1], "," $2 ",") || index(types[$1], ",any,") { next }
		($2 == "object" || $2 == "null") && index(all, $1 ".") { next }
		$1 " " $2 != "run.outputs null" { printf "%s (%s)\n", $1, $2 }' "$T_TMP/documented" -
}

# is_documented STATUS HEADING ARGUMENT…
is_documented() {
	local status=$1 heading=$2
	shift 2
	t_exit "$status" "$HOLDFAST" --output json "$@"
	t_is "$(jq -s 'length' <<<"$t_out")" 1 'one object'
	t_is "$(jq -r '"\(.format) \(.exit_status)"' <<<"$t_out")" "holdfast-output/1 $status"
	t_is "$(undocumented "$heading")" '' "documented under \"$heading\""
}

t_begin an_undocumented_member_would_be_noticed
t_out='{"format": "x", "exit_status": "0", "sets": [{"id": "a", "new": null}]}'
t_is "$(undocumented list)" $'exit_status (string)\nsets[].new (null)'

t_begin every_command_is_documented
is_documented 0 backup backup -d app -r "$repository"
is_documented 0 backup backup -d app -r "$repository" --dry-run
is_documented 0 list list -r "$repository"
is_documented 0 show show latest -r "$repository"
is_documented 0 verify verify latest -r "$repository"
is_documented 0 restore restore latest -d app -r "$repository" --yes
kept=$(jq -r .run.outputs.swap.kept_name <<<"$t_out")
is_documented 0 restore restore latest -d app -r "$repository" --dry-run
is_documented 0 restore restore latest -d app -r "$repository" -t orders
is_documented 0 runs runs
run=$(jq -r '.runs[0].id' <<<"$t_out")
is_documented 0 status status
is_documented 0 status status "$run"
is_documented 0 drop-old drop-old "$kept" --yes
is_documented 0 plan plan list
is_documented 0 plan plan show restore
is_documented 0 'pin, unpin' pin latest -r "$repository"
is_documented 0 'pin, unpin' unpin latest -r "$repository"
is_documented 0 prune prune --stack app -r "$repository" --keep-last 1 --dry-run
is_documented 0 prune prune --stack app -r "$repository" --keep-last 1 --yes
is_documented 0 copy copy latest --stack app --from "$repository" --to "$T_TMP/copy"
is_documented 0 doctor doctor -r "$repository"
is_documented 0 keygen keygen --file "$T_TMP/key"
is_documented 0 keygen keygen
is_documented 0 keygen keygen --public "$T_TMP/key"
is_documented 0 'help, version' version
is_documented 0 'help, version' help restore
is_documented 0 'help, version' restore --help

t_begin several_repositories_and_encryption_are_documented
cat >"$T_TMP/holdfast.yaml" <<END
version: 1
repositories:
  near: { url: $repository }
  safe: { url: $T_TMP/safe, encrypt_to: [$("$HOLDFAST" keygen --public "$T_TMP/key")] }
stacks:
  app: { database: { url: "dbname=app" }, repositories: [near, safe], retention: { keep_last: 5 } }
END
export HOLDFAST_CONFIG=$T_TMP/holdfast.yaml
is_documented 0 backup backup
t_is "$(jq -r .degraded <<<"$t_out")" null
is_documented 0 list list
is_documented 0 verify verify latest -r safe
t_is "$(jq -r '.sets[0].checked' <<<"$t_out")" 'stored bytes'
is_documented 0 doctor doctor
is_documented 0 rekey rekey all -r safe -i "$T_TMP/key"
t_is "$(jq -r '.sets[0].outcome' <<<"$t_out")" unchanged
is_documented 2 rekey rekey nosuch -r safe
mv "$T_TMP/safe" "$T_TMP/away"
printf 'in the way' >"$T_TMP/safe"
is_documented 8 backup backup
t_match "$(jq -r .degraded <<<"$t_out")" 'repository "safe"'
is_documented 8 list list
is_documented 1 doctor doctor
is_documented 1 copy copy latest --from near --to safe
is_documented 0 restore abandon "$(jq -r .run.id <<<"$t_out")"
unset HOLDFAST_CONFIG
rm -r "$T_TMP/safe"

t_begin failures_are_documented
is_documented 2 list list -r "$T_TMP/nothing"
is_documented 2 backup backup -d app -r "$repository" -j 0
is_documented 2 backup backup --jobs 0 --database app --repository "$repository"
is_documented 2 restore restore nosuch -d app -r "$repository" --yes
is_documented 2 restore restore latest -d app -r "$repository"
is_documented 10 restore restore latest -d app -r "$repository" -t nosuch
is_documented 1 backup backup -d nosuch -r "$repository"
is_documented 1 backup backup -d app -h "$T_TMP/nowhere" -r "$repository"
is_documented 2 status status nosuch
is_documented 2 prune prune --stack app -r "$repository" --dry-run
is_documented 2 'pin, unpin' pin nosuch -r "$repository"
is_documented 2 plan plan show nosuch
is_documented 2 drop-old drop-old nosuch --yes -d app
is_documented 2 restore resume
is_documented 0 runs runs
t_is "$(jq -r '[.runs[] | select(.failure)] | length > 0' <<<"$t_out")" true 'with failures'

t_begin output_behind_what_was_not_understood_counts
t_exit 2 "$HOLDFAST" list --nonsense --output json
t_is "$(jq -r '"\(.command) \(.status) \(.error.class)"' <<<"$t_out")" 'list usage config'
t_exit 2 "$HOLDFAST" nonsense --output=json
t_is "$(jq -r '"\(.command) \(.error.class)"' <<<"$t_out")" 'null config'

t_begin an_upgrade_and_its_way_back_are_documented
mkdir "$T_TMP/migrations"
echo 1.0.0 >"$T_TMP/version"
echo 'CREATE TABLE paid (id int);' >"$T_TMP/migrations/001_paid.sql"
cat >"$T_TMP/holdfast.yaml" <<END
version: 1
repositories: { near: { url: $repository } }
stacks:
  app:
    database: { url: "dbname=app" }
    repositories: [near]
    version: { file: $T_TMP/version }
    services: { stop: ["true"], start: ["true"] }
    migrations: { dir: $T_TMP/migrations }
    gate: { query: "SELECT max(version) FROM holdfast_migrations", known: { 1.0.0: "001", 1.1.0: "002" } }
    upgrade: { put_back: copy }
END
export HOLDFAST_CONFIG=$T_TMP/holdfast.yaml
is_documented 0 migrate migrate
t_is "$(jq -r '"\(.pending) \(.migrations[0].state)"' <<<"$t_out")" '1 pending'
is_documented 0 migrate migrate up --dry-run
is_documented 0 upgrade upgrade 1.0.0
t_is "$(jq -r '.upgraded, has("run")' <<<"$t_out" | paste -sd' ')" 'false false' 'there already'
echo 'CREATE TABLE due (id int);' >"$T_TMP/migrations/002_due.sql"
is_documented 0 upgrade upgrade 1.1.0 --dry-run # the gate's table is not there yet
is_documented 10 upgrade upgrade 2.0.0
is_documented 0 upgrade upgrade 1.1.0
t_is "$(jq -r '"\(.upgraded) \(.run.status)"' <<<"$t_out")" 'true done'
upgraded=$(jq -r .run.id <<<"$t_out")
is_documented 0 gate gate
t_is "$(jq -r .version <<<"$t_out")" 1.1.0
is_documented 10 gate gate 1.0.0
echo 'SELECT 1 / 0;' >"$T_TMP/migrations/003_bad.sql"
is_documented 1 migrate migrate up
is_documented 0 restore abandon "$(jq -r .run.id <<<"$t_out")"
is_documented 7 upgrade upgrade 1.2.0
t_match "$(jq -r '.run.undone[].outputs.put_back // empty' <<<"$t_out")" 'database "app"' 'what was put back'
echo 'CREATE TABLE other (id int);' >"$T_TMP/migrations/001_paid.sql"
is_documented 8 migrate migrate
is_documented 10 rollback rollback --yes
is_documented 0 rollback rollback "$upgraded" --dry-run
is_documented 0 rollback rollback "$upgraded" --yes
is_documented 0 status status

t_begin what_waits_for_a_person_is_documented
printf 'name: ask\nsteps: [{ id: ask, uses: approve, with: { message: "well?" } }]\n' >"$T_TMP/ask.yaml"
is_documented 6 restore run "$T_TMP/ask.yaml"
is_documented 0 approve approve "$(jq -r .run.id <<<"$t_out")"
is_documented 2 approve approve nosuch
is_documented 0 'pause, unpause' pause --reason 'so be it'
is_documented 10 restore resume
is_documented 0 status status
is_documented 0 'pause, unpause' unpause
is_documented 0 restore resume
unset HOLDFAST_CONFIG

t_begin killed_and_interrupted_runs_are_documented
HOLDFAST_CRASH_AT=journal:9 t_run "$HOLDFAST" restore latest -d app -r "$repository" --yes
t_is "$t_status" 137 'killed'
is_documented 0 status status
t_is "$(jq -r '.stacks[0].open_runs[0].state' <<<"$t_out")" crashed
is_documented 10 restore restore latest -d app -r "$repository" --yes
is_documented 0 restore resume -d app
HOLDFAST_CRASH_AT=journal:4 t_run "$HOLDFAST" backup -d app -r "$repository"
is_documented 0 backup backup -d app -r "$repository"
t_is "$(jq -r '.earlier_runs[0].action' <<<"$t_out")" abandoned

t_begin damage_is_documented
truncate -s 100 "$repository"/app/backups/*/backup.tar.zst
is_documented 0 list list -r "$repository"
is_documented 3 verify verify all -r "$repository"
is_documented 3 restore restore latest -d app -r "$repository" --yes
rm -r "$repository"
pg_stop
is_documented 0 status status
t_match "$(jq -r '.stacks[0].last_backup.unknown' <<<"$t_out")" 'does not exist'
is_documented 1 backup backup -d app -r "$repository"
