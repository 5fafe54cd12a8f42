#!/usr/bin/env bash
# The server goes away in the middle: stopped like a power cut and started again, or its connections ended one by one.  The run
# waits for it and goes on, or fails and is resumed; the end is the undisturbed one.
cd "$(dirname "$0")/../.." || exit 1
. tests/crash/lib.sh

power_cut() {
	pg_stop main immediate
	server_start
}
# Our n-th connection, in the order in which they were made.
end_connection() { # N
	sql -d postgres -c "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY backend_start, pid OFFSET $1 LIMIT 1"
}
connections() {
	sql -d postgres -c "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
}

# While it is stopped before call N, something happens to the server.
try_stopped() { # POINT WHAT command…
	local point=$1 what=$2 about
	shift 2
	crash_fresh
	if ! stopped_at "$point" start_operation -q; then
		go_on
		return
	fi
	about="$what, $(doing)"
	"$@" >"$T/out" 2>&1 || die "$what: $(cat "$T/out")"
	go_on
	if [ "$ended" != 0 ] && [ "$ended" != 1 ]; then
		report "call:$point" "$about" "exit status $ended" "$T/stopped.out"
		return
	fi
	[ "$ended" = 0 ] || about="failed, resumed: $about"
	if [ "$ended" != 0 ] && ! hf resume -q >"$T/out" 2>&1; then
		is_begun || start_operation -q >"$T/out" 2>&1 || :
		if is_begun && is_unfinished; then
			report "call:$point" "$about" 'not brought to its end' "$T/out"
			return
		fi
	fi
	expect_state "call:$point" "$about"
}

# Each connection there is at that call, in turn.
try_connections() { # POINT
	local n count
	crash_fresh
	stopped_at "$1" start_operation -q || {
		go_on
		return
	}
	count=$(connections)
	go_on
	for ((n = 0; n < count; n++)); do
		try_stopped "$1" "connection $((n + 1)) of $count ended" end_connection "$n"
	done
}

if is_full; then
	cuts=10
	ends=6
else
	cuts=1
	ends=1
fi
crash_begin
table_head
for operation in backup restore; do
	if [ "$operation" = restore ]; then
		make_set
		operation=restore
	fi
	learn
	for point in $(spread "$cuts"); do try_stopped "$point" 'power cut' power_cut; done
	for point in $(spread "$ends"); do try_connections "$point"; done
done
