#!/usr/bin/env bash
# The guard over what was written since an upgrade: a rollback by hand loses nothing that nobody has been told of.
# shellcheck source=../lib/t.sh
. tests/lib/t.sh
unset "${!HOLDFAST_@}" "${!PG@}" XDG_CONFIG_HOME
# shellcheck source=../lib/pg.sh
. tests/lib/pg.sh
HOLDFAST=${HOLDFAST:-$PWD/build/holdfast}
export HOME=$T_TMP/home HOLDFAST_STATE_DIR=$T_TMP/state
mkdir "$HOME"
pg_start main || exit 1

app() { psql -XAtq -v ON_ERROR_STOP=1 -d app -c "$1" 2>&1; }
last_run() { "$HOLDFAST" runs | awk 'NR == 2 { print $1 }'; }
run_dir() { printf %s "$HOLDFAST_STATE_DIR/runs/$(last_run)"; }
tag() { last_run | sed -E 's/^([0-9TZ]+)-.*-([0-9a-f]+)$/\L\1_\2/'; }
# upgrade: a database put up anew, and a run that is done
upgrade() {
	local name
	for name in $(pg_sql "SELECT datname FROM pg_database WHERE datname LIKE 'app%'"); do
		pg_sql "DROP DATABASE \"$name\" WITH (FORCE)"
	done
	pg_sql 'CREATE DATABASE app'
	app "CREATE TABLE orders (id serial PRIMARY KEY, what text); INSERT INTO orders (what) SELECT 'row ' || g FROM generate_series(1, 100) g;
		CREATE TABLE log (line text); INSERT INTO log SELECT generate_series(1, 50); CREATE TABLE \"odd \"\"name\" (a int, b int, PRIMARY KEY (a, b));
		CREATE MATERIALIZED VIEW counted AS SELECT count(*), repeat('x', 100) FROM orders; CREATE TABLE gen (id int GENERATED ALWAYS AS IDENTITY,
			twice int GENERATED ALWAYS AS (id * 2) STORED, at timestamptz, doc jsonb, bin bytea); CREATE TABLE part (id uuid PRIMARY KEY, whole int, number int GENERATED ALWAYS AS IDENTITY);
		CREATE TABLE whole (id int PRIMARY KEY); ALTER TABLE part ADD FOREIGN KEY (whole) REFERENCES whole"
	t_exit 0 "$HOLDFAST" run "$T_TMP/plan.yaml" --stack app -d app
}
rollback() { t_exit "$1" "$HOLDFAST" rollback "$(last_run)" --yes "${@:2}"; } # 0: the old state serves
printf '%s\n' 'name: up' 'can_rollback: true' 'steps:' \
	'- { id: keep, uses: database.savepoint, with: { database: dbname=app } }' \
	'- { id: migrate, uses: sql, with: { database: dbname=app, statements: [ALTER TABLE orders ADD COLUMN extra int] } }' \
	'- { id: mark, uses: database.mark, with: { database: dbname=app } }' >"$T_TMP/plan.yaml"

t_begin nothing_written_is_no_hindrance
upgrade
app 'REFRESH MATERIALIZED VIEW counted; CREATE TEMP TABLE t (a text DEFAULT 5); BEGIN; DELETE FROM log; INSERT INTO orders (what) VALUES (1); ROLLBACK'
app "BEGIN; UPDATE orders SET what = ''; DELETE FROM orders; ROLLBACK; REINDEX TABLE orders; SELECT nextval('orders_id_seq')" >/dev/null
app 'ANALYZE gen'
app 'VACUUM gen'
rollback 0
t_match "$t_out$t_err" 'nothing was written to the database since the new version was started'
t_is "$(app 'SELECT count(*) FROM orders')" 100

t_begin rows_written_are_named_and_refused
upgrade
app "INSERT INTO orders (what) VALUES ('new'), ('newer'); UPDATE log SET line = 'x' WHERE line = '7'; DELETE FROM log WHERE line < '3'; INSERT INTO \"odd \"\"name\" VALUES (1, 2)"
deleted=$(app "SELECT 50 - count(*) FROM log")
rollback 10
t_match "$t_err" "error:  .*$((4 + deleted)) rows in 3 tables were written since the upgrade, which the old database does not have"
t_match "$t_err" "Table \"public.orders\": 2 rows written.
 *Table \"public.log\": 1 row written, $deleted deleted.
 *Table \"public.odd \"name\": 1 row written."
