# shellcheck shell=bash
# What is upgraded, taken back and rotated by tests/crash/upgrade.sh: a stand-in for an application with three pins, a database and a
# secret, killed runs of it, and the world as text.
#
#   shop_begin           server, database "shop" and its untouched twin "pristine", the application and its health; sets $T, $app
#   shop_fresh           as nothing had ever run: version 1.0.0 in service, no run, no set
#   world                what is in service, as text without ids and times
#   strike POINT cmd…    0 killed there (or stopped there by SIGTERM), 1 it came to its end before, 2 it failed otherwise; $status, $T/out
. tests/crash/lib.sh

app=$T/app
vault=$T/vault
hf() { "$HOLDFAST" "$@"; }

# ---- the application ----

# Started, it looks which version it is by each of its pins and which schema it has before it, as a client whom a fence keeps out.  What
# does not go together it calls mixed, and notes.  Told to, by a file "strike" with a place and a number, either of its programs kills who has
# started it when it comes to that place for the Nth time.
write_application() {
	cat >"$app/here" <<-'SH'
		here() {
			read -r place n 2>/dev/null <strike || return 0
			[ "$place" = "$1" ] || return 0
			if [ "$n" -gt 1 ]; then
				echo "$place $((n - 1))" >strike
				return 0
			fi
			rm strike
			kill -KILL "$PPID"
			exec sleep 5
		}
	SH
	cat >"$app/start" <<-SH
		#!/bin/sh
		cd "\$(dirname "\$0")" || exit 1
		. ./here
		here start-begin
		env=\$(sed -n 's/^SHOP_VERSION=\([^ ]*\).*/\1/p' .env)
		image=\$(sed -n 's/^ *image: shop:\([^ ]*\).*/\1/p' compose.yaml)
		read -r file <VERSION
		schema=\$("$PG_BINDIR/psql" -XAtq -U shop_app -d shop -c "SELECT string_agg(version, ',' ORDER BY version) FROM holdfast_migrations" 2>&1)
		case "\$env \$file \$image \$schema" in
		"1.0.0 1.0.0 1.0.0 001" | "1.1.0 1.1.0 1.1.0 001,002,003") status=ok ;;
		"1.1.0-ill 1.1.0-ill 1.1.0-ill 001,002,003") status=ill ;;
		*) status=mixed ;;
		esac
		echo "\$status \$env \$file \$image \$schema" >>starts
		printf '200\n{"status": "%s", "version": "%s"}\n' "\$status" "\$env" >www/health.next && mv www/health.next www/health
		: >running
		here start-end
	SH
	cat >"$app/stop" <<-'SH'
		#!/bin/sh
		cd "$(dirname "$0")" || exit 1
		. ./here
		here stop-begin
		rm -f running
		printf '503\nstopped\n' >www/health.next && mv www/health.next www/health
		here stop-end
	SH
	chmod +x "$app/start" "$app/stop"
	printf 'CREATE TABLE IF NOT EXISTS customers (id int PRIMARY KEY);\n' >"$app/migrations/001_customers.sql"
	# What is lost by them shows.
	printf 'ALTER TABLE orders ADD COLUMN paid bool DEFAULT false;\nDELETE FROM orders WHERE id > 150;\n' >"$app/migrations/002_paid.sql"
	printf 'DROP TABLE coupons;\n' >"$app/migrations/003_coupons.sql"
}

# A secret of the application: what is stored in the database was made with it.  The running one goes by the env file as it was at its
# start, and accepts what was made with the secret before, too.
write_vault() {
	cat >"$vault/vault" <<-SH
		#!/bin/sh
		cd "\$(dirname "\$0")" || exit 1
		value() { sed -n "s/^\$1=\"*\([^\"]*\)\"*\$/\1/p" running; }
		sql() { "$PG_BINDIR/psql" -XAtq -v ON_ERROR_STOP=1 -d shop -c "\$1"; }
		case \$1 in
		start) cp .env running.next && mv running.next running ;;
		rehash) sql "UPDATE vault SET made_with = md5('\$(value KEY)')" ;;
		rehash-back) test -z "\$(value KEY_PREVIOUS)" || sql "UPDATE vault SET made_with = md5('\$(value KEY_PREVIOUS)')" ;;
		verify) test "\$(sql "SELECT made_with IN (md5('\$(value KEY)'), md5('\$(value KEY_PREVIOUS)')) FROM vault")" = t ;;
		verify-new) test "\$(sql "SELECT made_with = md5('\$(value KEY)') FROM vault")" = t ;;
		esac
	SH
	chmod +x "$vault/vault"
	cat >"$T/rotate.yaml" <<-YAML
		name: rotate
		about: the key of the vault
		on_failure: rollback
		must_finish: true
		steps:
		  - { id: rotate, uses: secret.rotate, with: { file: $vault/.env, key: KEY, previous_key: KEY_PREVIOUS } }
		  - { id: restart, uses: service.start, with: { command: [$vault/vault, start] } }
		  - { id: verify, uses: exec, with: { argv: [$vault/vault, verify] } }
		  - { id: rehash, uses: exec, with: { argv: [$vault/vault, rehash], undo: [$vault/vault, rehash-back] } }
		  - { id: proof, uses: exec, with: { argv: [$vault/vault, verify-new] } }
		  - { id: retire, uses: secret.retire, with: { file: $vault/.env, key: KEY, previous_key: KEY_PREVIOUS } }
		  - { id: restart_again, uses: service.start, with: { command: [$vault/vault, start] } }
		  - { id: proof_again, uses: exec, with: { argv: [$vault/vault, verify-new] } }
		after_rollback:
		  - { id: restart_back, uses: service.start, with: { command: [$vault/vault, start] } }
		  - { id: proof_back, uses: exec, with: { argv: [$vault/vault, verify-new] } }
	YAML
}

