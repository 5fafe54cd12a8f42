#!/usr/bin/env bash
# A stack from one version to the next by the built-in plan: what an operator sees when it works, when a migration fails, when the new version
# turns out ill, when Holdfast is killed, and days later on the way back.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/lib/t.sh
. tests/lib/t.sh
# shellcheck source=tests/lib/pg.sh
. tests/lib/pg.sh

HOLDFAST=${HOLDFAST:-$PWD/build/holdfast}
HOLDFAST_BUILD=${HOLDFAST_BUILD:-$PWD/build}
export HOLDFAST_STATE_DIR=$T_TMP/state HOLDFAST_CONFIG=$T_TMP/holdfast.yaml
# shellcheck disable=SC2034 # of pg.sh
PG_FSYNC=off

hf() { "$HOLDFAST" "$@"; }
app=$T_TMP/app
mkdir -p "$app/www" "$app/migrations"

# The application: its health is what web_server answers from a file; started, it tells the version that its .env pins.
cat >"$app/start" <<-'SH'
	#!/bin/sh
	cd "$(dirname "$0")" || exit 1
	version=$(sed -n 's/^SHOP_VERSION=\([^ ]*\).*/\1/p' .env)
	status=ok
	case $version in *ill*) status=ill ;; esac
	printf '200\n{"status": "%s", "version": "%s"}\n' "$status" "$version" >www/health.new && mv www/health.new www/health
	: >running
	echo "start $version" >>calls
SH
cat >"$app/stop" <<-'SH'
	#!/bin/sh
	cd "$(dirname "$0")" || exit 1
	printf '503\nstopped\n' >www/health.new && mv www/health.new www/health
	rm -f running
	echo stop >>calls
SH
chmod +x "$app/start" "$app/stop"
printf '# pinned by holdfast\nSHOP_VERSION=1.0.0   # do not edit\nOTHER="x y"\n' >"$app/.env"
"$HOLDFAST_BUILD/tests/integration/web_server" "$app" &
server=$!
t_defer kill "$server"
until [ -s "$app/port" ]; do kill -0 "$server" || exit 1; done
"$app/start"

