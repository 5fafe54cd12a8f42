#!/usr/bin/env bash
# The matrix of crashes: an upgrade, its way back and a rotation of a secret, killed before and after every record of their journals and
# brought to an end; that end is the new version in service or the old one, entirely, and the report says which.
#
#   make crash              every record, before and after it; every third of the cases that only repeat others
#   CRASH=short             a few of them
#   CASES="copy back" START=2 EVERY=5 SEED=7   otherwise;  POINTS="record:44/abandon journal:31/nightly"   these
#
# After the kill comes one of: resume; resume, killed itself, and resume; the backup of the night and resume; rollback; rollback, killed, and
# resume; abandon; and the server killed, too, and resume or abandon; the
# same command once more and resume.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/crash/upgrade_lib.sh
. tests/crash/upgrade_lib.sh

if is_full; then
	EVERY=${EVERY:-1}
	CASES=${CASES:-copy restore open ill ill-restore ill-open back back-restore rotation}
else
	EVERY=${EVERY:-0} # one or two points a case
	CASES=${CASES:-copy ill-restore back rotation}
fi

# ---- the cases ----

# Where the case begins.
prepare() {
	local put_back=copy within=2s fence=true
	[[ $case != *restore ]] || put_back=restore
	[[ $case != ill* ]] || within=300ms
	[[ $case != *open ]] || fence=false
	configure "$put_back" "$within" "$fence"
	shop_fresh
	[[ $case == back* ]] || return 0
	hf -q upgrade 1.1.0 >"$T/out" 2>&1 || die "no upgrade to take back: $(<"$T/out")"
	if [ "$case" = back-restore ]; then hf -q backup; fi # the set of before must outlive it
	sql -d shop -c "INSERT INTO orders VALUES (9001, E'tab\\there')" -c "UPDATE orders SET what = 'new' WHERE id = 7" -c "SELECT pg_stat_force_next_flush()" >"$T/out"
}

operate() {
	case $case in
	copy | restore | open) "$HOLDFAST" upgrade 1.1.0 ;;
	ill*) "$HOLDFAST" upgrade 1.1.0-ill ;;
	back*) "$HOLDFAST" rollback --yes --save-new-writes "$T/saved/new.sql" ;;
	rotation) "$HOLDFAST" run "$T/rotate.yaml" --stack shop ;;
	esac
}

# Undisturbed: how the old and the new world look, and which records are written.
learn_case() {
	local before=0
	prepare
	if [ ! -e "$T/old" ]; then # the same for all cases
		[[ $case != back* ]] || shop_fresh
		world >"$T/old"
		[[ $case != back* ]] || prepare
	fi
	if [[ $case == back* ]]; then before=$(records | wc -l); fi
	strike journal:100000 operate || [ "$status" -le 7 ] || die "the undisturbed case \"$case\": $(<"$T/out")"
	mapfile -t labels < <(records | tail -n +$((before + 1)))
	[ ${#labels[@]} -ge 10 ] || die "case \"$case\" wrote ${#labels[@]} records only"
	look
	case $case in
	ill* | back*) is_right old || die "the undisturbed case \"$case\" ends otherwise: $(<"$T/diff")" ;;
	*)
		world >"$T/new"
		if is_right old; then die "the undisturbed case \"$case\" changes nothing"; fi
		: >"$T/diff"
		is_right new || die "the undisturbed case \"$case\" ends otherwise: $(<"$T/diff")"
		;;
	esac
}

# ---- what must hold ----

problem() { printf '%s\n' "$*" >>"$T/diff"; }

# Which databases there are beside the one in service, and that the report and their own comments tell of them.
check_databases() {
	local db
	while IFS= read -r db; do
		if [ "$db" = shop ] || grep -qxF -- "$db" <<<"$base_databases"; then continue; fi
		grep -qF -- "$db" "$T/report" || problem "database $db is not told of"
		[ "$(sql -d postgres -c "SELECT shobj_description(oid, 'pg_database') LIKE 'holdfast kept %' FROM pg_database WHERE datname = '$db'")" = t ] ||
			problem "database $db is not known as one that is kept"
		[[ $db == shop_@(before|upgraded)_* ]] || problem "database $db is left over"
	done < <(databases)
}

