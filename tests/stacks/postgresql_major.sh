#!/usr/bin/env bash
# docs/examples/postgresql-major as it stands: an application's database from PostgreSQL 15 to 17, and back with what was written since.
# shellcheck source=lib/common.sh
. "$(dirname "$0")/lib/common.sh"
npm_or_skip
if [ "${HOLDFAST_NO_PG17:-}" = 1 ]; then
	trap - EXIT
	rm -rf -- "$T_TMP"
	printf 'skipped: HOLDFAST_NO_PG17=1\n'
	exit 0
fi
stack_holdfast
# shellcheck source=runbook_lib.sh
. "$STACKS/runbook_lib.sh"
# shellcheck source=kill_lib.sh
. "$STACKS/kill_lib.sh"
pgstack=$STACKS/pgstack
examples=$(realpath -- "$STACKS/../../docs/examples/postgresql-major")
pg17=$(realpath -m -- "${HOLDFAST_PG17:-${HOLDFAST_BUILD:-build}/pg17}")
bin17=$("$STACKS/../lib/pg17.sh" bindir "$pg17" 2>/dev/null) || bin17=$("$STACKS/../lib/pg17.sh" install "$pg17") || exit 1
stack_npm pgboss-10.1.3 || exit 1 # for its pg
PG_BINDIR=$bin17 stack_server new && PG_BINDIR=/usr/lib/postgresql/15/bin stack_server old || exit 1
new_host=$PG_ROOT/new old_host=$PG_ROOT/old
# shellcheck disable=SC2016 # no variables
proxy_password='p"r$o'
psql -XAtq -v ON_ERROR_STOP=1 -v proxy_password="$proxy_password" -f "$pgstack/setup.sql" || exit 1
psql -XAtqd pgstack -c 'INSERT INTO app.orders SELECT g, g FROM generate_series(1, 500) g' || exit 1

dir=$T_TMP/shop
mkdir -p "$dir/run" "$dir/db15" "$T_TMP/bin"
ln -s "$pgstack/docker" "$T_TMP/bin/docker"
PATH=$T_TMP/bin:$PATH
# shellcheck disable=SC2034 # of common.sh
stack_dir=$dir
t_defer "$pgstack/stop.sh" "$dir/proxy"
port=$(stack_port)
base=http://127.0.0.1:$port
printf '%s\n' services: '  db15: { image: "postgres:15" }' '  proxy: { image: pgstack/proxy:2026.5 }' >"$dir/compose.yaml"
printf '%s\n' "DB_DATA=$PGDATA" "DB_BINDIR=$PG_BINDIR" >"$dir/db15/.env"
printf '%s\n' 15 >"$dir/run/db15.tag"
# shellcheck disable=SC2154 # of npm.sh
printf '%s\n' "PACKAGES=$npm_cache" "PORT=$port" "DB_HOST=$old_host   # which cluster" DB_PORT=5432 DB_NAME=pgstack \
	"HOLDFAST_DATABASE_URL=postgresql://postgres@/pgstack?host=$old_host" >"$dir/.env"
stack_set PROXY_PASSWORD "$proxy_password"
cp "$examples/postgresql-major.yaml" "$dir/"
sed -e "s|/srv/shop|$dir|g; s|127.0.0.1:3000|127.0.0.1:$port|; s|file:///var/backups/holdfast|$T_TMP/repository|" \
	-e "s|@127.0.0.1:5415/shop|@/pgstack?host=$old_host|; s|@127.0.0.1:5417/shop|@/pgstack?host=$new_host|" \
	-e "s/within: 30s/within: 5s/" -e "s|@127.0.0.1:5417/postgres|@/postgres?host=$new_host|; s|: shop\$|: pgstack|; s|new_host: db17|new_host: $new_host|" \
	-e "s|/usr/lib/postgresql/17/bin|$bin17|" "$examples/holdfast.yaml" >"$T_TMP/holdfast.yaml"
docker compose -f "$dir/compose.yaml" up -d --wait proxy || exit 1