pg_start main || exit 1
createdb shop
psql -qXd shop -c 'CREATE TABLE orders (id int PRIMARY KEY, what text); INSERT INTO orders SELECT g, md5(g::text) FROM generate_series(1, 5000) g'
printf 'CREATE TABLE IF NOT EXISTS customers (id int PRIMARY KEY);\n' >"$app/migrations/001_customers.sql"
configure() { # PUT_BACK
	cat >"$HOLDFAST_CONFIG" <<-YAML
		version: 1
		repositories: { near: { url: $T_TMP/near } }
		stacks:
		  shop:
		    database: { url: "host=$PGHOST dbname=shop" }
		    repositories: [near]
		    version: { env_file: $app/.env, key: SHOP_VERSION }
		    services: { stop: [$app/stop], start: [$app/start], check: [test, -e, $app/running] }
		    migrations: { dir: $app/migrations }
		    health: { url: "http://127.0.0.1:$(<"$app/port")/health", expect: { status: ok }, version_path: version, within: 2s }
		    preflight: [[grep, -q, ok, $app/www/health]]
		    gate: { query: "SELECT max(version) FROM holdfast_migrations", known: { 1.0.0: "001", 1.1.0: "002", 1.2.0-ill: "003", 1.3.0: "003" } }
		    upgrade: { pull: [sh, -c, "echo pull \"\$1\" >>$app/calls", sh, "\${version}"], put_back: $1 }
	YAML
}
# What stands now: pin, health, schema, rows.
state() {
	printf '%s %s %s %s\n' "$(sed -n 's/^SHOP_VERSION=\([^ ]*\).*/\1/p' "$app/.env")" "$(sed -n 's/.*"version": "\([^"]*\)".*/\1/p' "$app/www/health")" \
		"$(psql -XAtd shop -c "SELECT coalesce(string_agg(version, ',' ORDER BY version), '-') FROM holdfast_migrations" 2>/dev/null || echo -)" \
		"$(psql -XAtd shop -c 'SELECT count(*) FROM orders')"
}
newest_run() { hf runs --output json | jq -r '.runs[0].id'; }

configure copy
t_exit 0 hf migrate up

t_begin nothing_to_do_is_nothing_done
t_exit 0 hf upgrade 1.0.0
t_is "$t_out" 'stack "shop" is at version "1.0.0" already: nothing was done'

t_begin what_must_be_said_first
t_exit 10 hf upgrade 2.0.0
t_match "$t_err" 'major'
t_exit 2 hf upgrade 1.1.0 --skip-backup
t_match "$t_err" 'an upgrade without a backup before it cannot put the database back'
t_exit 2 hf upgrade '1.1.0; rm'
t_match "$t_err" 'version "1.1.0; rm" has a blank or a control character in it'
t_is "$(state)" '1.0.0 1.0.0 001 5000'

t_begin a_dry_run_changes_nothing
t_exit 0 hf upgrade 1.1.0 --dry-run
t_match "$t_out" 'savepoint +database.savepoint'
t_is "$(state)" '1.0.0 1.0.0 001 5000'
t_is "$(find "$T_TMP/near" -name manifest.json 2>/dev/null | wc -l)" 0 'no set'

t_begin it_works
: >"$app/calls"
printf 'ALTER TABLE orders ADD COLUMN paid bool DEFAULT false;\n' >"$app/migrations/002_paid.sql"
t_exit 0 hf upgrade 1.1.0
first=$(newest_run)
t_match "$t_out" 'version +1.0.0 -> 1.1.0'
t_match "$t_out" "way back +holdfast rollback $first"
t_is "$(state)" '1.1.0 1.1.0 001,002 5000'
t_is "$(<"$app/.env")" $'# pinned by holdfast\nSHOP_VERSION=1.1.0   # do not edit\nOTHER="x y"' 'the rest of the file is as it was'
t_is "$(tr '\n' ' ' <"$app/calls")" 'pull 1.1.0 stop start 1.1.0 '
t_exit 0 hf show latest
t_match "$t_out" "version 1.0.0" "the set says of which version it is"

t_begin a_migration_that_fails_leaves_everything_as_it_was
: >"$app/calls"
printf 'CREATE TABLE half (id int);\nSELECT 1 / 0;\n' >"$app/migrations/003_bad.sql"
before=$(state)
t_exit 7 hf upgrade 1.2.0
t_match "$t_err" 'division by zero'
t_match "$t_err" '003_bad.sql'
t_is "$(state)" "$before"
t_is "$(psql -XAtd shop -c "SELECT to_regclass('half') IS NULL")" t
t_is "$(tr '\n' ' ' <"$app/calls")" 'pull 1.2.0 stop start 1.1.0 '
t_is "$(psql -XAtd postgres -c "SELECT count(*) FROM pg_database WHERE datname LIKE 'shop\_%upgraded%'")" 0 'nothing was put back, so nothing is kept'
rm "$app/migrations/003_bad.sql"

t_begin a_version_that_turns_out_ill_is_taken_back
: >"$app/calls"
printf 'ALTER TABLE orders DROP COLUMN paid; DELETE FROM orders WHERE id > 10;\n' >"$app/migrations/003_drop.sql"
t_exit 7 hf upgrade 1.2.0-ill
t_match "$t_err" 'status.*ill'
t_is "$(state)" "$before"
t_is "$(psql -XAtd shop -c "SELECT count(*) FROM information_schema.columns WHERE table_name = 'orders' AND column_name = 'paid'")" 1
t_is "$(tr '\n' ' ' <"$app/calls")" 'pull 1.2.0-ill stop start 1.2.0-ill stop start 1.1.0 '

t_begin the_same_with_the_set_restored
configure restore
t_exit 7 hf upgrade 1.2.0-ill
t_is "$(state)" "$before"
rm "$app/migrations/003_drop.sql"

t_begin one_killed_before_it_changed_anything_does_not_come_back_later
HOLDFAST_CRASH_AT=journal:2 t_run hf upgrade 1.3.0
t_is "$t_status" 137
stale=$(newest_run)
t_exit 0 hf -q backup
t_is "$t_err" ""
before_stale=$(state)
t_exit 0 hf -q upgrade 1.3.0
t_exit 10 hf resume "$stale"
t_match "$t_err" "run \"$stale\" cannot go on: run \"[^\"]*\" \(upgrade, done\) came after it"
t_match "$t_err" "It has changed nothing; \"holdfast abandon $stale\" closes it"
t_exit 0 hf abandon "$stale"
t_exit 0 hf -q rollback --yes
t_is "$(state)" "$before_stale"

t_begin a_killed_one_is_not_passed_over
printf 'ALTER TABLE orders ADD COLUMN note text;\n' >"$app/migrations/003_note.sql"
HOLDFAST_CRASH_AT=journal:22 t_run hf upgrade 1.3.0
t_is "$t_status" 137
run=$(newest_run)
t_exit 10 hf upgrade 1.4.0
t_match "$t_err" "$run"
t_exit 0 hf -q backup
t_match "$t_err" "run \"$run\" has not come to its end: this set is of a stack in the middle of it"
t_is "$(hf show latest --output json | jq -r ".. | .app_version? // empty" | head -n 1)" "1.1.0, during $run"
t_exit 0 hf resume "$run"
t_is "$(state)" '1.3.0 1.3.0 001,002,003 5000'

t_begin old_code_on_a_newer_schema_is_refused
t_exit 0 hf gate
t_is "$t_out" 'version "1.3.0" may start'
t_exit 10 hf gate 1.1.0
t_match "$t_err" 'version "1.1.0" must not start: the schema has version "003", which is newer than it knows'

t_begin the_way_back_loses_no_row_unasked
psql -qXd shop -c "INSERT INTO orders VALUES (9001, E'tab\\there'); UPDATE orders SET what = 'new' WHERE id = 7; DELETE FROM orders WHERE id = 8"
t_exit 2 hf rollback
t_match "$t_err" 'yes'
t_exit 10 hf rollback --yes
t_match "$t_err" 'orders'
t_match "$t_err" '--save-new-writes'
t_is "$(state)" '1.3.0 1.3.0 001,002,003 5000'
t_exit 0 hf rollback --yes --save-new-writes "$T_TMP/new.sql"
t_is "$(state)" '1.1.0 1.1.0 001,002 5000'
t_is "$(stat -c %a "$T_TMP/new.sql")" 600
t_is "$(grep -c '^9001' "$T_TMP/new.sql") $(grep -c '^7	new' "$T_TMP/new.sql")" '1 1' 'the rows written since'
t_match "$t_out$t_err" 'upgraded'
t_exit 0 hf upgrade 1.3.0
t_is "$(state)" '1.3.0 1.3.0 001,002,003 5000' 'and forward again'

t_begin a_restore_stops_and_starts_the_application
: >"$app/calls"
psql -qXd shop -c 'DELETE FROM orders WHERE id < 100'
t_exit 0 hf restore latest --yes
t_match "$t_err" 'was taken under version "1.1.0" of the application, and "1.3.0" is pinned now'
t_is "$(state)" '1.3.0 1.3.0 001,002 5000' 'of the last set, which was taken before the upgrade'
t_is "$(tr '\n' ' ' <"$app/calls")" 'stop start 1.3.0 '
: >"$app/calls"
t_exit 0 hf restore latest --target-db shop_beside
t_is "$(<"$app/calls")" '' 'beside it nothing is stopped'

t_begin files_that_were_changed_after_they_were_applied_stop_nothing
: >"$app/calls"
printf -- '-- changed\n' >>"$app/migrations/001_customers.sql"
t_exit 7 hf upgrade 1.3.1
t_match "$t_err" '001_customers.sql'
t_is "$(tr '\n' ' ' <"$app/calls")" 'pull 1.3.1 ' 'no service was stopped'
