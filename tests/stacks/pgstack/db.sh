#!/usr/bin/env bash
# db.sh DIR start|stop|restart|status: the stack's database, whose directory DIR/.env names (DB_DATA; DB_BINDIR: the programs)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd -P)
value() {
	node "$here/../lib/env.mjs" "$dir/.env" "$1"
}
dir=$1
data=$(value DB_DATA)
ctl=("$(value DB_BINDIR || printf /usr/lib/postgresql/15/bin)/pg_ctl" -D "$data" -w -t 60)
[ "$(id -u)" -ne 0 ] || ctl=(setpriv --reuid=postgres --regid="$(id -g postgres)" --clear-groups "${ctl[@]}")
cd /
case $2 in
start) "${ctl[@]}" status >/dev/null || "${ctl[@]}" -l "$data/../log" start >/dev/null </dev/null ;;
stop) ! "${ctl[@]}" status >/dev/null || "${ctl[@]}" -m fast stop >/dev/null ;;
restart) "${ctl[@]}" -m fast -l "$data/../log" restart >/dev/null </dev/null ;;
status) "${ctl[@]}" status ;;
*)
	printf 'usage: db.sh DIR start|stop|restart|status\n' >&2
	exit 2
	;;
esac
