#!/usr/bin/env bash
# Backups to a bucket, killed anywhere: SIGKILL after every record of the journal and at points spread over everything the outside can
# see of a run, among them every request; resumed, half of them killed again while they are.  Every end state must be that of an
# undisturbed run: one set in each repository, verified in every detail, and nothing else anywhere.
#
#   make crash              every journal record, 40 further points for each stack
#   CRASH=short             eight points in all
#   POINTS=N STACKS=both SEED=7   otherwise
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/crash/offsite_lib.sh
. tests/crash/offsite_lib.sh

shim=$HOLDFAST_BUILD/tests/crash/shim_kill.so
LARGE_ROWS=1300 # three parts
if is_full; then
	POINTS=${POINTS:-40}
else
	POINTS=${POINTS:-1}
fi
STACKS=${STACKS:-both alone spooled}
ids='s/[0-9]{8}T[0-9]{6}Z-([a-z-]+-)?[0-9a-f]{4,8}/ID/g'

# killed_at POINT ARG…: 0 when it was killed, 1 when it came to its end before, 2 when it failed
killed_at() {
	local point=$1 status=0
	shift
	rm -f "$T/killed.log" "$T/out"
	case $point in
	journal:*) HOLDFAST_CRASH_AT=$point hf "$@" >"$T/out" 2>&1 || status=$? ;;
	*) HOLDFAST_SHIM_KILL=$point HOLDFAST_SHIM_LOG=$T/killed.log LD_PRELOAD=$shim hf "$@" >"$T/out" 2>&1 || status=$? ;;
	esac
	case $status in
	137) return 0 ;;
	0) return 1 ;;
	*) return 2 ;;
	esac
} 2>/dev/null

newest() { straight runs --output json | jq -r '.runs[0].state // "none"'; }

# What the killed process was about.
doing() {
	if [ -s "$T/killed.log" ]; then
		sed -E "s|^[0-9]+ ||; s|$T/||; s|socket:\[[0-9]+\]|socket|; $ids" "$T/killed.log" | tail -n 1
	else
		tail -qn 1 "$T"/state/runs/*/journal 2>/dev/null |
			sed -nE 's/.*"type": ?"([^"]*)"(.*"step": ?"([^"]*)")?.*/journal, \1 \3/p'
	fi
}

# Everything there is, without ids.
end_state() {
	local stack=$1 r
	rgw_s3 GET "/$S3_BUCKET?list-type=2&prefix=$generation%2F"
	grep -o '<Key>[^<]*' <<<"$rgw_body" | sed -E "s/<Key>[0-9]+/bucket /; $ids" | sort
	[ ! -d "$T/near" ] || (cd "$T/near" && find . -type f -printf 'near %P\n' | sed -E "$ids" | sort)
	leftovers "$stack"
	sets_of "$stack" | sed -E "$ids"
	sets_of "$stack" | awk '{ print $2 }' | sort -u | wc -l
	for r in $(sets_of "$stack" | cut -d' ' -f1 | sort -u); do
		if straight --stack "$stack" verify latest --repository "$r" >"$T/verify" 2>&1; then
			printf '%s verified\n' "$r"
		else
			tail -n 2 "$T/verify"
		fi
	done
	printf 'run %s\n' "$(newest)"
}

learn() {
	offsite_fresh
	HOLDFAST_SHIM_LOG=$T/calls LD_PRELOAD=$shim hf --stack "$1" -q backup >"$T/out" 2>&1 || t_fail 'the undisturbed run' "$(<"$T/out")"
	calls=$(wc -l <"$T/calls")
	records=$(cat "$T"/state/runs/*/journal | wc -l)
	if [ "${calls:-0}" -lt 50 ] || [ "$records" -lt 5 ]; then
		t_fail "the undisturbed run made $calls calls and $records records"
		exit 1
	fi
	end_state "$1" >"$T/reference"
	t_is "$(grep -c 'verified$' "$T/reference")" "$([ "$1" = both ] && echo 2 || echo 1)" 'the undisturbed run is verified'
	t_is "$(leftovers "$1")" '' 'and leaves nothing'
	t_isnt "$(grep -c 'partNumber=3' "$T/proxy-between.log")" 0 'its archive goes in parts'
}

choose_points() {
	local i how=(before after torn)
	for ((i = 0; i < POINTS; i++)); do
		printf '%d:%s\n' $((1 + (2 * i + 1) * calls / (2 * POINTS))) "${how[i % 3]}"
	done
	if is_full; then
		seq -f "journal:%.0f" "$records"
	else
		printf 'journal:%d\n' $((2 + RANDOM % (records - 2)))
	fi
}

is_unfinished() { [[ $(newest) != @(none|done|abandoned|refused) ]]; }

finish() { # STACK
	if is_unfinished; then
		hf -q resume >"$T/out" 2>&1
	elif [ "$(newest)" = none ]; then
		hf --stack "$1" -q backup >"$T/out" 2>&1
	fi
}

tried=0 twice=0
report() { # POINT DOING [WHY]
	tried=$((tried + 1))
	if [ -z "${3:-}" ]; then
		t_pass "$1, $2"
	else
		t_fail "$1, $2" "$3"
	fi
}

try_point() { # STACK POINT
	local stack=$1 point=$2 status=0 about
	offsite_fresh
	killed_at "$point" --stack "$stack" -q backup || status=$?
	# How many calls a run makes depends on how its bytes travel: there may be fewer this time.
	while [ "$status" -eq 1 ] && [ "${point%%:*}" != journal ] && [ "${point%%:*}" -gt 10 ]; do
		point=$((${point%%:*} / 2)):${point#*:}
		offsite_fresh
		status=0
		killed_at "$point" --stack "$stack" -q backup || status=$?
	done
	about=$(doing)
	[ "$status" -ne 1 ] || about='ended before it'
	if [ "$status" -eq 2 ]; then
		report "$point" "$about" "it failed before it was killed: $(<"$T/out")"
		return
	fi
	if ((tried % 2)) && is_unfinished; then
		status=0
		killed_at "$((1 + RANDOM % (calls / 6))):before" -q resume || status=$?
		if [ "$status" -eq 2 ]; then
			report "$point" "$about" "resume failed: $(<"$T/out")"
			return
		fi
		[ "$status" -ne 0 ] || { about+=" + $(doing)" && twice=$((twice + 1)); }
	fi
	if ! finish "$stack"; then
		report "$point" "$about" "it could not be brought to its end: $(<"$T/out")"
		return
	fi
	end_state "$stack" >"$T/now" 2>&1
	report "$point" "$about" "$(diff -U0 "$T/reference" "$T/now" | grep '^[-+][^-+]')"
}

offsite_begin
give_up=20s
database=large
for stack in $STACKS; do
	t_begin "$stack"
	learn "$stack"
	for point in $(choose_points); do try_point "$stack" "$point"; done
	if ! is_full && [ "$stack" = both ]; then
		try_point "$stack" "journal:$((records / 2))"
		try_point "$stack" "journal:$((records / 2 + 3))"
	fi
done
printf '# %d points, %d of them killed again while they were resumed\n' "$tried" "$twice"