t_match "$t_err" 'hint:   Use --save-new-writes FILE to have these rows in a file, or --discard-new-writes; either way the upgraded database is kept'
t_is "$(app 'SELECT count(extra), count(*) FROM orders')" '0|102' 'nothing was touched'
touch "$T_TMP/there"
rollback 10 --save-new-writes "$T_TMP/there"
t_match "$t_err" "file \"$T_TMP/there\" exists already"
rollback 10 --save-new-writes "$T_TMP/no/dir/file"
t_match "$t_err" "cannot save new writes in directory \"$T_TMP/no/dir\": No such file or directory"

t_begin rows_written_are_saved_and_come_back_with_psql
app "INSERT INTO whole VALUES (7); INSERT INTO part (id, whole) VALUES ('6f1c7f0e-5d4e-4c57-9b1f-3e8f5a9d2b10', 7)"
app "INSERT INTO gen (at, doc, bin) VALUES ('2026-01-02 03:04:05.678901+00', '{\"a\": [1, \"\\\\\"]}', '\\x00ff5c')"
want=$(app 'SELECT * FROM gen; TABLE "odd ""name"; TABLE part; SELECT id, what FROM orders WHERE id > 100')
rollback 0 --save-new-writes "$T_TMP/new.sql"
t_match "$t_out$t_err" "are saved in \"$T_TMP/new.sql\", and all of it is in the upgraded database"
t_is "$(app 'SELECT count(*) FROM orders')" 100 'the old state serves'
t_is "$(psql -XAtqd "app_upgraded_$(tag)" -c 'SELECT count(*) FROM orders')" 102 'the upgraded database is kept'
t_is "$(stat -c %a "$T_TMP/new.sql") $(ls "$T_TMP"/*.tmp 2>/dev/null)" '600 ' 'and nothing lies beside the file'
sed -i '/^INSERT INTO "public"."orders"/ { s/, "extra"//; s/, "extra"::integer//; s/, "extra" = EXCLUDED."extra"// }' "$T_TMP/new.sql"
t_exit 0 psql -Xq -v ON_ERROR_STOP=1 -d app -f "$T_TMP/new.sql"
t_is "$(app 'SELECT * FROM gen; TABLE "odd ""name"; TABLE part; SELECT id, what FROM orders WHERE id > 100')" "$want" 'every value is what it was'
t_is "$(app "INSERT INTO gen DEFAULT VALUES RETURNING id; INSERT INTO orders DEFAULT VALUES RETURNING id")" $'2\n103' 'sequences have moved on'
t_is "$(grep -c 'It has no primary key' "$T_TMP/new.sql")" 2 'tables without a key are told'

t_begin rows_written_are_discarded_when_told_so
upgrade
app "INSERT INTO orders (what) VALUES ('new')"
rollback 0 --discard-new-writes
t_is "$(app 'SELECT count(*) FROM orders')" 100
t_is "$(psql -XAtqd "app_upgraded_$(tag)" -c 'SELECT count(*) FROM orders')" 101 'they are still in the upgraded database'

t_begin schema_changes_and_truncation_count
upgrade
app 'TRUNCATE log'
rollback 10
t_match "$t_err" 'the database was changed since the upgrade, which the old one does not have'
t_match "$t_err" 'The schema was changed \(pg_class\).'
upgrade
app 'GRANT SELECT ON orders TO PUBLIC'
rollback 10
upgrade
app 'SELECT lo_from_bytea(0, repeat('\''x'\'', 5000)::bytea)' >/dev/null
rollback 10
t_match "$t_err" 'Table "pg_catalog.pg_largeobject": 3 rows written.'

t_begin a_crashed_server_has_lost_its_counters_and_rows_are_found_all_the_same
upgrade
app "INSERT INTO orders (what) VALUES ('new')"
pg_stop main immediate
pg_start main
rollback 10
t_match "$t_err" 'Table "public.orders": 1 row written.'
t_match "$t_err" 'The server has lost its counters: how many rows were deleted is not known.'
upgrade
app 'SELECT pg_stat_reset()' >/dev/null
rollback 0
t_match "$t_out$t_err" 'nothing was written to the database since the new version was started; whether rows were deleted is not known'

