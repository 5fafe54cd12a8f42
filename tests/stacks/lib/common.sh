# shellcheck shell=bash
# What the tests of the stacks have in common: source this file; it sources t.sh, pg.sh and npm.sh.
#
#	stack_server [NAME [SETTING=VALUE…]]    as pg_start; every role but postgres logs in with a password (scram-sha-256)
#	stack_port                      prints a free port of 127.0.0.1
#	stack_url ROLE [PASSWORD] DB    prints a URL that libpq and node's pg both take, without a password when none is given
#	stack_dir STACK NAME            makes an installation, $T_TMP/NAME, whose services are stopped at the end; sets stack_dir
#	stack_npm SET…                  installs the sets (dbos-5.3.0, pgboss-10.4.2, streams-0.3.7) that are not there yet
#	stack_get URL                   the answer's body; fails unless its status is 2xx
#	stack_post URL [JSON [HEADER]]  likewise
#	stack_holdfast                  from here on Holdfast is used: a state directory, a home and a repository of the script's own; the
#	                                configuration is $T_TMP/holdfast.yaml
#	holdfast COMMAND…               with it

STACKS=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# shellcheck source=../lib/t.sh
. "$STACKS/../lib/t.sh"
# shellcheck source=../lib/pg.sh
. "$STACKS/../lib/pg.sh"
# shellcheck source=../lib/npm.sh
. "$STACKS/../lib/npm.sh"
stack_dir=''

stack_server() {
	local name=${1:-main}
	PG_INITDB="${PG_INITDB:-} --auth-host=scram-sha-256" pg_start "$@" || return 1
	if ! grep -q '^local all all scram' "$PGDATA/pg_hba.conf"; then
		printf '%s\n' 'local all postgres trust' 'local replication postgres trust' 'local all all scram-sha-256' \
			'host all all 127.0.0.1/32 scram-sha-256' >"$PG_ROOT/$name/hba" || return 1
		cat "$PG_ROOT/$name/hba" >"$PGDATA/pg_hba.conf"
		pg_restart "$name"
	fi
}

stack_listens() {
	grep -qiE "^ *[0-9]+: [0-9A-F]+:$(printf %04X "$1") [0-9A-F]+:[0-9A-F]+ 0A " /proc/net/tcp /proc/net/tcp6
}

# Below the range that the kernel takes for connections.
stack_port() {
	local port
	for _ in {1..200}; do
		port=$((10240 + RANDOM % 21000))
		stack_listens "$port" || {
			printf '%s\n' "$port"
			return 0
		}
	done
	printf 'common.sh: found no free port\n' >&2
	return 1
}

stack_encode() {
	jq -rn --arg text "$1" '$text | @uri' | sed "s/'/%27/g"
}

stack_url() {
	local role=$1 password=''
	if [ $# -eq 3 ]; then
		password=:$(stack_encode "$2")
		shift
	fi
	printf 'postgresql://%s%s@localhost/%s?host=%s\n' "$(stack_encode "$role")" "$password" "$2" "$(stack_encode "$PGHOST")"
}

stack_dir() {
	stack_dir=$T_TMP/$2
	mkdir -p "$stack_dir/run"
	t_defer "$STACKS/$1/stop.sh" "$stack_dir"
}

# stack_set KEY VALUE: that line of $stack_dir/.env, replaced or added, in single quotes
stack_set() {
	stack_unset "$1"
	printf "%s='%s'\n" "$1" "${2//\'/\\\'}" >>"$stack_dir/.env"
}

stack_unset() {
	sed -i "/^$1=/d" "$stack_dir/.env"
}

# stack_value KEY: what services see
stack_value() {
	node "$STACKS/lib/env.mjs" "$stack_dir/.env" "$1"
}

stack_npm() {
	local set
	for set in "$@"; do
		"$STACKS/lib/pull.sh" "$npm_cache" "$set" || return 1
	done
}

stack_get() {
	curl -sS --fail-with-body --max-time 20 "$1"
}

stack_post() {
	curl -sS --fail-with-body --max-time 20 -X POST -H 'content-type: application/json' ${3:+-H "$3"} -d "${2:-{\}}" "$1"
}

stack_holdfast() {
	HOLDFAST=$(realpath -- "${HOLDFAST:-build/holdfast}")
	unset HOLDFAST_CONFIG HOLDFAST_STACK
	export HOME=$T_TMP/home HOLDFAST_STATE_DIR=$T_TMP/state
	mkdir "$HOME"
}

holdfast() {
	"$HOLDFAST" --config "$T_TMP/holdfast.yaml" "$@"
}
