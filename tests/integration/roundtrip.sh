#!/usr/bin/env bash
# The main job, as an operator does it: backup, damage, restore with proof and swap, on a database that holds everything a schema can
# hold; then into a named database, without owners, and onto a server that has never seen the database.
# shellcheck source-path=SCRIPTDIR/../lib
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/t.sh
. tests/lib/pg.sh

repository=$T_TMP/repository
hf() {
	"$HOLDFAST" --state-dir "$T_TMP/state" "$@"
}
# Everything pg_dump knows of a database, as a set of lines: rows of one table may be stored in another order.
state_of() {
	"$PG_BINDIR/pg_dump" "$@" | grep -vE '^\\(un)?restrict ' | LC_ALL=C sort
}
settings_of() {
	pg_sql "SELECT COALESCE(r.rolname, '-'), unnest(setconfig) FROM pg_db_role_setting s JOIN pg_database d ON d.oid = setdatabase
		LEFT JOIN pg_roles r ON r.oid = setrole WHERE datname = '$1' ORDER BY 1, 2"
	pg_sql "SELECT pg_get_userbyid(datdba), datacl, datconnlimit, datcollate, datctype, encoding, shobj_description(oid, 'pg_database')
		FROM pg_database WHERE datname = '$1'"
}
databases() {
	pg_sql "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE datname NOT LIKE 'template_'"
}
last_restore() {
	find "$T_TMP/state/runs" -name "*-restore-*" -printf "%f\n" | sort | tail -n 1
}
drop_subscription() {
	pg_sql 'ALTER SUBSCRIPTION ev_subscription SET (slot_name = NONE)' -d "$1"
	pg_sql 'DROP SUBSCRIPTION ev_subscription' -d "$1"
}

pg_start main max_prepared_transactions=2 wal_level=logical log_statement=ddl || exit 1
pg_sql 'CREATE DATABASE app'
psql -XAtq -v ON_ERROR_STOP=1 -d app -f tests/integration/sql/everything.sql >"$T_TMP/fixture.log" 2>&1 || {
	tail "$T_TMP/fixture.log"
	exit 1
}
# large enough to be kept from autovacuum while they are filled; one says itself that it wants none
pg_sql "CREATE TABLE public.large_one AS SELECT g AS id, repeat(md5(g::text), 4) AS t FROM generate_series(1, 20000) g;
	CREATE TABLE public.large_own WITH (autovacuum_enabled = off) AS SELECT * FROM public.large_one" -d app
pg_sql "ALTER DATABASE app SET work_mem = '7MB'"
pg_sql "ALTER ROLE postgres IN DATABASE app SET statement_timeout = '1h'"
pg_sql 'ALTER DATABASE app CONNECTION LIMIT 50'
before=$(state_of app)
settings_before=$(settings_of app)
database="dbname=app"

t_begin backup_writes_one_verified_set
t_exit 0 hf backup --database "$database" --repository "$repository"
t_is "$(find "$repository" -type f -printf '%f\n' | sort | tr '\n' ' ')" 'backup.tar.zst holdfast-repository.json manifest.json set.json ' \
	'the repository holds the set and nothing else'
t_is "$(find "$repository" -type f ! -perm 0600 -o -type d ! -perm 0700)" '' 'files are 0600, directories 0700'
t_exit 0 hf verify latest --stack app --repository "$repository"
t_exit 0 hf list --stack app --repository "$repository" --output json
t_match "$t_out" '"status": ?"done"' 'list tells its status as JSON'

t_begin restore_brings_everything_back_and_keeps_the_old_database
pg_sql 'DROP SCHEMA IF EXISTS public CASCADE' -d app 2>/dev/null
t_isnt "$(state_of app)" "$before" 'the damage is there'
t_exit 0 hf restore latest --database "$database" --repository "$repository" --yes
t_is "$(diff <(printf '%s\n' "$before") <(state_of app))" '' 'pg_dump tells the same as before the damage'
t_is "$(settings_of app)" "$settings_before" 'settings, owner, privileges, limit, locale and comment are as before'
kept=$(pg_sql "SELECT datname FROM pg_database WHERE datname LIKE 'app\\_before\\_%'")
t_isnt "$kept" '' 'the old database is kept'
t_match "$(pg_log main)" 'ALTER TABLE ONLY "public"."large_one" SET \(autovacuum_enabled = off' 'autovacuum was kept away meanwhile'
t_nomatch "$(pg_log main)" 'ALTER TABLE ONLY "public"."large_own" (RE)?SET' 'but not from a table that says what it wants'
t_is "$(databases)" "app $kept postgres" 'no other database is left'
t_is "$(pg_sql "SELECT count(*) FROM pg_namespace WHERE nspname = '_holdfast'" -d app)" 0 'nothing of the restore is left in it'
t_is "$(pg_sql "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'holdfast%'")" 0 'no session is left'

t_begin status_and_drop_old
t_exit 0 hf status --database "$database" --repository "$repository"
t_match "$t_out" "$kept" 'status lists the kept database'
t_exit 2 hf drop-old "$kept" --database "$database"
t_is "$(databases)" "app $kept postgres" 'without --yes nothing is dropped'
t_exit 10 hf drop-old "$kept" --database "$database" --yes
t_match "$t_err" 'has subscriptions: ev_subscription' 'a subscription, whose slot may be in use, stops it'
drop_subscription "$kept"
t_exit 0 hf drop-old "$kept" --database "$database" --yes
t_is "$(databases)" 'app postgres' 'it is dropped on purpose'
t_exit 2 hf drop-old app --database "$database" --yes
t_is "$(databases)" 'app postgres' 'a database that no restore kept is never dropped'

