# shellcheck shell=bash
# Throwaway PostgreSQL servers: source this file (after t.sh, which then stops them; alone, it sets its own trap).
#
#	pg_start [NAME [SETTING=VALUE…]]    initdb if need be, start; sets PGHOST, PGPORT, PGUSER=postgres, PGDATABASE=postgres
#	pg_use NAME                         points these at another one that runs
#	pg_stop [NAME [fast|immediate|smart]]
#	pg_restart [NAME]                   fast stop, start with the same settings
#	pg_remove [NAME]                    stop and delete
#	pg_sql SQL                          one value or unaligned rows, by psql -XAtq
#
# Unix socket only (listen_addresses=''), in a short temporary directory; encoding UTF8, locale C.UTF-8, trust.
# PG_BINDIR: another version's programs.  PG_FSYNC=on: durable (default off: a test server may lose its data).
# PG_INITDB: more options of initdb.  As root the server runs as user postgres.

PG_BINDIR=${PG_BINDIR:-/usr/lib/postgresql/15/bin}
PG_ROOT=''
declare -A PG_SETTINGS=()

pg_die() {
	printf 'pg.sh: %s\n' "$*" >&2
	return 1
}

# Runs a program as the servers' user.
pg_as() {
	if [ "$(id -u)" -eq 0 ]; then
		setpriv --reuid=postgres --regid="$(id -g postgres)" --clear-groups env HOME="$PG_ROOT" "$@"
	else
		"$@"
	fi
}

pg_root() {
	[ -z "$PG_ROOT" ] || return 0
	# short: the path of a unix socket has at most 107 bytes
	PG_ROOT=$(mktemp -d /tmp/hfpg.XXXXXX) || return 1
	[ "$(id -u)" -ne 0 ] || chown postgres: "$PG_ROOT"
	chmod 755 "$PG_ROOT"
	if declare -F t_defer >/dev/null; then
		t_defer pg_cleanup
	else
		trap pg_cleanup EXIT
		trap 'exit 130' INT
		trap 'exit 143' TERM
	fi
}

# Immediate, as nothing of it is kept; a server that a test has stopped (SIGSTOP) or half killed ends too.
pg_cleanup() {
	local data pid
	[ -n "$PG_ROOT" ] || return 0
	for data in "$PG_ROOT"/*/data; do
		[ -f "$data/postmaster.pid" ] || continue
		pid=$(head -n 1 "$data/postmaster.pid")
		kill -CONT "$pid" 2>/dev/null
		pg_as "$PG_BINDIR/pg_ctl" -D "$data" -m immediate -t 20 stop >/dev/null 2>&1 || kill -KILL "$pid" 2>/dev/null
	done
	rm -rf --one-file-system -- "$PG_ROOT"
	PG_ROOT=''
}

pg_use() {
	export PGHOST=$PG_ROOT/$1 PGPORT=5432 PGUSER=postgres PGDATABASE=postgres
	export PGDATA=$PG_ROOT/$1/data
	unset PGPASSWORD PGSERVICE PGOPTIONS PGSSLMODE PGTARGETSESSIONATTRS PGHOSTADDR PGPASSFILE
}

pg_start() {
	local name=${1:-main} dir setting
	[ $# -eq 0 ] || shift
	pg_root || return 1
	dir=$PG_ROOT/$name
	if [ ! -d "$dir/data" ]; then
		pg_as mkdir "$dir" || return 1
		# shellcheck disable=SC2086 # PG_INITDB is a list of options
		pg_as "$PG_BINDIR/initdb" -D "$dir/data" -U postgres --auth=trust --encoding=UTF8 --locale=C.UTF-8 --no-sync \
			${PG_INITDB:-} >"$PG_ROOT/$name.initdb.log" 2>&1 || {
			tail -n 20 "$PG_ROOT/$name.initdb.log" >&2
			pg_die "initdb of \"$name\" failed"
			return 1
		}
		{
			printf '%s\n' "listen_addresses = ''" "unix_socket_directories = '$dir'" "port = 5432" \
				"fsync = ${PG_FSYNC:-off}" "max_connections = 100" "log_line_prefix = '%m [%p] %q%a '" \
				"shared_buffers = 64MB" "timezone = 'UTC'" "log_timezone = 'UTC'"
		} >>"$dir/data/postgresql.conf"
	fi
	if [ $# -gt 0 ]; then
		PG_SETTINGS[$name]=
		for setting in "$@"; do
			PG_SETTINGS[$name]+=" -c $(printf %q "$setting")"
		done
	fi
	(cd / && pg_as "$PG_BINDIR/pg_ctl" -D "$dir/data" -l "$dir/log" -t 60 -w -o "${PG_SETTINGS[$name]:-}" start >"$PG_ROOT/$name.ctl.log" 2>&1 </dev/null) || {
		tail -n 20 "$dir/log" >&2
		pg_die "server \"$name\" did not start"
		return 1
	}
	pg_use "$name"
}

pg_stop() {
	local dir=$PG_ROOT/${1:-main}
	(cd / && pg_as "$PG_BINDIR/pg_ctl" -D "$dir/data" -m "${2:-fast}" -t 60 -w stop >/dev/null 2>&1)
}

pg_restart() {
	pg_stop "${1:-main}" && pg_start "${1:-main}"
}

pg_remove() {
	pg_stop "${1:-main}" immediate
	rm -rf --one-file-system -- "${PG_ROOT:?}/${1:-main}"
}

# The server's log, for tests that look into it.
pg_log() {
	cat "$PG_ROOT/${1:-main}/log"
}

pg_sql() {
	psql -XAtq -v ON_ERROR_STOP=1 -c "$1" "${@:2}"
}
