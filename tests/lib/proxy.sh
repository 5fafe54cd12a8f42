# shellcheck shell=bash
# Proxies that fail when told to (tests/integration/fault_proxy.c, where the faults are listed), each by a name of the test's own:
#
#	proxy_start offsite 127.0.0.1:8000      ${proxy_port[offsite]} listens; requests are noted in $T_TMP/proxy-offsite.log
#	proxy_fault offsite 7 reset-response    at request 7; "7-", "*", method=PUT, path=partNumber=2, after=1000 …
#	proxy_random offsite SEED PERMILLE reset,reset-response,answer
#	proxy_requests offsite                  how many requests it has seen; proxy_faults: how many of them met a fault
#	proxy_clear offsite                     no more faults, and counts from the beginning
#	proxy_stop offsite                      done at exit, too
#
# Sourced after t.sh; the program is $HOLDFAST_BUILD/tests/integration/fault_proxy.
# shellcheck disable=SC2034 # used by who sources this
declare -A proxy_port=() proxy_control=() proxy_pid=()

# proxy_start NAME ADDRESS:PORT [PORT]: with the third argument it listens there
proxy_start() {
	local name=$1 out
	exec {out}< <(exec "$HOLDFAST_BUILD/tests/integration/fault_proxy" --port "${3:-0}" --log "$T_TMP/proxy-$name.log" "$2")
	proxy_pid[$name]=$!
	t_defer proxy_stop "$name"
	if ! read -r "proxy_port[$name]" "proxy_control[$name]" <&"$out"; then
		t_fail "proxy $name did not start"
		return 1
	fi
	exec {out}<&-
}

# proxy_tell NAME ORDER…: prints the answer; fails when it is an error
proxy_tell() {
	local name=$1 fd answer=''
	shift
	exec {fd}<>"/dev/tcp/127.0.0.1/${proxy_control[$name]}" || return 1
	printf '%s\n' "$*" >&"$fd"
	read -r answer <&"$fd"
	exec {fd}>&-
	case $answer in
	'' | error*)
		printf '# proxy %s: %s: %s\n' "$name" "$*" "${answer:-no answer}" >&2
		return 1
		;;
	ok) ;;
	*) printf '%s\n' "$answer" ;;
	esac
}

proxy_fault() {
	local name=$1
	shift
	proxy_tell "$name" add "$@"
}

proxy_random() {
	local name=$1
	shift
	proxy_tell "$name" random "$@"
}

proxy_requests() {
	proxy_tell "$1" requests
}

proxy_faults() {
	proxy_tell "$1" faults
}

proxy_clear() {
	proxy_tell "$1" clear && proxy_tell "$1" zero && : >"$T_TMP/proxy-$1.log"
}

proxy_stop() {
	local pid=${proxy_pid[$1]:-}
	[ -n "$pid" ] || return 0
	unset "proxy_pid[$1]"
	kill "$pid" 2>/dev/null
	wait "$pid" 2>/dev/null
	return 0
}