t_begin rows_of_a_transaction_that_was_open_at_the_mark
upgrade >/dev/null
exec {open}> >(psql -XAtqd app >/dev/null 2>&1)
printf "BEGIN; INSERT INTO log VALUES ('open');\n" >&"$open"
is_open() { [ "$(pg_sql "SELECT count(*) FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND state = 'idle in transaction'")" = 1 ]; }
t_wait 10 is_open
sed -i.bak '/id: keep/d; /id: migrate/d' "$T_TMP/plan.yaml"
t_exit 0 "$HOLDFAST" run "$T_TMP/plan.yaml" --stack app -d app
mv "$T_TMP/plan.yaml.bak" "$T_TMP/plan.yaml"
app "INSERT INTO orders (what) VALUES ('other')"
printf 'COMMIT;\n\\q\n' >&"$open"
is_closed() { ! is_open; }
t_wait 10 is_closed
rollback 10
t_match "$t_err" '2 rows in 2 tables'

t_begin a_damaged_mark_is_told
upgrade
printf '{' >"$(run_dir)/mark.mark.json"
rollback 3
t_match "$t_err" 'hint:   What was written since the upgrade cannot be told; --discard-new-writes does without.'
rm "$(run_dir)/mark.mark.json"
rollback 3
t_match "$t_err" 'mark.mark.json", which says what the database was like, is missing'
rollback 0 --discard-new-writes
t_is "$(app "SELECT count(*) FROM pg_attribute WHERE attname = 'extra'")" 0

t_begin a_copy_that_is_gone_is_told_before_anything_is_done
upgrade
t_exit 0 "$HOLDFAST" drop-old "app_before_$(tag)" -d app --yes
t_match "$t_err" "warning: \"holdfast rollback $(last_run)\" would put database \"app_before_$(tag)\" back; without it only a backup set can be"
rollback 10
t_match "$t_err" "the copy \"app_before_$(tag)\" of database \"app\" from before the upgrade is not there any more"