# sql HOST SQL
sql() { psql -XAtqh "$1" -d "${3:-pgstack}" -c "$2" 2>&1; }
old_runs() { "$pgstack/db.sh" "$dir/db15" status >/dev/null && echo running || echo stopped; }
# Where the application is, the sum of its rows there, the old cluster and its fence.
state() {
	local host
	host=$(stack_value DB_HOST)
	printf '%s %s %s %s\n' "$(stack_get "$base/health" | jq -r .status)" "$(sql "$host" 'SHOW server_version_num' | cut -c1-2)" \
		"$(sql "$host" 'SELECT count(*), sum(total) FROM app.orders')" "$(old_runs)"
}
limit() { sql "$old_host" "SELECT datconnlimit FROM pg_database WHERE datname = 'pgstack'"; }
newest_run() { holdfast runs --output json | jq -r '.runs[0].id'; }

t_begin nothing_is_changed_by_looking
t_ok holdfast run postgresql-major --dry-run

t_begin roles_that_the_new_cluster_does_not_have
before=$(state)
t_is "$before" 'ok 15 500|125250 running'
t_exit 7 holdfast run postgresql-major
t_match "$t_err" 'Role "service_role" does not exist'
t_is "$(state) $(limit)" "$before -1" 'the old cluster serves, and its fence is lifted'
"$bin17/pg_dumpall" -h "$old_host" --globals-only | psql -XAtqh "$new_host" >/dev/null 2>"$T_TMP/globals"
t_is "$(<"$T_TMP/globals")" 'ERROR:  role "postgres" already exists' 'now it has them, with their passwords'

t_begin a_cluster_that_is_not_empty
sql "$new_host" 'CREATE DATABASE pgstack' postgres
t_exit 7 holdfast run postgresql-major
t_match "$t_err" 'the query gives "17, has the database" instead of "17"'
sql "$new_host" 'DROP DATABASE pgstack' postgres
t_is "$(state) $(limit)" "$before -1"

t_begin from_15_to_17_killed_on_the_way
cp "$dir/.env" "$T_TMP/env.before"
HOLDFAST_CRASH_AT=journal:25 t_run holdfast run postgresql-major
t_is "$t_status" 137
run=$(newest_run)
t_match "$(PGPASSWORD=$proxy_password psql -XAtqw -h "$old_host" -U pgstack_proxy -d pgstack -c 'SELECT 1' 2>&1)" 'too many connections' 'the fence holds'
if [ -n "${FULL:-}" ]; then killed_on; else t_run holdfast resume "$run"; fi
t_is "$t_status" 0 'it is done'
[ -z "${FULL:-}" ] || t_match "$deaths" $'\nstep.done switch\n.*\nstep.done start\n.*\nstep.started stop_old\n' 'killed everywhere'
t_is "$(state)" 'ok 17 500|125250 stopped'
t_is "$(sed -n 3p "$dir/.env")" "DB_HOST=$new_host   # which cluster"
t_ok holdfast -q backup --pg-bindir "$bin17"
t_match "$(holdfast show latest)" '17\.'

t_begin the_way_back_loses_no_row_unasked
t_ok holdfast rollback --yes --dry-run
sql "$new_host" 'INSERT INTO app.orders VALUES (9001, 1)'
t_exit 10 holdfast rollback --yes
t_match "$t_err" 'app\.orders'
t_is "$(state)" 'ok 17 501|125251 stopped'
t_ok holdfast rollback --yes --save-new-writes "$T_TMP/new.sql"
t_is "$(state) $(limit)" "$before -1"
t_match "$(<"$T_TMP/new.sql")" $'9001\t1'
t_is "$(sql "$new_host" 'SELECT sum(total) FROM app.orders' "pgstack $run")" 125251 'what served is kept in the new cluster'
t_is "$(<"$dir/.env")" "$(<"$T_TMP/env.before")" 'the settings are as they were'
psql -XAtqh "$old_host" -d pgstack -v ON_ERROR_STOP=1 -f "$T_TMP/new.sql"
t_is "$(sql "$old_host" 'SELECT sum(total) FROM app.orders')" 125251 'and what was saved goes into the old one'

t_begin the_runbook
t_ok holdfast status "$run"
t_exit 2 holdfast resume "$run" # it is at its end
runbook_ran "$examples/README.md" 'Over to the new cluster' 'When it fails' 'Back to the old cluster'
