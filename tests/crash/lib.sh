# shellcheck shell=bash
# What the crash tests share: a throwaway server with a small database, runs that are killed, and the state of the world as text.
#
#   crash_begin          server, database "app", its untouched twin "pristine", role names; sets $T
#   crash_fresh          as nothing had ever run: empty repository, state and temporary directories, "app" as it was
#   hf …                 holdfast on them;  killed_at POINT command…, stopped_at CALL command…: the same, expected to die or to stop
#   end_state            everything a run may leave behind, as text without ids and times
#   expect_state …       end_state against the reference that learn noted, as a row of the table;  report …: a row
#
# CRASH=short|full tells how much; SEED=N makes the random choices those of another run.
set -eo pipefail
. tests/lib/t.sh
. tests/lib/pg.sh

CRASH=${CRASH:-short}
SEED=${SEED:-1}
RANDOM=$SEED
HOLDFAST=${HOLDFAST:-$PWD/build/holdfast}
HOLDFAST_BUILD=${HOLDFAST_BUILD:-$PWD/build}
shim=$HOLDFAST_BUILD/tests/crash/shim_kill.so
T=$T_TMP

is_full() { [ "$CRASH" = full ]; }

die() {
	printf 'crash: %s\n' "$*"
	exit 1
}

# ---- the server ----

server_start() { pg_start main fsync=off full_page_writes=off autovacuum=off max_wal_size=2GB; }

clean_up() {
	local pid
	for pid in $(our_processes); do kill -KILL "$pid" 2>/dev/null || :; done
	if mountpoint -q "$T/small" 2>/dev/null; then umount -l "$T/small"; fi
	if [ -n "${CRASH_KEEP:-}" ]; then cp -a "$T" "$CRASH_KEEP"; fi
}

sql() { "$PG_BINDIR/psql" -XqAt -v ON_ERROR_STOP=1 "$@"; }

crash_begin() {
	[ -x "$HOLDFAST" ] || die "no program \"$HOLDFAST\""
	[ -e "$shim" ] || die "no library \"$shim\""
	server_start
	t_defer clean_up
	unset PGDATABASE PGDATA
	export TMPDIR=$T/tmp
	sql -d postgres -c 'CREATE ROLE crash_owner' -c 'CREATE ROLE crash_reader' -c 'CREATE DATABASE pristine OWNER crash_owner'
	sql -d pristine -o /dev/null -f tests/crash/database.sql
	base_databases=$(databases)
	crash_fresh
}

databases() { sql -d postgres -c 'SELECT datname FROM pg_database ORDER BY 1'; }

# Everything that lies about is removed, whoever left it.
crash_fresh() {
	local pid db
	for pid in $(our_processes); do kill -KILL "$pid" 2>/dev/null || :; done
	sql -d postgres -o /dev/null -c "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
		WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
	while IFS= read -r db; do
		grep -qxF -- "$db" <<<"$base_databases" || sql -d postgres -c "DROP DATABASE \"$db\" WITH (FORCE)"
	done < <(databases)
	sql -d postgres -c 'CREATE DATABASE app TEMPLATE pristine OWNER crash_owner' -c "COMMENT ON DATABASE app IS 'the shop'" \
		-c "ALTER DATABASE app SET work_mem = '5MB'" -c "ALTER ROLE crash_reader IN DATABASE app SET search_path = app" \
		-c 'REVOKE CONNECT ON DATABASE app FROM PUBLIC' -c 'GRANT CONNECT ON DATABASE app TO crash_reader' \
		-c 'ALTER DATABASE app CONNECTION LIMIT 40'
	rm -rf "$T/repository" "$T/state" "$T/tmp"
	mkdir -m 700 "$T/repository" "$T/state" "$T/tmp"
	[ ! -d "$T/set" ] || {
		rmdir "$T/repository"
		cp -a "$T/set" "$T/repository"
	}
}

# ---- holdfast, killed or not ----

hf() { "$HOLDFAST" --state-dir "$T/state" "$@"; }

# What an unfinished run of this kind is started with.
operation=backup
start_operation() {
	case $operation in
	backup) hf backup -d dbname=app -r "$T/repository" --piece-size 256kB -j 2 "$@" ;;
	restore) hf restore latest -d dbname=app -r "$T/repository" -j 2 --yes "$@" ;;
	esac
}

# killed_at POINT command…: the command with the means to die; 0 when it was killed, 1 when it came to its end before.
killed_at() {
	local point=$1 status=0
	shift
	rm -f "$T/killed.log" "$T/out"
	case $point in
	journal:*) HOLDFAST_CRASH_AT=$point "$@" >"$T/out" 2>&1 || status=$? ;;
	*) HOLDFAST_SHIM_KILL=$point HOLDFAST_SHIM_LOG=$T/killed.log LD_PRELOAD=$shim "$@" >"$T/out" 2>&1 || status=$? ;;
	esac
	[ "$status" = 137 ] || [ "$status" = 0 ] || return 2
	[ "$status" = 137 ]
} 2>/dev/null