no_sets() { find "$T"/near/shop/backups/* -maxdepth 0 -type d ! -exec test -e {}/manifest.json \; -print 2>/dev/null || :; }

check_leftovers() {
	local left
	left=$(find "$T/app" "$T/vault" "$T/state" "$T/near" "$T/tmp" "$T/saved" \( -name '*.holdfast.tmp' -o -name '.new-*' -o -name '*.part' -o -name '*.tmp' -o -name '.*.tmp*' \) -printf '%P\n' 2>/dev/null || :)
	[ -z "$left" ] || problem "left over: $left"
	[ -z "$(our_processes)" ] || problem "processes are left"
	[ -z "$(no_sets)" ] || problem "no set: $(no_sets)"
}

# The version was never started upon the other's schema, nor before a fence.
check_starts() {
	local bad
	bad=$(grep '^mixed' "$app/starts" || :)
	[ -z "$bad" ] || problem "started: $bad"
}

# The secret: what is stored is accepted at any time.
check_vault() {
	"$vault/vault" verify || problem 'the application does not accept what is stored'
}

# Right after the kill: nothing is pinned before the migrations have succeeded.
check_order() {
	local pinned=0 schema
	if grep -q 1.1.0 "$app/.env" "$app/VERSION" "$app/compose.yaml"; then pinned=1; fi
	schema=$(sql -d shop -c 'SELECT max(version) FROM holdfast_migrations')
	if [ "$pinned" = 1 ] && [ "$schema" != 003 ]; then problem "a pin is set, and the schema is $schema"; fi
	check_vault
}

# is_right old|new [HOW]
is_right() {
	local also
	wait_until 10 no_backends || problem "sessions are left: $(other_backends)"
	world >"$T/world" 2>&1 || problem 'the world cannot be asked'
	{
		hf status "$run" --output json
		# what a run left that was closed because the same command had begun another
		[ "${2:-}" != same ] || hf status
		cat "$T/out"
	} >"$T/report" 2>&1 || problem 'no status'
	diff -U0 "$T/$1" "$T/world" >"$T/worlds" || grep -v "^@@" "$T/worlds" >>"$T/diff"
	check_databases
	check_leftovers
	check_starts
	check_vault
	also=$(hf runs --output json | jq -r '.runs[] | select(.is_resumable) | .id')
	[ -z "$also" ] || problem "not at its end: $also"
	if [[ $case == back* && $1 == old && ${2:-resume} == @(resume|again|nightly|power) ]]; then
		grep -q "^9001	" "$T/saved/new.sql" || problem "an inserted row is not saved"
		grep -q "^7	new" "$T/saved/new.sql" || problem "a changed row is not saved"
	fi
	[ ! -s "$T/diff" ]
}

# ---- after the kill ----

is_begun() { look && [ "$run" != - ]; }
is_open() { look && [ "$is_resumable" = true ]; }
limit() { sql -d postgres -c "SELECT datconnlimit FROM pg_database WHERE datname = 'shop'"; }

# Runs it to the end; $ended: the exit status.
finish() { # COMMAND…
	ended=0
	"$@" >"$T/out" 2>&1 </dev/null || ended=$?
}

# The backup of the night: it runs, does not lift a fence that is to stay, and lifts one whose step was in flight.
nightly() {
	local before after fence
	before=$(limit)
	fence=$(hf status "$run" --output json 2>/dev/null | jq -r '.run.steps[]? | select(.id == "fence") | .state')
	finish hf -q backup
	[ "$ended" = 0 ] || problem "the backup of the night: $(<"$T/out")"
	# What has only looked so far, or is undone down to that, is nothing to tell of.
	if [ "$case" != rotation ] && [ "$is_resumable" = true ] &&
		[ "$(hf status "$run" --output json | jq "[.run.steps[] | select(.id == \"backup\" and .state != \"undone\") | .attempts] | add // 0")" -gt 0 ]; then
		grep -q "run \"$run\" has not come to its end" "$T/out" || problem "the backup does not tell of $run"
	fi
	after=$(limit)
	if [ "$fence" = "done" ] && [ "$before" != "$after" ]; then problem "the backup changed the fence from $before to $after"; fi
	if [ "$fence" = in_flight ] && [ "$after" != 40 ]; then problem "the fence in flight was not lifted: $after"; fi
}

# The server dies with us, as when the power goes: it forgets its counters.
power_cut() {
	pg_stop main immediate
	server_start
	unset PGDATABASE PGDATA
}

finish_stale() {
	local stale
	for stale in $(hf runs --output json | jq -r '.runs | map(select(.plan | startswith("backup") | not)) | if .[0].is_resumable then empty else .[] | select(.is_resumable) | .id end'); do
		hf -q abandon "$stale" >"$T/stale" 2>&1 || problem "abandon: $(<"$T/stale")"
	done
}

# As an operator would; $expected: the end that must be, or empty where the run decides.
bring_to_an_end() { # HOW
	expected=
	if ! is_begun; then
		finish operate
		return
	fi
	case $1 in
	again)
		if is_open; then strike "record:$((1 + RANDOM % ${#labels[@]}))" hf resume || :; fi
		;;
	power*) power_cut ;;
	same) # the same command again: it is refused, or what is to be undone is undone
		finish operate
		if [[ $case == back* ]]; then expected=old; fi
		# one that was killed before it changed anything stands in nobody's way
		finish_stale
		;;
	back-again)
		# where it is refused, or dies before it is said to go back, the run goes on as it was
		[[ $state == @(rolled_back|refused) ]] || strike "record:$((1 + RANDOM % 20))" hf rollback "$run" --yes --discard-new-writes || ended=$status
		;;
	nightly) nightly ;;
	esac
	case $1 in
	rollback)
		if [[ $state != @(rolled_back|refused) ]]; then
			finish hf rollback "$run" --yes --discard-new-writes
			expected=old
			# a secret that is retired is nowhere any more
			if [ "$case:$ended" = rotation:10 ]; then expected=new; fi
		fi
		;;
	abandon | power-abandon)
		if is_open; then
			finish hf abandon "$run" --yes
			expected=old
			if [ "$case:$ended" = rotation:10 ]; then expected=new; fi
		fi
		;;
	esac
	if is_open; then
		finish hf resume
	elif [[ $case == back* && $state == "done" ]]; then
		finish operate
	fi
}

# ---- one point ----

row() { # POINT HOW OUTCOME
	local n=${1#*:} label
	n=${n%%:*}
	case $1 in
	record:*) label="before ${labels[n - 1]:-?}" ;;
	journal:*) label="after ${labels[n - 1]:-?}" ;;
	inside:*)
		n=${1##*:}
		label=${1%:*}
		;;
	*) label="${1%%:*}" ;;
	esac
	[[ $1 != *:term ]] || label+=' (SIGTERM)'
	printf '%-12s %4s %-58s %-9s %s\n' "$case" "$n" "$label" "$2" "$3"
	if [[ $3 == @(new|old) ]]; then
		t_passed=$((t_passed + 1))
		return
	fi
	t_failed=$((t_failed + 1))
	sed 's/^/    /' "$T/diff" | head -n 40
	sed 's/^/    | /' "$T/out" | tail -n 12
}

# 1: the run came to its end before the point.
try() { # POINT HOW
	local expected ended=0 outcome killed=0
	prepare
	: >"$T/diff"
	strike "$1" operate || killed=$?
	if [ "$killed" = 2 ]; then
		problem "exit status $status"
		row "$1" "$2" 'failed before it was killed'
		return
	fi
	[ "$killed" = 0 ] || return 1
	check_order
	bring_to_an_end "$2"
	look
	case $state in
	done) outcome=new ;;
	rolled_back | abandoned | refused) outcome=old ;;
	*) outcome="$state" ;;
	esac
	[ -z "$expected" ] || [ "$expected" = "$outcome" ] || problem "it should have ended $expected, with exit status $ended"
	case $outcome:$ended in
	new:0 | old:[07]) ;;
	new:10) [[ $2:$case == @(rollback|back-again):rotation ]] || problem "exit status $ended" ;;
	*) problem "exit status $ended" ;;
	esac
	is_right "$outcome" "$2" || outcome="mixed, of $outcome"
	row "$1" "$2" "$outcome"
}

ways=(resume again nightly rollback abandon back-again power power-abandon same)

shop_begin
printf '\n%-12s %4s %-58s %-9s %s\n' case n killed "then" 'in service at the end'
turn=0
for case in $CASES; do
	learn_case
	if [ -n "${POINTS:-}" ]; then
		for point in $POINTS; do try "${point%/*}" "${point#*/}" || row "${point%/*}" "${point#*/}" "ended before it"; done
		continue
	fi
	if [ "$EVERY" = 0 ]; then # points that differ from case to case
		[[ $case == @(back|rotation) ]] && points=1 || points=2
		for ((i = 0; i < points; i++)); do
			kind=$([ $((i % 2)) = 0 ] && echo record || echo journal)
			try "$kind:$((${#labels[@]} * (2 * i + 1) / 4 + RANDOM % (${#labels[@]} / 5)))" "${ways[turn++ % 4]}"
		done
		continue
	fi
	every=$EVERY
	[[ $case != @(restore|open|ill-open) ]] || every=$((EVERY * 3)) # their records are those of other cases
	for ((n = ${START:-1}; ; n += every)); do
		try "record:$n" resume || break
		try "journal:$n" "${ways[turn++ % ${#ways[@]}]}" || break
		((n % 6)) || try "journal:$n:term" resume || break
	done
	# between the records: the statements and files of a step
	for kind in swap edit migration; do
		for ((n = ${START:-1}; ; n += every)); do
			try "$kind:$n" "${ways[turn++ % ${#ways[@]}]}" || break
		done
	done
	# in the middle of the application's own programs
	for place in stop-begin stop-end start-begin start-end; do
		for ((n = 1; ; n++)); do
			[ "$case" != rotation ] || break
			try "inside:$place:$n" "${ways[turn++ % ${#ways[@]}]}" || break
		done
	done
done
