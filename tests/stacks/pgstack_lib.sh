# shellcheck shell=bash
# What the tests of pgStack's example have in common: docs/examples/pgstack as it stands, laid out in $dir, with its paths and ports replaced,
# and a stand-in for docker in the PATH.  Sourced after stack_holdfast.
#
#	install              the installation on 2026.5, its proxy serving, two live queries, a second database with live queries
#	info, live           who logs in as what; live queries of persisted ones, of each database
#	state                all of it on one line: pins, proxy, roles, settings, live queries
# shellcheck source=runbook_lib.sh
. "$STACKS/runbook_lib.sh"
pgstack=$STACKS/pgstack
examples=$(realpath -- "$STACKS/../../docs/examples/pgstack")
dir=$T_TMP/pgstack
# shellcheck disable=SC2016 # no variables
proxy_password='p"r$o' password='a'\''u"t$h\x #1' admin_password='$ad'\''m"in%@/'

install() {
	stack_npm pgboss-10.1.3 || exit 1 # for its pg
	stack_server main || exit 1
	psql -XAtq -v ON_ERROR_STOP=1 -v proxy_password="$proxy_password" -f "$pgstack/setup.sql" || exit 1
	# An extension of the server stands for pg_reactive, whose functions setup.sql has made.
	psql -XAtqd pgstack -c 'CREATE EXTENSION hstore' -c 'INSERT INTO app.orders SELECT g, g FROM generate_series(1, 500) g' || exit 1
	mkdir -p "$dir/run" "$T_TMP/bin"
	ln -s "$pgstack/docker" "$T_TMP/bin/docker"
	PATH=$T_TMP/bin:$PATH
	# shellcheck disable=SC2034 # of common.sh
	stack_dir=$dir
	t_defer "$pgstack/stop.sh" "$dir/proxy"
	port=$(stack_port)
	base=http://127.0.0.1:$port
	# shellcheck disable=SC2154 # of npm.sh
	printf '%s\n' '# settings' "PACKAGES=$npm_cache" "PORT=$port" "DB_HOST=$PGHOST" "DB_PORT=$PGPORT" DB_NAME=pgstack \
		"DB_DATA=$PGDATA" "DB_BINDIR=$PG_BINDIR" ENABLE_SQL_ENDPOINT=false "HOLDFAST_DATABASE_URL=postgresql://postgres@localhost/pgstack?host=$PGHOST" \
		SECRETS_ENCRYPTION_KEY=k1 >"$dir/.env"
	stack_set PROXY_PASSWORD "$proxy_password"
	stack_set AUTHENTICATOR_PASSWORD "$password"
	stack_set AUTHENTICATOR_ADMIN_PASSWORD "$admin_password"
	printf '%s\n' services: '  db:' '    image: "pgstack/db:2026.5"' '  proxy:' '    image: pgstack/proxy:2026.5   # pinned' >"$dir/compose.yaml"
	cp -r "$pgstack/migrations" "$examples"/*.yaml "$examples/admin-url" "$dir/"
	sed -e "s|/srv/pgstack|$dir|g; s|127.0.0.1:3000|127.0.0.1:$port|g; s|file:///var/backups/holdfast|$T_TMP/repository|" \
		-e "s|@db:5432/pgstack|@localhost/pgstack?host=$(stack_encode "$PGHOST")|; s|host=127.0.0.1 port=5432|host=$PGHOST|" \
		-e '/^    parameters:/a\      extension: hstore' "$examples/holdfast.yaml" >"$T_TMP/holdfast.yaml"
	rm "$dir/holdfast.yaml"
	export PGDATABASE=pgstack
	compose up -d --wait db && compose up -d --wait proxy || exit 1
	stack_post "$base/admin/subscriptions" '{"name": "orders", "query": "SELECT * FROM app.orders"}' >/dev/null
	stack_post "$base/admin/subscriptions" '{"name": "hooks", "query": "SELECT url FROM app.webhooks"}' >/dev/null
	psql -XAtqd postgres -v ON_ERROR_STOP=1 -c 'CREATE DATABASE tenant' -c '\connect tenant' -c 'CREATE EXTENSION hstore' || exit 1
	pg_dump -n pgr pgstack | psql -XAtqd tenant -v ON_ERROR_STOP=1 >/dev/null 2>"$T_TMP/tenant.log" || exit 1
	psql -XAtqd tenant -c "UPDATE pgr.persisted_subscriptions SET query = 'SELECT 1'" -c 'SELECT pgr.restore_subscriptions()' >/dev/null || exit 1
}

compose() {
	docker compose -f "$dir/compose.yaml" "$@"
}
info() {
	stack_get "$base/info" | jq -r '[.version, .session_user, .admin_session_user] | join(" ")'
}
live() {
	local db
	for db in pgstack tenant; do
		psql -XAtd "$db" -c "SELECT (SELECT count(*) FROM pgr.live_subscriptions) || '/' || (SELECT count(*) FROM pgr.persisted_subscriptions)"
	done | paste -sd' '
}
state() {
	printf '%s | %s | %s | %s | %s\n' "$(sed -n 's/.*image: *"*[^:]*:\([0-9.]*\).*/\1/p' "$dir/compose.yaml" | paste -sd' ')" "$(info)" \
		"$(pg_sql "SELECT coalesce(string_agg(rolname || CASE WHEN rolcanlogin THEN '+' ELSE '-' END || CASE WHEN pg_has_role(oid, 'service_role', 'MEMBER') THEN 'service' ELSE '' END, ' ' ORDER BY rolname), '') FROM pg_roles WHERE rolname ~ '^authenticator'")" \
		"$(grep -c '^ADMIN_DATABASE_URL=' "$dir/.env")" "$(live)"
}
newest_run() {
	holdfast runs --output json | jq -r '.runs[0].id'
}
