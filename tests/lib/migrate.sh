# shellcheck shell=bash
# What the scripts about migrations share: a server, a directory of files, a database for each scenario.
unset "${!HOLDFAST_@}" "${!PG@}" XDG_CONFIG_HOME
# shellcheck source=../lib/pg.sh
. tests/lib/pg.sh

HOLDFAST=${HOLDFAST:-$PWD/build/holdfast}
export HOME=$T_TMP/home HOLDFAST_STATE_DIR=$T_TMP/state
mkdir "$HOME"
PATH=$PG_BINDIR:$PATH
pg_start || exit 1
d=''
# fresh NAME: an empty database of that name, and an empty directory $d
fresh() {
	db=$1 d=$T_TMP/$1.d
	psql -XAtqd postgres -c "CREATE DATABASE $db"
	mkdir -p "$d"
}
# file NAME LINE…
file() { printf '%s\n' "${@:2}" >"$d/$1"; }
up() { t_exit "$1" "$HOLDFAST" migrate up -d "$db" --dir "$d" "${@:2}"; }
app() { psql -XAtqd "$db" -v ON_ERROR_STOP=1 -c "$1" 2>&1; }
applied() { app "SELECT string_agg(version, ' ' ORDER BY applied_at) FROM holdfast_migrations WHERE state = 'applied'"; }
relations() { app "SELECT count(*) FROM pg_class WHERE oid >= 16384"; }
# waits_for QUERY: it tells t
waits_for() { t_wait 10 eval "[ \"\$(psql -XAtqd $db -c \"$1\")\" = t ]"; }
# configured LINE…: holdfast.yaml with these keys under migrations
configured() {
	printf '%s\n' 'version: 1' 'repositories: { local: { url: "file:///nowhere" } }' 'stacks:' "  $db:" \
		"    database: { url: \"host=$PGHOST dbname=$db\" }" '    repositories: [local]' '    migrations:' >"$T_TMP/holdfast.yaml"
	printf '      %s\n' "$@" >>"$T_TMP/holdfast.yaml"
}

