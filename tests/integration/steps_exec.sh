#!/usr/bin/env bash
# Plans that run programs: exec, service.stop and service.start, wait, compare, notify.  Killed, interrupted, undone; and no secret of theirs
# anywhere.
# shellcheck source=../lib/t.sh
. tests/lib/t.sh
server=${HOLDFAST_BUILD:-$PWD/build}/tests/integration/web_server
unset "${!HOLDFAST_@}" "${!PG@}" XDG_CONFIG_HOME http_proxy HTTP_PROXY https_proxy HTTPS_PROXY all_proxy ALL_PROXY
HOLDFAST=${HOLDFAST:-$PWD/build/holdfast}
export HOME=$T_TMP/home HOLDFAST_STATE_DIR=$T_TMP/state
world=$T_TMP/world web=$T_TMP/web
mkdir "$HOME" "$world" "$web" "$web/www"
secret=Geheim4711
export SHOP_TOKEN=$secret
printf '%s\n' "$secret" >"$T_TMP/token"

# plan STEPS…: a plan of these, in $T_TMP/plan.yaml
plan() { printf '%s\n' 'name: play' 'steps:' "$@" >"$T_TMP/plan.yaml"; }
run() { t_exit "$1" "$HOLDFAST" run "$T_TMP/plan.yaml" --stack shop "${@:2}"; }
start() { "$HOLDFAST" run "$T_TMP/plan.yaml" --stack shop >"$T_TMP/out" 2>"$T_TMP/err" & started=$!; }
# What $started ends with; killed is 137.
ended() { t_status=0; wait "$started" 2>/dev/null || t_status=$?; }
last_run() { "$HOLDFAST" runs | awk 'NR == 2 { print $1 }'; }
run_dir() { printf %s "$HOLDFAST_STATE_DIR/runs/$(last_run)"; }
journal() { cat "$(run_dir)/journal"; }
# is_gone PROCESS: ended, whether somebody has noticed or not
is_gone() { ! grep -q '^State:.[^Z]' "/proc/$1/status" 2>/dev/null; }
world() { cat "$world/$1" 2>/dev/null; }
no_secret() { t_is "$(grep -rlF "$secret" "$HOLDFAST_STATE_DIR" "$T_TMP/.out" "$T_TMP/.err")" '' 'no secret in journals, logs, output'; }

# --- exec --------------------------------------------------------------------------------------------------------------------