# configure PUT_BACK WITHIN FENCE
configure() {
	cat >"$HOLDFAST_CONFIG" <<-YAML
		version: 1
		repositories: { near: { url: $T/near } }
		stacks:
		  shop:
		    database: { url: "host=$PGHOST user=postgres dbname=shop" }
		    repositories: [near]
		    retention: { keep_last: 1 }
		    version: { env_file: $app/.env, key: SHOP_VERSION, file: $app/VERSION, yaml_file: $app/compose.yaml, yaml_path: services.api.image }
		    services: { stop: [$app/stop], start: [$app/start], check: [test, -e, $app/running] }
		    migrations: { dir: $app/migrations }
		    health: { url: "http://127.0.0.1:$(<"$app/port")/health", expect: { status: ok }, version_path: version, within: $2 }
		    gate: { query: "SELECT max(version) FROM holdfast_migrations", known: { 1.0.0: "001", 1.1.0: "003", 1.1.0-ill: "003" } }
		    upgrade: { put_back: $1, fence: $3 }
	YAML
}

make_pristine() {
	sql -d postgres -c 'CREATE ROLE shop_app LOGIN IN ROLE pg_read_all_data' -c 'CREATE DATABASE shop'
	sql -d shop <<-'SQL'
		CREATE TABLE orders (id int PRIMARY KEY, what text);
		INSERT INTO orders SELECT g, md5(g::text) FROM generate_series(1, 200) g;
		CREATE TABLE coupons (code text);
		INSERT INTO coupons VALUES ('ten'), ('twenty');
		CREATE TABLE vault (made_with text);
		INSERT INTO vault VALUES (md5('the old secret'));
		CREATE SEQUENCE numbers START 17;
	SQL
	mkdir "$T/only-first"
	cp "$app/migrations/001_customers.sql" "$T/only-first"
	configure copy 1s true
	sed -i "s|dir: $app/migrations|dir: $T/only-first|" "$HOLDFAST_CONFIG"
	hf -q migrate up
	rm -rf "$T/state"
	sql -d postgres -c 'ALTER DATABASE shop RENAME TO pristine'
	base_databases=$(databases)
}

shop_begin() {
	[ -x "$HOLDFAST" ] || die "no program \"$HOLDFAST\""
	local program=$HOLDFAST tools=$HOLDFAST_BUILD
	unset "${!HOLDFAST_@}" XDG_CONFIG_HOME
	export HOLDFAST_STATE_DIR=$T/state HOLDFAST_CONFIG=$T/holdfast.yaml TMPDIR=$T/tmp
	HOLDFAST=$program HOLDFAST_BUILD=$tools
	mkdir -p "$app/www" "$app/migrations" "$vault" "$T/tmp"
	server_start
	t_defer clean_up
	unset PGDATABASE PGDATA
	"$tools/tests/integration/web_server" "$app" &
	t_defer kill "$!"
	wait_until 20 test -s "$app/port" || die 'the application has no port'
	write_application
	write_vault
	lay_out_files
	make_pristine
}

lay_out_files() {
	rm -rf "$T/near" "$T/state" "$T/tmp" "$T/saved" "$app/starts" "$app/strike"
	mkdir -m 700 "$T/tmp" "$T/saved"
	printf '# pinned by holdfast\nSHOP_VERSION=1.0.0   # do not edit\nOTHER="x y"\n' >"$app/.env"
	printf '1.0.0\nsecond line\n' >"$app/VERSION"
	printf 'services:\n  api:\n    image: shop:1.0.0 # the one\n    x: [ 1,  2 ]\n' >"$app/compose.yaml"
	printf 'KEY="the old secret"\nOTHER=1\n' >"$vault/.env"
}