t_begin restore_into_a_named_database_swaps_nothing
t_exit 0 hf restore latest --target-db copy --database "$database" --repository "$repository" --yes
t_is "$(diff <(printf '%s\n' "$before") <(state_of copy))" '' 'the copy is equal'
t_is "$(databases)" 'app copy postgres' 'nothing was swapped'
t_exit 10 hf restore latest --target-db copy --database "$database" --repository "$repository" --yes
t_match "$t_err" '"copy"' 'a database that is not empty is refused by name'
drop_subscription copy
pg_sql 'DROP DATABASE copy'
pg_sql 'CREATE DATABASE copy TEMPLATE template0'
t_exit 0 hf restore latest --target-db copy --database "$database" --repository "$repository" --yes
t_is "$(diff <(printf '%s\n' "$before") <(state_of copy))" '' 'an empty one is used'
drop_subscription copy
pg_sql 'DROP DATABASE copy'

t_begin restore_onto_a_server_that_never_had_it
t_exit 0 hf restore latest --database "dbname=elsewhere" --stack app --repository "$repository" --yes
t_match "$t_out" 'in service    the restored database; there was none of that name before' 'and the summary says what it is now'
t_is "$(diff <(printf '%s\n' "$before") <(state_of elsewhere))" '' 'equal, under a name that did not exist'
t_is "$(databases)" 'app elsewhere postgres' 'nothing is kept where nothing was'

t_begin nothing_is_written_by_a_dry_run
was=$(databases)
runs=$(find "$T_TMP/state" -path '*/runs/*' -type d | wc -l)
t_exit 0 hf restore latest --dry-run --database "$database" --repository "$repository"
t_match "$t_out" 'postgres\.swap' 'the steps are printed'
t_is "$(databases)" "$was" 'no database was made'
t_is "$(find "$T_TMP/state" -path '*/runs/*' -type d | wc -l)" "$runs" 'no run was recorded'

t_begin damage_in_the_archive_is_found
archive=$(find "$repository" -name backup.tar.zst)
size=$(stat -c %s "$archive")
cp "$archive" "$T_TMP/good"
printf '\125\252\125' | dd of="$archive" bs=1 seek=$((size / 2)) conv=notrunc status=none
t_exit 3 hf verify latest --stack app --repository "$repository"
was=$(databases)
t_exit 3 hf restore latest --database "$database" --repository "$repository" --yes
t_is "$(state_of app | cmp - <(printf '%s\n' "$before"))" '' 'the database in service is untouched'
cp "$T_TMP/good" "$archive"
t_exit 0 hf abandon "$(last_restore)"
t_is "$(databases)" "$was" 'abandon removes what the failed restore made'
t_exit 0 hf verify latest --stack app --repository "$repository"

t_begin a_fence_that_a_kill_left_up_is_lifted_by_the_next_start
journal=$(grep -l '"status": *"done"' "$T_TMP"/state/runs/*-restore-*/journal | head -n 1)
record=$(grep -n '"type": *"step.checkpoint"' "$journal" | tail -n 1 | cut -d: -f1)
t_isnt "$record" '' 'the old connection limit is journaled'
HOLDFAST_CRASH_AT="journal:$record" t_exit 137 hf restore latest --database "$database" --repository "$repository" --yes
pg_sql 'ALTER DATABASE app CONNECTION LIMIT 0' # what the killed run would have done next
t_exit 0 hf backup --database "$database" --repository "$repository"
t_is "$(pg_sql "SELECT datconnlimit FROM pg_database WHERE datname = 'app'")" 50 'clients can come in again'
t_exit 0 hf resume --stack app
t_is "$(diff <(printf '%s\n' "$before") <(state_of app))" '' 'the killed restore still comes to its end'
t_is "$(pg_sql "SELECT datconnlimit FROM pg_database WHERE datname LIKE 'app%'")" $'50\n50' 'and leaves no fence'

t_begin a_restore_given_up_before_its_swap_leaves_nothing
was=$(databases)
HOLDFAST_CRASH_AT="journal:$record" t_exit 137 hf restore latest --database "$database" --repository "$repository" --yes
t_isnt "$(databases)" "$was" 'the filled database is there'
t_exit 0 hf abandon "$(last_restore)"
t_is "$(databases)" "$was" 'and goes with the run, though it carries no mark any more'
t_is "$(pg_sql "SELECT datconnlimit FROM pg_database WHERE datname = 'app'")" 50 'clients are let in'

t_begin a_statement_that_takes_long_is_no_hang
pg_sql 'CREATE DATABASE slow'
pg_sql "CREATE MATERIALIZED VIEW slow AS SELECT pg_sleep(CASE WHEN current_database() = 'slow' THEN 0 ELSE 13 END)::text AS t" -d slow
t_exit 0 hf backup --database dbname=slow --repository "$repository"
hf plan show restore | sed 's/stall: 2h/stall: 8s/; s/retries: 5/retries: 0/' >"$T_TMP/impatient.yaml"
t_is "$(grep -c 'stall: 8s' "$T_TMP/impatient.yaml")" 1 'the plan waits for eight seconds at most'
t_exit 0 hf run "$T_TMP/impatient.yaml" -p stack=slow -p database=dbname=slow -p repository="$repository" -p target_db=slow2 -p swap=false
t_is "$(pg_sql 'SELECT count(*) FROM slow' -d slow2)" 1 'the view is there'
