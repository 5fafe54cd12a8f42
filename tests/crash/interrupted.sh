#!/usr/bin/env bash
# Told to stop, and two at once: SIGTERM ends a run with exit status 5 and resume continues it; a second run meets the lock and names
# its holder; of two that resume, one does; the nightly backup after a crash makes its set all the same.
cd "$(dirname "$0")/../.." || exit 1
. tests/crash/lib.sh

try_signal() { # POINT SIGNAL
	local about status
	crash_fresh
	if ! stopped_at "$1" start_operation -q; then
		go_on
		return
	fi
	about="SIG$2, $(doing)"
	kill -s "$2" "$(stopped_pid)"
	go_on
	status=$ended
	# The last call of a run has nothing behind it that could be interrupted; before the first record there is no run.
	if [ "$status" != 5 ] && { [ "$status" != 0 ] || is_unfinished; } && is_begun; then
		report "call:$1" "$about" "exit status $status" "$T/stopped.out"
		return
	fi
	if ! finish_operation; then
		report "call:$1" "$about" 'not brought to its end' "$T/out"
		return
	fi
	expect_state "call:$1" "$about"
}

# meets_lock NAME STATE-DIR PATTERN: a second run ends with exit status 4 at once and says who is there.
meets_lock() {
	local status=0
	"$HOLDFAST" --state-dir "$2" backup -d dbname=app -r "$T/repository" >"$T/out" 2>&1 || status=$?
	if [ "$status" != 4 ]; then
		report "$1" 'a second run' "exit status $status" "$T/out"
	elif ! grep -qE "$3" "$T/out"; then
		report "$1" 'a second run' 'does not name the holder' "$T/out"
	else
		report "$1" 'a second run' ok
	fi
}
try_two_runs() {
	local run pid
	crash_fresh
	stopped_at $((calls / 2)) start_operation -q || die 'it ended before the second could start'
	pid=$(stopped_pid)
	run=$(basename "$T"/state/runs/*)
	meets_lock 'same host' "$T/state" "\"$run\" \(pid $pid\)"
	meets_lock 'other host' "$T/tmp/elsewhere" 'pid [0-9]+|holdfast'
	rm -rf "$T/tmp/elsewhere"
	go_on
	expect_state 'same host' 'the first one, afterwards'
}

try_two_resumes() {
	local a=0 b=0 first status=0 run
	crash_fresh
	killed_at "$((calls / 2)):before" start_operation -q || die 'was not killed'
	run=$(basename "$T"/state/runs/*)
	stopped_at 60 hf resume -q || die 'the first resume ended before the second'
	hf resume "$run" >"$T/out" 2>&1 || status=$?
	if [ "$status" != 4 ] || ! grep -qF "\"$run\"" "$T/out"; then
		report resumes "a second resume, by name: exit status $status" 'is not held off' "$T/out"
	fi
	go_on
	expect_state resumes 'the first one, afterwards'

	crash_fresh
	killed_at "$((calls / 2)):before" start_operation -q || die 'was not killed'
	hf resume -q >"$T/out.a" 2>&1 &
	first=$!
	hf resume -q >"$T/out.b" 2>&1 || b=$?
	wait "$first" || a=$?
	cat "$T/out.a" "$T/out.b" >"$T/out"
	case "$a $b" in
	'0 4' | '4 0' | '0 2' | '2 0' | '0 0') expect_state resumes "two at once: exit status $a and $b" ;;
	*) report resumes 'two at once' "exit status $a and $b" "$T/out" ;;
	esac
}

# The backup of today after the crash of yesterday: no left-over of the old run in the repository, and a new set that verifies.
try_next_night() { # POINT
	local about sets
	crash_fresh
	killed_at "$1:before" start_operation -q || return 0
	about="the next backup, after a kill at $(doing)"
	if ! start_operation -q >"$T/out" 2>&1; then
		report "call:$1" "$about" 'failed' "$T/out"
		return
	fi
	sets=$(find "$T"/repository/app/backups -mindepth 1 -maxdepth 1 | wc -l)
	if [ "$sets" != "$(find "$T"/repository/app/backups -name manifest.json | wc -l)" ]; then
		files_below "$T/repository" >"$T/diff"
		report "call:$1" "$about" 'leaves half a set' "$T/diff"
	elif ! hf verify all -q -r "$T/repository" --stack app >"$T/out" 2>&1; then
		report "call:$1" "$about" 'a set does not verify' "$T/out"
	elif hf resume -q >"$T/out" 2>&1; then
		report "call:$1" "$about" 'something is left to resume' "$T/out"
	elif ! wait_until 10 no_backends || [ -n "$(ls -A "$T/tmp")" ]; then
		report "call:$1" "$about" 'leaves connections or files'
	else
		report "call:$1" "$about ($sets sets)" ok
	fi
}

if is_full; then
	terms=10
	nights=6
else
	terms=2
	nights=2
fi
crash_begin
table_head
for operation in backup restore; do
	if [ "$operation" = restore ]; then
		make_set
		operation=restore
	fi
	learn
	for point in $(spread "$terms"); do try_signal "$point" TERM; done
	for point in $(spread 2); do is_full && try_signal "$point" INT; done
	try_two_resumes
	[ "$operation" = restore ] || {
		try_two_runs
		for point in $(spread "$nights"); do try_next_night "$point"; done
	}
done