drop_databases() {
	local db all=()
	while IFS= read -r db; do
		grep -qxF -- "$db" <<<"$base_databases" || all+=(-c "DROP DATABASE \"$db\" WITH (FORCE)")
	done < <(databases)
	[ ${#all[@]} -eq 0 ] || sql -d postgres "${all[@]}"
}

shop_fresh() {
	local pid
	for pid in $(our_processes); do kill -KILL "$pid" 2>/dev/null || :; done
	drop_databases
	sql -d postgres -c 'CREATE DATABASE shop TEMPLATE pristine STRATEGY FILE_COPY' -c "COMMENT ON DATABASE shop IS 'the shop'" \
		-c "ALTER DATABASE shop SET work_mem = '5MB'" -c "ALTER ROLE shop_app IN DATABASE shop SET statement_timeout = '9s'" \
		-c 'ALTER DATABASE shop CONNECTION LIMIT 40'
	lay_out_files
	"$app/start"
	"$vault/vault" start
}

# ---- the world ----

secret_state() {
	local name
	for name in .env running; do
		sed -E 's/^KEY="?the old secret"?$/KEY is the old one/; s/^KEY=.*[0-9a-f]{64}.*/KEY is a new one/; s/^KEY_PREVIOUS=.*the old.*/and the old one is the previous/' \
			"$vault/$name" | sed "s/^/$name: /"
	done
	if "$vault/vault" verify-new; then echo 'what is stored goes with the present secret'; else echo 'what is stored does not go with the present secret'; fi
	sql -d shop -c "SELECT 'stored is of the old one: ' || (made_with = md5('the old secret')) FROM vault"
}

world() {
	printf -- '-- pins\n'
	cat "$app/.env" "$app/VERSION" "$app/compose.yaml"
	printf -- '-- service\n'
	cat "$app/www/health"
	if [ -e "$app/running" ]; then echo running; else echo stopped; fi
	printf -- '-- secret\n'
	secret_state
	printf -- '-- database\n'
	sql -d postgres -F ' ' <<-'SQL'
		SELECT datname, pg_get_userbyid(datdba), datallowconn, datconnlimit, datacl, shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'shop';
		SELECT 'setting', setrole::regrole, setconfig FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase WHERE datname = 'shop' ORDER BY 2, 3;
		SELECT 'prepared', gid FROM pg_prepared_xacts;
		SELECT 'slot', slot_name FROM pg_replication_slots;
	SQL
	sql -d shop -c "SELECT 'applied ' || string_agg(version, ',' ORDER BY version) FROM holdfast_migrations"
	schema_of shop
	rows_of shop | grep -v '^public.holdfast_migrations ' | grep -v '^public.vault '
}

# ---- killed ----

status=0
# strike POINT command…: POINT is one of base/crashpoint.h, or inside:PLACE:N
strike() {
	local point=$1
	shift
	status=0
	case $point in
	inside:*)
		echo "${point#inside:}" | tr : ' ' >"$app/strike"
		"$@" >"$T/out" 2>&1 </dev/null || status=$?
		rm -f "$app/strike"
		;;
	*) HOLDFAST_CRASH_AT=$point "$@" >"$T/out" 2>&1 </dev/null || status=$? ;;
	esac
	case $point:$status in
	*:term:5 | *:137) return 0 ;;
	*:0 | *:7) return 1 ;;
	*) return 2 ;;
	esac
} 2>/dev/null

# The newest run that is no backup of its own: $run ("-": none), $state, $is_resumable.
run='' state='' is_resumable=''
# shellcheck disable=SC2034 # of who sources this
look() {
	read -r run state is_resumable < <(hf runs --output json |
		jq -r '[.runs[] | select(.plan | startswith("backup") | not)][0] | "\(.id // "-") \(.state // "none") \(.is_resumable // false)"')
}

# Every record of the journals below $T/state of runs that are no backup of their own, in the order of time: TYPE STEP.
records() {
	local f at
	for f in "$T"/state/runs/*/journal "$T"/state/runs/*/plans/*/journal; do
		[ -e "$f" ] || continue
		at=${f#"$T"/state/runs/*/}
		at=${at%journal}
		at=${at#plans/}
		sed 's/^.\{9\}//' "$f" | jq -r --arg in "$at" '[.at, .type + " " + $in + (.step // .status // .reason // "")] | join("\t")'
	done | sort -s -k1,1 | cut -f2
}