t_begin a_program_has_its_directory_environment_and_input
plan "- id: one
  uses: exec
  with:
    argv: [bash, -c, 'pwd; echo \"\$NAME \$#\" \"\$0\" \"\$1\"; echo \"\$HOLDFAST_STEP \$\${HOLDFAST_RUN##*-play-}\"; echo \"[\$\${HOME-}]\"; cat', \"it's\", 'a \$b *']
    dir: $world
    env: { NAME: plain }
    env_remove: [HOME]
    stdin: 'typed in'
    capture: true
- id: two
  uses: exec
  with: { argv: [tee, $world/two], stdin: '\${steps.one.stdout}' }"
run 0
id=$(last_run)
t_is "$(world two)" "$world
plain 1 it's a \$b *
one ${id##*-}
[]
typed in"
t_is "$(cat "$(run_dir)/two.log")" "$(world two)"
t_is "$(stat -c %a "$(run_dir)/two.log")" 600
t_match "$(journal)" '"log":"[^"]*/one.log"'

t_begin nothing_is_typed_in_and_statuses_may_be_expected
plan "- { id: one, uses: exec, with: { argv: [bash, -c, 'read -r x && exit 9; exit 4'], expect: [1, 3-5] } }"
run 0
plan "- { id: one, uses: exec, with: { argv: [sh, -c, 'exit 2'], expect: '1' } }"
run 1
t_match "$t_err" 'error:  program "sh" ended with exit status 2'
plan "- { id: one, uses: exec, with: { argv: ['true'], expect: ['1', nought] } }"
run 2
t_match "$t_err" '"expect" of step "one": "nought" is neither an exit status nor a range such as 2-5'

t_begin the_reason_is_told_however_much_follows
plan "- { id: one, uses: exec, with: { argv: [bash, -c, 'printf \"%s\\n\" \"ERROR: \$URL\" >&2; seq 30000 >&2; exit 3'], env: { URL: 'postgres://u:untold@h/d' } } }"
run 1
t_match "$t_err" $'detail: ERROR: postgres://u:\\*\\*\\*@h/d\n +…\n +29996\n'

t_begin secrets_are_nowhere
plan "- id: one
  uses: exec
  with:
    argv: [bash, -c, 'printf %s \"\$\${TOKEN:0:4}\"; sleep 0.05; echo \"\$\${TOKEN:4} \$URL\"; cat; echo; echo \"wrong \$OTHER\" >&2; exit 1']
    env: { TOKEN: 'env:SHOP_TOKEN', OTHER: 'file:$T_TMP/token', URL: 'env:SHOP_URL' }
    stdin: 'file:$T_TMP/token'
    capture: true
  on_failure: continue
- id: two
  uses: exec
  with: { argv: [bash, -c, 'echo \"<\$TOKEN> \$\${TOKEN: -6}\"'], env: { TOKEN: 'env:SHOP_TOKEN' }, capture: true }"
SHOP_URL="postgresql://app:pass$secret@h/db" run 0
t_match "$(journal)" '"message":"program \\"bash\\" ended with exit status 1","detail":"wrong \*\*\*\\nAll it has printed is in file'
t_is "$(sort "$(run_dir)/one.log")" $'***\n*** ***\nwrong ***'
t_match "$(journal)" '"stdout":"<\*\*\*> im4711"' 'a part of a secret is none'
no_secret
plan "- { id: one, uses: exec, with: { argv: ['true'], env: { TOKEN: 'env:SHOP_NOTHING' } } }"
run 2
t_match "$t_err" 'error:  variable "TOKEN": environment variable "SHOP_NOTHING" is not set'

t_begin secret_parameters_go_by_secret_env
printf '%s\n' 'name: play' 'parameters: { word: { type: string, secret: true } }' 'steps:' \
	"- { id: one, uses: exec, with: { argv: [bash, -c, 'echo \"<\$WORD>\"'], secret_env: { WORD: '\${word}' }, capture: true } }" \
	>"$T_TMP/plan.yaml"
run 0 -p word="$secret"
t_match "$(journal)" '"stdout":"<\*\*\*>"'
sed -i 's/secret_env/env/' "$T_TMP/plan.yaml"
run 2 -p word="$secret"
t_match "$t_err" 'secret parameter "word" cannot be given to "env", which is not secret'
no_secret

t_begin what_cannot_be_started_is_named
plan "- { id: one, uses: exec, with: { argv: [/no/such/program, x] } }"
run 1
t_match "$t_err" 'error:  could not start program "/no/such/program": No such file or directory'
plan "- { id: one, uses: exec, with: { argv: ['true'], dir: /no/such/dir } }"
run 1
t_match "$t_err" 'error:  could not change to directory "/no/such/dir": No such file or directory'
plan "- { id: one, uses: exec, with: { capture: true } }"
run 2
t_match "$t_err" 'step "one" needs either "argv" or "commands"'
plan "- { id: one, uses: exec, with: { argv: [sh, -c, 'kill -9 \$\$'] } }"
run 1
t_match "$t_err" 'error:  program "sh" was ended by signal 9 \(Killed\)'

t_begin much_output_is_cut_for_the_plan_and_kept_in_the_log
plan "- { id: one, uses: exec, with: { argv: [head, -c, '200000', /dev/zero], capture: true } }" \
	"- { id: two, uses: exec, with: { argv: [bash, -c, 'printf %0100000d 7'], capture: true } }"
run 0
t_match "$t_err" 'step "two" prints more than 65.5 kB; its output is cut there'
t_is "$(stat -c %s "$(run_dir)/one.log" "$(run_dir)/two.log")" $'200000\n100000'

t_begin commands_come_from_a_parameter
printf '%s\n' 'name: play' 'parameters: { preflight: { type: argvs } }' 'steps:' \
	"- { id: one, uses: exec, when: '\${preflight}', with: { commands: '\${preflight}' } }" >"$T_TMP/plan.yaml"
run 0
t_match "$(journal)" '"type":"step.skipped","step":"one"'
sed -i "s|argvs|argvs, default: [[touch, $world/first], [sh, -c, 'exit 3'], [touch, $world/third]]|" "$T_TMP/plan.yaml"
run 1
t_match "$t_err" 'error:  program "sh" ended with exit status 3'
t_is "$(ls "$world/first" "$world/third" 2>/dev/null)" "$world/first" 'one after the other, until one fails'

t_begin killed_program_is_asked_for_and_run_again
plan "- id: one
  uses: exec
  with:
    argv: [bash, -c, 'echo run >>$world/runs; [ -e $world/go ] || { echo > $world/waits; exec sleep 60; }; echo effect >$world/effect']
    check: [test, -e, $world/effect]
- { id: two, uses: exec, with: { argv: [touch, $world/after] } }"
start
t_wait 10 test -e "$world/waits"
child=$(pgrep -P "$started")
kill -KILL "$started"
ended
t_is "$t_status" 137
t_wait 10 is_gone "$child"
t_pass 'its program was told to end'
touch "$world/go"
t_exit 0 "$HOLDFAST" resume "$(last_run)"
t_is "$(world runs)" $'run\nrun' 'run again: the effect was not there'
rm "$world/go" "$world/waits" "$world/after"
rm "$world/effect"
start
t_wait 10 test -e "$world/waits"
kill -KILL "$started"
ended
touch "$world/effect"
t_exit 0 "$HOLDFAST" resume "$(last_run)"
t_is "$(wc -l <"$world/runs")" 3 'not run again: the effect was there'
t_match "$(journal)" '"type":"step.done","step":"one","outputs":\{\},"found":true'
[ -e "$world/after" ]
t_is $? 0 'and the plan went on'

t_begin sigterm_and_deadline_end_the_program
plan "- { id: one, uses: exec, with: { argv: [bash, -c, 'echo > $world/sleeps; sleep 61 & wait'] } }"
start
t_wait 10 test -e "$world/sleeps"
before=$SECONDS
kill -TERM "$started"
ended
t_is "$t_status" 5
[ $((SECONDS - before)) -lt 4 ]
t_is $? 0 'at once'
plan "- { id: one, uses: exec, with: { argv: [sleep, '62'] }, deadline: 200ms }"
t_exit 0 "$HOLDFAST" abandon "$(last_run)"
run 1
t_match "$t_err" 'error:  step "one" did not end within 200ms'
t_is "$(pgrep -f '^sleep 6[12]$')" '' 'nothing is left of either'

# --- services and the way back -----------------------------------------------------------------------------------------------

# A service is a file; its programs log what they do.
service() { printf '[bash, -c, "echo %s >>%s/log; %s"]' "$1" "$world" "$2"; }
stop=$(service stop "rm -f $world/up")
begin=$(service start "touch $world/up")
two_services="- id: stop
  uses: service.stop
  with: { command: $stop, undo: $begin, check: [test, -e, $world/up], expect_check: '1' }
- id: migrate
  uses: exec
  with: { argv: [touch, $world/migrated], undo: [rm, $world/migrated] }
- id: start
  uses: service.start
  with: { command: $(service start-new "touch $world/up"), undo: $(service stop-new "rm -f $world/up"), check: [test, -e, $world/up] }"

t_begin services_are_stopped_and_started
touch "$world/up"
plan "$two_services"
run 0
t_is "$(world log | tr '\n' ' ')" 'stop start-new '

t_begin what_fails_later_brings_the_old_service_back
: >"$world/log"
rm -f "$world/migrated"
plan "$two_services" "- { id: last, uses: exec, with: { argv: ['false'], undo: [touch, $world/undone] }, on_failure: rollback }"
run 7
t_is "$(world log | tr '\n' ' ')" 'stop start-new stop-new start ' 'in reverse order'
t_is "$(ls "$world/up" "$world/undone" "$world/migrated" 2>/dev/null)" "$world/undone
$world/up" 'the step that failed was undone too'
[ -e "$(run_dir)/stop.undo.log" ]
t_is $? 0 'the way back has a log of its own'

t_begin undo_that_fails_is_exit_status_9_and_says_all
plan "- { id: stop, uses: service.stop, with: { command: ['true'], undo: [bash, -c, 'echo cannot >&2; [ -e $world/mended ]'] } }" \
	"- { id: last, uses: exec, with: { argv: ['false'] }, on_failure: rollback }"
run 9
t_match "$t_err" 'could not undo step "stop" of run "[^"]*": program "bash" ended with exit status 1.*detail: cannot'
touch "$world/mended"
t_exit 7 "$HOLDFAST" resume "$(last_run)"

t_begin service_that_was_only_begun_is_brought_back_too
: >"$world/log"
plan "- { id: stop, uses: service.stop, with: { command: $(service stop 'exit 1'), undo: $begin }, on_failure: rollback }"
run 7
t_is "$(world log | tr '\n' ' ')" 'stop start '

t_begin service_that_takes_too_long
plan "- { id: stop, uses: service.stop, with: { command: ['true'], check: [test, -e, $world/never], within: 300ms } }"
run 1
t_match "$t_err" 'error:  step "stop" has run its command, but its check does not agree within 300ms'
t_exit 0 "$HOLDFAST" abandon "$(last_run)"
rm -f "$world/slow"
plan "- { id: stop, uses: service.stop, with: { command: [bash, -c, '(sleep 0.3; touch $world/slow) >/dev/null 2>&1 &'], check: [test, -e, $world/slow] } }"
run 0

t_begin killed_stop_is_found_by_its_check
plan "- id: stop
  uses: service.stop
  with: { command: [bash, -c, 'rm -f $world/up; echo again >>$world/again; kill -9 \$PPID; sleep 5'], check: [test, -e, $world/up], expect_check: '1-255' }"
run 137
t_exit 0 "$HOLDFAST" resume "$(last_run)"
t_is "$(world again)" again 'stopped once'

# --- wait --------------------------------------------------------------------------------------------------------------------

has_checkpoint() { journal | grep -q step.checkpoint; }

t_begin wait_goes_on_counting_while_nobody_runs
plan "- { id: pause, uses: wait, with: { for: 2s } }"
start
t_wait 10 has_checkpoint
kill -KILL "$started"
ended
from=$(date +%s%N)
t_exit 0 "$HOLDFAST" resume "$(last_run)"
took_ms=$((($(date +%s%N) - from) / 1000000))
[ "$took_ms" -lt 1990 ]
t_is $? 0 "the rest alone: $took_ms ms"
t_match "$(journal)" '"outputs":\{"until":"20'

# --- compare -----------------------------------------------------------------------------------------------------------------

compared() {
	plan "- { id: before, uses: compare, with: { argv: [cat, $world/tails], lines: true } }" \
		"- { id: change, uses: exec, with: { argv: [cp, $world/later, $world/tails] } }" \
		"- { id: after, uses: compare, with: { argv: [cat, $world/tails], lines: true, equal_to: '\${steps.before.file}', mode: $1 } }"
	printf '%s\n' 'orders 0_99' 'users 0_7' >"$world/tails"
}

t_begin tails_may_grow_and_must_not_get_less
printf '%s\n' 'users 0_7' 'orders 0_100' 'new 0_1' >"$world/later"
compared not_less
run 0
t_match "$(journal)" '"step":"before","outputs":\{"file":"[^"]*/before.snapshot","sha256":"[0-9a-f]{64}","lines":2\}'
t_is "$(stat -c %a "$(run_dir)/before.snapshot")" 600
printf '%s\n' 'orders 0_98' >"$world/later"
compared not_less
run 1
t_match "$t_err" "error:  step \"after\" finds something else than there was before: 1 missing, 1 less
detail: less: orders was 0_99, is 0_98
        missing: users 0_7
        Before: file \"[^\"]*/before.snapshot\"; now: file \"[^\"]*/after.snapshot\""
t_exit 0 "$HOLDFAST" abandon "$(last_run)"
compared equal
run 1
t_match "$t_err" 'there was before: 2 missing, 1 new'
t_exit 0 "$HOLDFAST" abandon "$(last_run)"
compared the_same
run 1
t_match "$t_err" '"mode" of step "after": cannot compare by "the_same"'

t_begin answers_are_compared_by_member
"$server" "$web" &
t_defer kill $!
t_wait 10 test -s "$web/port" || exit 1
url=http://127.0.0.1:$(<"$web/port")
printf '200\n{"streams":{"a":"0_9","b":7},"at":1}' >"$web/www/tails.1"
printf '200\n{"streams":{"b":8,"a":"0_8"},"at":2}' >"$web/www/tails"
plan "- { id: before, uses: compare, with: { url: '$url/tails', headers: { X-Token: 'env:SHOP_TOKEN' }, path: streams } }" \
	"- { id: after, uses: compare, with: { url: '$url/tails', path: streams, equal_to: '\${steps.before.file}', mode: not_less } }"
run 1
t_match "$t_err" 'detail: less: a was 0_9, is 0_8'
t_is "$(cat "$(run_dir)/before.snapshot")" $'a 0_9\nb 7'
plan "- { id: before, uses: compare, with: { url: '$url/nothing' } }"
run 1
t_match "$t_err" "error:  \"$url/nothing\" answered with status 404"
no_secret

# --- notify ------------------------------------------------------------------------------------------------------------------

t_begin webhook_gets_what_happened
printf '204\n' >"$web/www/$secret"
: >"$web/log"
export SHOP_HOOK=$url/$secret
plan "- { id: tell, uses: notify, with: { url: 'env:SHOP_HOOK', stack: shop, message: \"it's done\", data: { version: '2' } } }"
run 0
t_is "$(<"$web/log")" "POST /$secret {\"run\":\"$(last_run)\",\"stack\":\"shop\",\"step\":\"tell\",\"message\":\"it's done\",\"data\":{\"version\":\"2\"}}"
t_match "$(<"$web/headers")" 'Content-Type: application/json'
t_match "$(journal)" '"outputs":\{"delivered":true\}'
no_secret

t_begin whoever_cannot_be_told_stops_nothing
rm "$web/www/$secret"
run 0
t_match "$t_err" 'could not notify: "127.0.0.1:[0-9]+" answered with status 404'
t_match "$(journal)" '"outputs":\{"delivered":false\}'
SHOP_HOOK="http://127.0.0.1:1/$secret" run 0
t_match "$t_err" 'could not notify: could not reach "http://127.0.0.1:1"'
sed -i 's/notify, with: {/notify, with: { must_succeed: true,/' "$T_TMP/plan.yaml"
run 1
no_secret
t_exit 0 "$HOLDFAST" run "$T_TMP/plan.yaml" --stack shop --dry-run
t_nomatch "$t_out$t_err" "$secret|SHOP_HOOK" 'not in a dry run'

t_begin program_gets_the_message
plan "- { id: tell, uses: notify, with: { argv: [tee, $world/told], message: 'done' } }"
run 0
t_is "$(world told)" 'done'
