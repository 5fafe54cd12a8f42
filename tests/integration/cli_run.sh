#!/usr/bin/env bash
# What the command line does with a server: from the first backup to the restored database, and everything told on the way.
# shellcheck source=../lib/t.sh
. tests/lib/t.sh
unset "${!HOLDFAST_@}" "${!PG@}" XDG_CONFIG_HOME
# shellcheck source=../lib/pg.sh
. tests/lib/pg.sh

HOLDFAST=${HOLDFAST:-$PWD/build/holdfast}
export HOME=$T_TMP/home HOLDFAST_STATE_DIR=$T_TMP/state
mkdir "$HOME"
pg_start
repository=$T_TMP/repository
# json PATH…: of $t_out, by psql, which is there anyway
json() { psql -XAtqd postgres -v ON_ERROR_STOP=1 -v doc="$t_out" -v path="$1" <<<"SELECT (:'doc')::jsonb #>> :'path'"; }
rows() { psql -XAtqd app -c 'SELECT count(*) FROM orders'; }

psql -XAtqd postgres -c 'CREATE DATABASE app'
psql -XAtqd app -c "CREATE TABLE orders (id int PRIMARY KEY, what text);
	INSERT INTO orders SELECT g, md5(g::text) || repeat('x', 200) FROM generate_series(1, 50000) g; CREATE TABLE empty ()"

t_begin backup_needs_no_configuration
t_exit 0 "$HOLDFAST" backup --database postgresql:///app --repository "$repository"
t_match "$t_out" 'backup set   [0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}.*stack        app.*tables       2.*rows         50,000'
t_match "$t_err" 'preflight: done in .*dump: done in .*commit: done in'
t_nomatch "$t_err" $'\e|\r' 'no terminal, no control characters'
t_is "$(stat -c %a "$repository" "$HOLDFAST_STATE_DIR")" $'700\n700'
t_is "$(find "$repository" "$HOLDFAST_STATE_DIR" -type f ! -perm 600)" '' 'files are readable by the owner alone'

t_begin quiet_says_nothing
t_exit 0 "$HOLDFAST" -q backup -d app -r "$repository"
t_is "$t_out$t_err" ''

t_begin json_has_the_outputs_of_every_step
t_exit 0 "$HOLDFAST" --output json -q backup -d app -r "$repository"
t_is "$(json '{format}') $(json '{command}') $(json '{status}') $(json '{exit_status}')" 'holdfast-output/1 backup done 0'
t_is "$(json '{run,status}') $(json '{run,outputs,dump,rows}') $(json '{run,stack}')" 'done 50000 app'
id=$(json '{run,outputs,dump,backup_id}')

t_begin list_show_verify
t_exit 0 "$HOLDFAST" list -r "$repository"
t_match "$t_out" "^ID +STACK +TAKEN AT .*$id +app +"
t_is "$(wc -l <<<"$t_out")" 4
t_exit 0 "$HOLDFAST" list -r "$repository" --output json
t_is "$(json '{sets,2,id}') $(json '{sets,2,rows}') $(json '{sets,2,problem}')" "$id 50000 "
t_exit 0 "$HOLDFAST" show latest -r "$repository"
t_match "$t_out" "^backup set     $id.*TABLE .*public.orders +50,000"
t_exit 0 "$HOLDFAST" show "${id%????}" -r "$repository" --output json
t_is "$(json '{manifest,format}')" holdfast-backup/1
t_exit 0 "$HOLDFAST" verify latest -r "$repository"
t_match "$t_out" "$id +app .* ok$"
t_exit 0 "$HOLDFAST" verify all --quick -r "$repository"
t_exit 2 "$HOLDFAST" show 19990101 -r "$repository"

t_begin damage_is_exit_status_3_and_every_set_is_read
archive=$repository/app/backups/$id/backup.tar.zst
cp "$archive" "$T_TMP/intact"
t_spoil "$archive" 4000
t_exit 3 "$HOLDFAST" verify all -r "$repository" --output json
t_is "$(json '{status}') $(json '{error,class}') $(json '{error,message}')" 'corrupt corrupt 1 of 3 backup sets is damaged'
t_is "$(json '{sets,0,ok}') $(json '{sets,1,ok}') $(json '{sets,2,ok}')" 'true true false'
t_exit 3 "$HOLDFAST" verify latest -r "$repository"
t_match "$t_out" 'DAMAGED: '
truncate -s 1000 "$archive"
t_exit 0 "$HOLDFAST" list -r "$repository"
t_match "$t_out" "$id .*DAMAGED: "
t_exit 3 "$HOLDFAST" verify latest --quick -r "$repository"
cp "$T_TMP/intact" "$archive"