# What the killed process was about, for the table.
doing() {
	local last
	if [ -s "$T/killed.log" ]; then
		sed -E "s|^[0-9]+ ||; s|$T/||; s|socket:\[[0-9]+\]|server|; $ids" "$T/killed.log" | tail -n 1
	else
		last=$(tail -qn 1 "$T"/state/runs/*/journal 2>/dev/null | sed -nE 's/.*"type": ?"([^"]*)".*/\1/p')
		printf 'journal, %s %s' "${last:-nothing}" \
			"$(tail -qn 1 "$T"/state/runs/*/journal 2>/dev/null | sed -nE 's/.*"step": ?"([^"]*)".*/\1/p')"
	fi
}

# Whether there is a run that has begun and not come to its end: what `holdfast resume` is for.
is_unfinished() {
	is_begun && ! tail -qn 1 "$T"/state/runs/*/journal | grep -q '"run.finished".*"status":"done"'
}
is_begun() { [ -n "$(cat "$T"/state/runs/*/journal 2>/dev/null | head -c 1)" ]; }

# Brings an interrupted operation to its end as an operator would: resume, or start again what had not begun.
finish_operation() {
	if is_unfinished; then
		hf resume -q >"$T/out" 2>&1
	elif ! is_begun; then
		start_operation -q >"$T/out" 2>&1
	fi
}

# ---- the state of the world ----

ids='s/[0-9]{8}T[0-9]{6}Z-([a-z-]+-)?[0-9a-f]{4,8}/ID/g; s/_before_[0-9a-z_]+/_before_ID/g'

our_processes() {
	local pid
	for pid in $(pgrep -x "holdfast|pg_dump|pg_dumpall|pg_restore" || :); do
		tr "\0" "\n" 2>/dev/null <"/proc/$pid/environ" | grep -qxF "PGHOST=$PGHOST" && printf "%s\n" "$pid"
	done 2>/dev/null
	return 0
}

# wait_until SECONDS command…: polls.
wait_until() {
	local deadline=$((SECONDS + $1))
	shift
	until "$@"; do
		[ "$SECONDS" -lt "$deadline" ] || return 1
		sleep 0.02
	done
}
no_processes() { [ -z "$(our_processes)" ]; }
other_backends() {
	sql -d postgres -F ' ' -c "SELECT application_name, state, left(query, 60) FROM pg_stat_activity
		WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY 1, 2, 3"
}
no_backends() { [ -z "$(other_backends)" ]; }
is_quiet() { no_processes && no_backends; }

# Each table's rows in a form that does not depend on their order, sequences and large objects.
rows_of() {
	sql -d "$1" -F ' ' <<-'SQL'
		SET search_path = '';
		SELECT format('SELECT %L, count(*), coalesce(md5(string_agg(t::text, E''\n'' ORDER BY t::text COLLATE pg_catalog."C")), ''-'') FROM ONLY %I.%I t',
			n.nspname || '.' || c.relname, n.nspname, c.relname)
		FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1
		\gexec
		SELECT schemaname, sequencename, last_value FROM pg_catalog.pg_sequences ORDER BY 1, 2;
		SELECT m.oid, pg_catalog.md5(pg_catalog.lo_get(m.oid)), pg_catalog.pg_get_userbyid(m.lomowner) FROM pg_catalog.pg_largeobject_metadata m ORDER BY 1;
	SQL
}
schema_of() {
	local key=()
	[[ $("$PG_BINDIR/pg_dump" --help) != *--restrict-key* ]] || key=(--restrict-key=crash)
	"$PG_BINDIR/pg_dump" -s "${key[@]}" "$1" | sha256sum
}

files_below() { (cd "$1" && find . -mindepth 1 -printf '%y %m %P\n' | sed -E "$ids" | sort); }

# What the manifest says of each table: rows and digest.
set_content() {
	jq -r '.tables[] | [.schema, .name, .rows, .bytes, .digest] | map(tostring) | join(" ")' \
		"$T"/repository/app/backups/*/manifest.json | sort
}

end_state() {
	printf -- '-- processes\n'
	wait_until 10 no_processes || ps -o pid,args -p "$(our_processes | paste -sd, -)" | tail -n +2
	printf -- '-- connections\n'
	wait_until 10 no_backends || other_backends
	printf -- '-- repository\n'
	files_below "$T/repository"
	printf -- '-- state\n'
	files_below "$T/state"
	printf -- '-- temporary files\n'
	files_below "$T/tmp"
	printf -- '-- databases\n'
	sql -d postgres -F ' ' <<-'SQL' | sed -E "$ids"
		SELECT datname, pg_get_userbyid(datdba), datallowconn, datconnlimit, datacl,
			regexp_replace(shobj_description(oid, 'pg_database'), '^(holdfast kept) .*', '\1') FROM pg_database ORDER BY 1;
		SELECT 'setting', d.datname, setrole::regrole, setconfig FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase ORDER BY 2, 3;
		SELECT 'role', rolname, rolconnlimit FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY 2;
		SELECT 'lock', locktype, objid FROM pg_locks WHERE locktype = 'advisory';
		SELECT 'prepared', gid FROM pg_prepared_xacts;
		SELECT 'slot', slot_name FROM pg_replication_slots;
	SQL
	printf -- '-- app\n'
	schema_of app
	rows_of app
	if [ "$operation" = backup ]; then
		printf -- '-- set\n'
		set_content
	fi
	printf -- '-- verify\n'
	if hf verify latest -q -r "$T/repository" --stack app >"$T/out" 2>&1; then
		echo verified
	else
		cat "$T/out"
	fi
}

reference_state() { end_state >"$T/reference"; }

# ---- the table ----

table_head() { printf '\n%-8s %-14s %-52s %s\n' operation point 'what was being done' result; }

# report POINT DOING RESULT [file that tells why]
report() {
	printf '%-8s %-14s %-52.52s %s\n' "$operation" "$1" "$2" "$3"
	if [ "$3" = ok ]; then
		t_passed=$((t_passed + 1))
		return
	fi
	t_failed=$((t_failed + 1))
	if [ -n "${4:-}" ] && [ -s "$4" ]; then
		sed 's/^/    /' "$4" | head -n 40
	fi
}

# The end state against the undisturbed one's.
expect_state() { # POINT DOING
	end_state >"$T/state.now" 2>&1 || :
	if diff -U0 "$T/reference" "$T/state.now" | grep -v '^@@' >"$T/diff"; then
		report "$1" "$2" 'ends otherwise' "$T/diff"
	else
		report "$1" "$2" ok
	fi
}

# ---- stopped in the middle ----

# stopped_at N command…: starts it in the background, stopped before call N; sets $stopped to its pid.  1: it ended before.
stopped=
stopped_at() {
	local point=$1
	shift
	rm -f "$T/killed.log" "$T/stopped.out"
	HOLDFAST_SHIM_KILL=$point:stop HOLDFAST_SHIM_LOG=$T/killed.log LD_PRELOAD=$shim "$@" >"$T/stopped.out" 2>&1 &
	stopped=$!
	# a subshell runs the function: the program is its child
	wait_until 60 is_stopped_or_gone || die "call $point was never reached"
	[ -n "$(stopped_pid)" ]
}
stopped_pid() {
	local p
	for p in $(our_processes); do
		if [ "$(sed 's/.*) //' "/proc/$p/stat" 2>/dev/null | cut -d' ' -f1)" = T ]; then
			printf '%s\n' "$p"
			return
		fi
	done
}
is_stopped_or_gone() { [ -n "$(stopped_pid)" ] || ! kill -0 "$stopped" 2>/dev/null; }
# Lets it go on; its exit status comes back in $ended.
go_on() {
	local pid
	pid=$(stopped_pid)
	[ -z "$pid" ] || kill -CONT "$pid"
	ended=0
	# shellcheck disable=SC2034 # read by the tests
	wait "$stopped" || ended=$?
}

# How many calls an undisturbed operation makes, its journal records, and how the world looks after it.
learn() {
	crash_fresh
	rm -f "$T/calls"
	HOLDFAST_SHIM_LOG=$T/calls LD_PRELOAD=$shim start_operation -q >"$T/out" 2>&1 || {
		cat "$T/out" >&2
		die "the undisturbed $operation failed"
	}
	records=$(cat "$T"/state/runs/*/journal | wc -l)
	calls=$(wc -l <"$T/calls")
	[ "$records" -ge 5 ] || die "$operation wrote $records journal records only"
	[ "$calls" -ge 50 ] || die "the shim saw $calls calls only"
	reference_state
}

# A set to restore, kept aside for crash_fresh.
make_set() {
	operation=backup
	crash_fresh
	start_operation -q >"$T/out" 2>&1 || {
		cat "$T/out" >&2
		die 'no set to restore'
	}
	cp -a "$T/repository" "$T/set"
}

# Evenly spread call numbers.
spread() { # COUNT
	local i
	for ((i = 0; i < $1; i++)); do printf '%d\n' $((1 + (2 * i + 1) * calls / (2 * $1))); done
}
