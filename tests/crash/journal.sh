#!/usr/bin/env bash
# The journal itself: a torn last record is cut away and the run resumes; damage anywhere else is refused, names the record and
# changes nothing.
cd "$(dirname "$0")/../.." || exit 1
. tests/crash/lib.sh

journal() { printf '%s' "$T"/state/runs/*/journal; }

# The last record half written: what a crash in the middle of the append leaves.
try_torn() { # RECORD
	local bytes last about
	crash_fresh
	killed_at "journal:$1" start_operation -q || {
		report "torn:$1" '' 'was not killed' "$T/out"
		return
	}
	about="half of $(doing)"
	bytes=$(stat -c %s "$(journal)")
	last=$(tail -n 1 "$(journal)" | wc -c)
	truncate -s $((bytes - 1 - RANDOM % (last - 1))) "$(journal)"
	if ! finish_operation; then
		report "torn:$1" "$about" 'not brought to its end' "$T/out"
		return
	fi
	expect_state "torn:$1" "$about"
}

everything() {
	find "$T/repository" "$T/state/runs" "$T/tmp" -type f -exec sha256sum {} + | sort
	databases
}

# expect_refused NAME DOING PATTERN: resume ends with exit status 3 and that message, and nothing is otherwise than before.
expect_refused() {
	local status=0
	wait_until 10 is_quiet || :
	everything >"$T/before"
	hf resume "$(basename "$T"/state/runs/*)" >"$T/out" 2>&1 || status=$?
	everything >"$T/after"
	if [ "$status" != 3 ]; then
		report "$1" "$2" "exit status $status" "$T/out"
	elif ! grep -qE "$3" "$T/out"; then
		report "$1" "$2" 'says something else' "$T/out"
	elif ! cmp -s "$T/before" "$T/after"; then
		diff "$T/before" "$T/after" >"$T/diff" || :
		report "$1" "$2" 'changed something' "$T/diff"
	else
		report "$1" "$2" ok
	fi
}

# Damaged, refused; put right again, it goes on to the undisturbed end.
try_damage() { # NAME DOING PATTERN command… (on the journal)
	local name=$1 about=$2 pattern=$3 file
	shift 3
	crash_fresh
	killed_at "journal:6" start_operation -q || die 'was not killed'
	file=$(journal)
	cp -p "$file" "$T/good.journal"
	"$@" "$file"
	expect_refused "$name" "$about" "$pattern"
	if ! hf runs >"$T/out" 2>&1 || [ ! -s "$T/out" ]; then
		report "$name" 'runs, meanwhile' 'does not list it' "$T/out"
	fi
	cp -p "$T/good.journal" "$file"
	if ! finish_operation; then
		report "$name" 'put right, resumed' 'not brought to its end' "$T/out"
		return
	fi
	expect_state "$name" 'put right, resumed'
}
change_record_3() { sed -i '3s/"seq"/"sEq"/' "$1"; }
drop_record_3() { sed -i '3d' "$1"; }
double_record_3() { sed -i '3p' "$1"; }
empty_it() { : >"$1"; }
change_plan() { printf '# changed\n' >>"${1%journal}plan.yaml"; }

# The run's own copy of a built-in plan is edited: the built-in one is the same as what was started, and the run goes on by it.
try_plan() {
	crash_fresh
	killed_at "journal:6" start_operation -q || die 'was not killed'
	change_plan "$(journal)"
	if ! finish_operation; then
		report plan 'the plan was edited' 'not brought to its end' "$T/out"
		return
	fi
	expect_state plan 'the plan was edited'
}

crash_begin
table_head
operation=backup
learn
if is_full; then
	torn=$(seq 2 $((records - 1)))
else
	torn="2 $((records / 2))"
fi
for n in $torn; do try_torn "$n"; done
try_damage changed 'a letter of record 3 is another' 'record 3 ' change_record_3
try_damage gap 'record 3 is missing' 'record 3 ' drop_record_3
is_full && try_damage double 'record 3 is there twice' 'record 4 ' double_record_3
is_full && try_damage empty 'the file is empty' 'record 1 ' empty_it
try_plan