t_begin restore_asks_and_where_nobody_answers_changes_nothing
psql -XAtqd app -c 'DELETE FROM orders WHERE id > 10'
t_exit 2 "$HOLDFAST" restore latest -d app -r "$repository"
t_match "$t_err" 'a restore replaces the database in service, and nobody is there to confirm it'
t_is "$(psql -XAtqd postgres -c "SELECT count(*) FROM pg_database WHERE datname LIKE 'app%'") $(rows)" '1 10'
t_is "$(find "$HOLDFAST_STATE_DIR/runs" -mindepth 1 -maxdepth 1 -name '*restore*')" '' 'no run was begun'

t_begin dry_run_prints_the_steps_and_changes_nothing
t_exit 0 "$HOLDFAST" restore latest -d app -r "$repository" --dry-run
t_match "$t_out" 'STEP +USES +WITH.*fill +restore.fill .*swap +postgres.swap'
t_is "$(psql -XAtqd postgres -c "SELECT count(*) FROM pg_database WHERE datname LIKE 'app%'")" 1
t_exit 0 "$HOLDFAST" backup -d app -r "$T_TMP/dry" --dry-run --output json
t_is "$(json '{steps,1,uses}')" backup.dump
[ ! -e "$T_TMP/dry" ]
t_is $? 0 'no repository was made'

t_begin restore_brings_the_rows_back_and_keeps_the_old_database
t_exit 0 "$HOLDFAST" restore latest -d app -r "$repository" --yes
t_is "$(rows)" 50000
t_match "$t_out" 'proof         every row compared with the set: equal; 2 tables.*time went to '
kept=$(grep -oE 'app_before_[0-9a-z_]+' <<<"$t_out" | head -n 1)
t_is "$(psql -XAtqd "$kept" -c 'SELECT count(*) FROM orders')" 10

t_begin status_finds_everything_in_the_journals
t_exit 0 "$HOLDFAST" status
t_match "$t_out" "^stack          app.*last backup    $id.*last restore .*, done.*kept database  $kept.*holdfast drop-old $kept"
t_exit 0 "$HOLDFAST" status --output json
t_is "$(json '{stacks,0,kept_databases,0,name}') $(json '{stacks,0,last_backup,id}')" "$kept $id"
t_exit 0 "$HOLDFAST" runs --output json
run=$(json '{runs,0,id}')
t_is "$(json '{runs,0,plan}') $(json '{runs,0,state}')" 'restore done'
t_exit 0 "$HOLDFAST" status "$run"
t_match "$t_out" "^run          $run.*state        done.*fill +restore.fill +done"

t_begin restore_beside_asks_nothing
t_exit 0 "$HOLDFAST" restore latest -d app -r "$repository" --target-db app_copy --verify counts
t_is "$(psql -XAtqd app_copy -c 'SELECT count(*) FROM orders')" 50000
t_match "$t_out" 'database      app_copy'
t_exit 0 "$HOLDFAST" restore latest -d app -r "$repository" -t public.orders
t_match "$t_out" 'brings the rows back'
rows_back=$(sed -n '/brings the rows back/,$p' <<<"$t_out")
t_exit 0 "$HOLDFAST" runs --output json
run=$(json '{runs,0,id}')
t_exit 0 "$HOLDFAST" status "$run"
t_is "$(sed -n '/brings the rows back/,$p' <<<"$t_out")" "$rows_back" 'told again, for whoever closed the terminal'

t_begin drop_old_drops_only_what_was_kept
t_exit 2 "$HOLDFAST" drop-old app_copy -d app --yes
t_match "$t_err" 'database "app_copy" is none that a restore has kept'
t_exit 2 "$HOLDFAST" drop-old "$kept" -d app
t_match "$t_err" 'nobody is there to confirm it'
t_exit 0 "$HOLDFAST" drop-old "$kept" -d app --yes
t_is "$(psql -XAtqd postgres -c "SELECT count(*) FROM pg_database WHERE datname = '$kept'")" 0

