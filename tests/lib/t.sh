# shellcheck shell=bash
# Assertions for test scripts: source this file, then
#
#	t_begin torn_tail_is_dropped
#	t_is "$got" "$want" "what was compared"
#	t_exit 4 holdfast backup …          # output in $t_out, $t_err
#	t_match "$t_err" 'another run' "says who holds the lock"
#
# Each assertion is one line, "ok N - …" or "not ok N - …", and is counted; at exit "N passed, N failed" is printed and the exit
# status is 1 when any failed, or none was made.  $T_TMP is a directory of the script's own; t_defer COMMAND… is run at exit, the
# last first, also after INT or TERM.
set -u

t_passed=0 t_failed=0 t_name=''
t_out='' t_err=''
t_deferred=()
T_TMP=$(mktemp -d "${TMPDIR:-/tmp}/hft.XXXXXX")
chmod 755 "$T_TMP" # servers run as another user
export T_TMP

t_defer() {
	local words
	printf -v words '%q ' "$@"
	t_deferred+=("$words")
}

# shellcheck disable=SC2317 # called by the trap
t_finish() {
	local status=$? i
	trap '' INT TERM
	trap - EXIT
	for ((i = ${#t_deferred[@]} - 1; i >= 0; i--)); do
		eval "${t_deferred[i]}" || printf '# could not clean up: %s\n' "${t_deferred[i]}"
	done
	rm -rf -- "$T_TMP"
	if [ "$status" -ne 0 ]; then
		printf 'not ok %d - script ended with exit status %d in: %s\n' $((t_passed + t_failed + 1)) "$status" "${t_name:-start}"
		t_failed=$((t_failed + 1))
	fi
	printf '%d passed, %d failed\n' "$t_passed" "$t_failed"
	[ "$t_failed" -eq 0 ] && [ "$t_passed" -gt 0 ]
	exit $?
}
trap t_finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# t_spoil FILE OFFSET: that byte becomes another one, whatever it is.
t_spoil() {
	local there other=x
	there=$(dd if="$1" bs=1 skip="$2" count=1 status=none | od -An -tx1)
	[ "${there// /}" != 78 ] || other=y
	printf %s "$other" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

t_begin() {
	t_name=$1
	printf '# %s\n' "$t_name"
}

# t_pass LABEL
t_pass() {
	t_passed=$((t_passed + 1))
	printf 'ok %d - %s: %s\n' $((t_passed + t_failed)) "$t_name" "${1:-}"
}

# t_fail LABEL [DIAGNOSTIC]
t_fail() {
	t_failed=$((t_failed + 1))
	printf 'not ok %d - %s: %s\n' $((t_passed + t_failed)) "$t_name" "${1:-}"
	[ -z "${2:-}" ] || printf '%s\n' "$2" | sed 's/^/#   /'
	return 0
}

# t_is GOT WANT [LABEL]
t_is() {
	if [ "$1" = "$2" ]; then
		t_pass "${3:-$2}"
	else
		t_fail "${3:-$2}" "got:  $1"$'\n'"want: $2"
	fi
}

# t_isnt GOT UNWANTED [LABEL]
t_isnt() {
	if [ "$1" != "$2" ]; then
		t_pass "${3:-not $2}"
	else
		t_fail "${3:-not $2}" "got: $1"
	fi
}

# t_match TEXT EXTENDED-REGULAR-EXPRESSION [LABEL]
t_match() {
	if [[ $1 =~ $2 ]]; then
		t_pass "${3:-matches $2}"
	else
		t_fail "${3:-matches $2}" "got:  $1"$'\n'"want: $2"
	fi
}

# t_nomatch TEXT EXTENDED-REGULAR-EXPRESSION [LABEL]
t_nomatch() {
	if [[ $1 =~ $2 ]]; then
		t_fail "${3:-does not match $2}" "got:      $1"$'\n'"unwanted: $2"
	else
		t_pass "${3:-does not match $2}"
	fi
}

# t_ok COMMAND…: succeeds
t_ok() {
	t_exit 0 "$@"
}

# t_run COMMAND…: asserts nothing; sets t_out, t_err, t_status
t_run() {
	t_status=0
	"$@" >"$T_TMP/.out" 2>"$T_TMP/.err" </dev/null || t_status=$?
	t_out=$(tr -d '\0' <"$T_TMP/.out")
	t_err=$(tr -d '\0' <"$T_TMP/.err")
}

# t_exit STATUS COMMAND…: ends with that exit status; output in t_out and t_err
t_exit() {
	local want=$1
	shift
	t_run "$@"
	if [ "$t_status" -eq "$want" ]; then
		t_pass "exit status $want: ${*:1:6}"
	else
		t_fail "exit status $want: $*" "got exit status $t_status"$'\n'"$t_out"$'\n'"$t_err"
	fi
}

# t_wait SECONDS COMMAND…: until the command succeeds; fails when it has not by then
t_wait() {
	local until=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		if [ "$SECONDS" -ge "$until" ]; then
			t_fail "waited in vain for: $*"
			return 1
		fi
		sleep 0.1
	done
}
