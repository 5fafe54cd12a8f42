#!/usr/bin/env bash
# Killed anywhere, resumes: backup and restore, SIGKILL after every record of the journal and at points spread over everything the
# outside can see of a run; every end state must be that of an undisturbed run.
#
#   make crash              every journal record, 200 further points for each operation
#   CRASH=short             a dozen of points
#   POINTS=N OPERATIONS=restore SEED=7   otherwise
cd "$(dirname "$0")/../.." || exit 1
. tests/crash/lib.sh

if is_full; then
	POINTS=${POINTS:-200}
else
	POINTS=${POINTS:-5}
fi
OPERATIONS=${OPERATIONS:-backup restore}

app_part() { sed -n "/^-- app/,/^-- [sv]/p" "$1" | grep -v "^-- "; }

# The undisturbed restore gives what the undisturbed backup was made of.
learn_checked() {
	learn
	[ "$operation" = restore ] || return 0
	diff <(app_part "$T/source") <(app_part "$T/reference") ||
		die "the undisturbed restore is not the source"
}

# Half of the points evenly over all calls, half over those that change files: sends outnumber them.
choose_points() {
	local i how=(before after torn)
	mapfile -t changes < <(awk '$2 !~ /^send/ { print $1 }' "$T/calls")
	for ((i = 0; i < POINTS; i++)); do
		if ((i % 2)); then
			printf '%d:%s\n' $((1 + (2 * i + 1) * calls / (2 * POINTS))) "${how[i / 2 % 3]}"
		else
			printf '%d:%s\n' "${changes[i * ${#changes[@]} / POINTS]}" "${how[i / 2 % 3]}"
		fi
	done
	if is_full; then
		seq -f "journal:%.0f" "$records"
	else
		seq -f "journal:%.0f" 2 $(((records + 2) / 3)) "$records"
	fi
}

# One point: killed, for every other point killed again while it is resumed, then brought to its end.
try_point() {
	local point=$1 status=0 about=
	crash_fresh
	killed_at "$point" start_operation -q || status=$?
	about=$(doing)
	case $status in
	1)
		# Threads take turns differently: this time there were fewer calls.
		about='(ended before it)'
		;;
	2)
		report "$point" "$about" 'failed before it was killed' "$T/out"
		return
		;;
	esac
	if ((RANDOM % 2)) && is_unfinished; then
		status=0
		killed_at "$((1 + RANDOM % calls)):before" hf resume -q || status=$?
		[ "$status" != 0 ] || about+=" + $(doing)"
		if [ "$status" = 2 ]; then
			report "$point" "$about" 'resume failed' "$T/out"
			return
		fi
	fi
	if ! finish_operation; then
		report "$point" "$about" "not brought to its end" "$T/out"
		return
	fi
	expect_state "$point" "$about"
}

crash_begin
table_head
for operation in $OPERATIONS; do
	if [ "$operation" = restore ]; then
		make_set
		end_state >"$T/source"
		operation=restore
	fi
	learn_checked
	mapfile -t points < <(choose_points)
	for point in "${points[@]}"; do
		try_point "$point"
	done
done