t_begin a_plan_of_ones_own
"$HOLDFAST" plan show backup | sed 's/^name: backup/name: mine/' >"$T_TMP/mine.yaml"
t_exit 0 "$HOLDFAST" run "$T_TMP/mine.yaml" -d app -r "$repository" -p jobs=1 -p tables=public.empty
t_exit 0 "$HOLDFAST" run "$T_TMP/mine.yaml" --output json -p database=dbname=app -p repository="$repository" -p stack=other -q
t_is "$(json '{run,plan}') $(json '{run,stack}') $(json '{run,outputs,dump,rows}')" 'mine other 100000' 'with the table restored beside'
t_exit 2 "$HOLDFAST" run "$T_TMP/mine.yaml" -d app -r "$repository" -p job=1

# A table locked by somebody else holds a dump where it is, for as long as a test likes.
psql -XAtqd app -c 'CREATE TABLE held ()'
exec {hold}> >(psql -XAtqd app >/dev/null 2>&1)
hold_table() { printf 'BEGIN; LOCK held;\n' >&"$hold"; t_wait 10 is_held; }
is_held() { [ "$(psql -XAtqd app -c "SELECT count(*) FROM pg_locks WHERE relation = 'held'::regclass AND granted AND mode = 'AccessExclusiveLock'")" = 1 ]; }
free_table() { printf 'ROLLBACK;\n' >&"$hold"; }
has_run_in() { "$HOLDFAST" runs --output json | grep -q "\"state\": \"$1\""; }
waits() { [ "$(psql -XAtqd app -c "SELECT count(*) FROM pg_locks WHERE relation = 'held'::regclass AND NOT granted")" -gt 0 ]; }

t_begin second_run_of_a_stack_is_exit_status_4
hold_table
"$HOLDFAST" backup -d app -r "$repository" >"$T_TMP/first.out" 2>"$T_TMP/first.err" &
first=$!
t_wait 20 waits
t_exit 4 "$HOLDFAST" backup -d app -r "$repository"
t_match "$t_err" 'error: '
t_exit 0 "$HOLDFAST" status
t_match "$t_out" 'running        [^ ]+ \(backup\)'

t_begin sigusr1_tells_where_the_run_is
kill -USR1 "$first"
t_wait 10 grep -qE '^(dump|preflight)' "$T_TMP/first.err"
t_pass 'one line on standard error'

t_begin sigterm_is_exit_status_5_and_resume_continues
kill -TERM "$first"
status=0
wait "$first" || status=$?
t_is "$status" 5
t_match "$(cat "$T_TMP/first.err")" 'hint:   .*"?holdfast resume'
t_exit 0 "$HOLDFAST" status
t_match "$t_out" 'unfinished     [^ ]+ \(backup, interrupted\).*to go on: holdfast resume '
free_table
t_exit 0 "$HOLDFAST" resume
t_match "$t_out" '^backup set   .*rows         ' 'the summary of any backup'

t_begin backup_settles_what_an_earlier_one_left
hold_table
"$HOLDFAST" backup -d app -r "$repository" >/dev/null 2>&1 &
first=$!
t_wait 20 waits
kill -KILL "$first"
wait "$first" 2>/dev/null
t_wait 10 has_run_in crashed
free_table
t_exit 0 "$HOLDFAST" backup -d app -r "$repository"
t_match "$t_err" 'earlier backup run "[^"]+" \(crashed\): abandoned'
t_exit 0 "$HOLDFAST" runs --output json
t_nomatch "$t_out" '"state": "crashed"'

t_begin unfinished_restore_has_to_be_settled_first
HOLDFAST_CRASH_AT=journal:9 t_run "$HOLDFAST" restore latest -d app -r "$repository" --yes
t_is "$t_status" 137 'killed'
run=$("$HOLDFAST" runs | awk 'NR == 2 { print $1 }')
t_exit 10 "$HOLDFAST" restore latest -d app -r "$repository" --yes
t_match "$t_err" "an earlier restore of stack \"app\" did not finish: run \"$run\" \(crashed\)"
t_match "$t_err" "hint:   \"holdfast resume $run\" continues it; \"holdfast abandon $run\" removes what it made"
t_exit 0 "$HOLDFAST" -q backup -d app -r "$repository"
t_exit 0 "$HOLDFAST" abandon "$run"
t_match "$t_out" "^run $run \(restore of stack app\): abandoned$"
t_is "$(psql -XAtqd postgres -c "SELECT count(*) FROM pg_database WHERE datname LIKE 'app_new%'")" 0 'its database is gone'
t_exit 0 "$HOLDFAST" restore latest -d app -r "$repository" --dry-run