t_begin the_set_is_restored_where_the_copy_is_gone
cp "$T_TMP/plan.yaml" "$T_TMP/plain.yaml"
sed -i "s|^steps:|&\n- { id: set, uses: backup, with: { stack: app, database: dbname=app, repository: [$T_TMP/repository] } }|
	s|database.savepoint, with: { database: dbname=app|&, stack: app, repository: [$T_TMP/repository], backup: '\${steps.set.backup_id}', since: '\${steps.set.mark}'|" "$T_TMP/plan.yaml"
upgrade
t_exit 0 "$HOLDFAST" drop-old "app_before_$(tag)" -d app --yes
rollback 0
t_match "$t_err" "warning: the copy \"app_before_$(tag)\" is not there any more: backup set \"2[0-9TZa-f-]+\" is restored instead"
t_match "$t_out$t_err" "database \"app\" is restored from backup set \"2[0-9TZa-f-]+\", for the copy was dropped; the upgraded one is kept as \"app_upgraded_$(tag)\""
t_is "$(app "SELECT count(*) FROM pg_attribute WHERE attname = 'extra'") $(app 'SELECT count(*) FROM orders')" '0 100'
mv "$T_TMP/plain.yaml" "$T_TMP/plan.yaml"

t_begin one_upgrade_after_the_other_is_rolled_back
upgrade
first=$(last_run)
sed 's/^name: up/name: again/; s/ADD COLUMN extra/ADD COLUMN more/' "$T_TMP/plan.yaml" >"$T_TMP/again.yaml"
t_exit 0 "$HOLDFAST" run "$T_TMP/again.yaml" --stack app -d app
second=$("$HOLDFAST" runs | awk '/-again-/ { print $1; exit }')
t_exit 0 "$HOLDFAST" rollback "$second" --yes
app "INSERT INTO orders (what) VALUES ('between')"
t_exit 10 "$HOLDFAST" rollback "$first" --yes
t_match "$t_err" 'error:  .*1 row in 1 table was written since the upgrade, which the old database does not have'
t_match "$t_err" 'It is a copy, of which the server has counted anew: how many rows were deleted is not known.'
t_exit 0 "$HOLDFAST" rollback "$first" --yes --save-new-writes "$T_TMP/between.sql"
t_match "$(cat "$T_TMP/between.sql")" $'101\tbetween'
t_match "$t_out$t_err" 'database "app" is the copy of 2[0-9TZ:.-]+ again; the one that served until now is kept as "app_upgraded_'
t_is "$(app "SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attnum > 0")" 'id what' 'the first state serves'
t_is "$(pg_sql "SELECT count(*) FROM pg_database WHERE datname LIKE 'app\_upgraded\_%'")" 2 'nothing was dropped'

t_begin a_subscription_that_is_enabled_is_in_the_way
upgrade
psql -XAtqd app -c "CREATE SUBSCRIPTION feed CONNECTION 'dbname=nowhere host=/nowhere' PUBLICATION p WITH (connect = false)" \
	-c 'ALTER SUBSCRIPTION feed ENABLE' 2>/dev/null
rollback 10 --discard-new-writes
t_match "$t_err" 'cannot put database "app" back: 1 thing stands in the way'
t_match "$t_err" 'Subscription "feed" is enabled'
psql -XAtqd app -c 'ALTER SUBSCRIPTION feed DISABLE'
rollback 0 --discard-new-writes
t_match "$t_out$t_err" 'its subscriptions \("feed"\) stay with it'
psql -XAtqd "app_upgraded_$(tag)" -c 'ALTER SUBSCRIPTION feed SET (slot_name = NONE)' -c 'DROP SUBSCRIPTION feed'

t_begin what_somebody_has_put_in_service_since_is_put_aside_when_told_so
upgrade
pg_sql 'ALTER DATABASE app RENAME TO app_else'
pg_sql 'CREATE DATABASE app'
rollback 10
t_match "$t_err" 'the database in service is not the one that was upgraded: what was written to it is not known'
rollback 10 --save-new-writes "$T_TMP/else.sql"
t_is "$(app "SELECT to_regclass('orders') IS NULL")" t 'nothing was changed'
HOLDFAST_CRASH_AT=swap:2 t_run "$HOLDFAST" rollback "$(last_run)" --yes --discard-new-writes
t_is "$t_status" 137 'killed when both were renamed'
t_exit 0 "$HOLDFAST" resume "$(last_run)"
t_match "$("$HOLDFAST" status "$(last_run)")" "the one that served until now is kept as \"app_upgraded_$(tag)\""
t_is "$(app 'SELECT count(*) FROM orders') $(psql -XAtqd app_else -c 'SELECT count(extra) FROM orders')" '100 0'

t_begin what_is_new_in_the_new_version_is_a_comment_in_the_file
# shellcheck disable=SC2016 # of the plan
# shellcheck disable=SC2016 # not for the shell
sed -i 's/statements: \[.*\]/statements: ["CREATE TABLE fresh (id int PRIMARY KEY, \\"new\\nline\\" text)", "CREATE TABLE none (id int GENERATED ALWAYS AS (1) STORED)"]/
	s/database.mark, with: {/& before: "${steps.keep.mark}",/' "$T_TMP/plan.yaml"
sed -i 's/database.savepoint, with.*/database.savepoint, with: { database: dbname=app } }/' "$T_TMP/plan.yaml"
upgrade
app "INSERT INTO fresh VALUES (1, 'x'); INSERT INTO none DEFAULT VALUES; INSERT INTO log VALUES ('late')"
rollback 0 --save-new-writes "$T_TMP/fresh.sql"
t_match "$(cat "$T_TMP/fresh.sql")" 'It has no column that can be written: its rows are not in this file.'
t_exit 0 psql -Xq -v ON_ERROR_STOP=1 -d app -f "$T_TMP/fresh.sql"
t_is "$(app "SELECT count(*) FROM log WHERE line = 'late'")" 1 'the rest is brought back'
app $'CREATE TABLE fresh (id int PRIMARY KEY, "new\nline" text)'
sed -i '/^-- CREATE TEMPORARY TABLE/,/^$/ s/^-- //' "$T_TMP/fresh.sql"
sed -i '/"public"."log"/,/^$/d' "$T_TMP/fresh.sql"
t_exit 0 psql -Xq -v ON_ERROR_STOP=1 -d app -f "$T_TMP/fresh.sql"
t_is "$(app 'TABLE fresh')" '1|x'

t_begin without_a_fence_who_is_connected_is_told
pg_sql 'CREATE ROLE clerk LOGIN SUPERUSER' >/dev/null
upgrade
PGAPPNAME='night job' psql -XAtq -U clerk -d app -c 'SELECT pg_sleep(60)' >/dev/null 2>&1 &
is_there() { [ "$(pg_sql "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'night job' AND state = 'active'")" = 1 ]; }
t_wait 10 is_there
t_exit 0 "$HOLDFAST" run "$T_TMP/again.yaml" --stack app -d app
t_match "$t_err" 'warning: no fence stands around database "app", and somebody is connected: process [0-9]+ of user "clerk" \(application "night job"\); what is written before the new version is started cannot be told from the migration'
wait