t_begin backup_resumes_an_earlier_one_whose_rows_are_all_copied
is_dumped=''
for record in 6 7 8 9; do
	HOLDFAST_CRASH_AT=journal:$record t_run "$HOLDFAST" backup -d app -r "$repository" --on-interrupted abandon
	run=$("$HOLDFAST" runs | awk 'NR == 2 { print $1 }')
	t_run "$HOLDFAST" status "$run" --output json
	is_dumped=$(json '{run,steps,1,state}')
	[ "$is_dumped" != 'done' ] || break
done
t_is "$is_dumped" 'done' 'killed behind the dump'
sets=$("$HOLDFAST" list -r "$repository" | wc -l)
t_exit 0 "$HOLDFAST" backup -d app -r "$repository"
t_match "$t_err" "earlier backup run \"$run\" \(crashed\): resumed"
t_is "$("$HOLDFAST" list -r "$repository" | wc -l)" $((sets + 2)) 'its set, and the one of today'

t_begin second_signal_ends_at_once
hold_table
"$HOLDFAST" verify latest -r "$repository" >/dev/null 2>&1
"$HOLDFAST" backup -d app -r "$repository" >/dev/null 2>&1 &
first=$!
t_wait 20 waits
kill -STOP "$first"
kill -TERM "$first"
kill -INT "$first"
kill -CONT "$first"
status=0
wait "$first" || status=$?
t_match "$status" '^(130|143)$'
free_table

t_begin passwords_are_nowhere
secret=Geheim4711
psql -XAtqd postgres -c "CREATE ROLE dumper SUPERUSER LOGIN PASSWORD '$secret'"
hold_table
"$HOLDFAST" -v backup -d "postgresql://dumper:$secret@/app" -r "$repository" --on-interrupted abandon >"$T_TMP/out" 2>"$T_TMP/err" &
first=$!
t_wait 20 waits
t_nomatch "$(tr '\0' ' ' <"/proc/$first/cmdline")" "$secret" 'not in our own command line'
t_match "$(tr '\0' ' ' <"/proc/$first/cmdline")" 'dumper' 'which still tells the user'
read -ra children <"/proc/$first/task/$first/children"
for child in "${children[@]}"; do
	t_nomatch "$(tr '\0' ' ' <"/proc/$child/cmdline" 2>/dev/null)" "$secret" 'not in a child'\''s'
done
free_table
status=0
wait "$first" || status=$?
t_is "$status" 0
t_is "$(grep -rlF "$secret" "$T_TMP/out" "$T_TMP/err" "$HOLDFAST_STATE_DIR" "$repository")" '' 'not in output, journals, sets'
t_exit 0 "$HOLDFAST" backup --database="user=dumper password='$secret' dbname=app" -r "$repository" --dry-run
t_nomatch "$t_out$t_err" "$secret" 'not in a dry run'
t_exit 1 "$HOLDFAST" -v backup --database="postgresql://nobody:$secret@/app" --stack app -r "$repository" --output json
t_nomatch "$t_out$t_err" "$secret" 'not in an error'

t_begin progress_is_drawn_on_a_terminal
# Slow enough to be looked at, fast enough to wait for.
hold_table
tmux -L "hf$$" -f /dev/null new-session -d -x 60 -y 20 \
	"env TERM=screen '$HOLDFAST' backup -d app -r '$repository' --on-interrupted abandon; printf 'status %s\n' \$?; sleep 60"
t_defer tmux -L "hf$$" kill-server
screen() { tmux -L "hf$$" capture-pane -p; }
screen_has() { screen | grep -qE "$1"; }
t_wait 20 screen_has '^(dump|preflight)  .*[0-9]s$'
t_is "$(screen | grep -cE '^(dump|preflight)  ')" 1 'one line for the running step'
free_table
t_wait 20 screen_has '^status 0'
t_match "$(screen)" 'commit: done in '
t_nomatch "$(screen)" $'(^|\n)dump  ' 'the progress line is gone'
printf '\\q\n' >&"$hold"
