#!/usr/bin/env bash
# Everything that would make an upgrade fail later is told at once, and nothing is touched.
# shellcheck source=../lib/t.sh
. tests/lib/t.sh
unset "${!HOLDFAST_@}" "${!PG@}" XDG_CONFIG_HOME
# shellcheck source=../lib/pg.sh
. tests/lib/pg.sh
HOLDFAST=${HOLDFAST:-$PWD/build/holdfast}
export HOME=$T_TMP/home HOLDFAST_STATE_DIR=$T_TMP/state
mkdir "$HOME"
pg_start main wal_level=logical max_prepared_transactions=2 || exit 1
pg_sql 'CREATE ROLE owner LOGIN CREATEDB' && pg_sql 'CREATE DATABASE app OWNER owner'
psql -XAtqd app -c 'CREATE TABLE orders AS SELECT generate_series(1, 100) id'

# preflight STATUS PARAMETERS: a plan of this step; OPTION…
preflight() {
	printf '%s\n' 'name: play' 'steps:' "- { id: pre, uses: upgrade.preflight, with: { database: ${database:-dbname=app}, $2 } }" \
		"- { id: change, uses: exec, when: \"\${change}\", with: { argv: [false] } }" \
		'parameters: { change: { type: bool, default: false } }' >"$T_TMP/plan.yaml"
	t_exit "$1" "$HOLDFAST" run "$T_TMP/plan.yaml" --stack app -d app "${@:3}"
}
outputs() { grep -h '"step.done".*"pre"' "$HOLDFAST_STATE_DIR/runs/$("$HOLDFAST" runs | awk 'NR == 2 { print $1 }')/journal"; }

t_begin nothing_in_the_way
preflight 0 'version: 1.2.0, from: 1.1.9'
t_match "$(outputs)" '"same":false.*"from":"1.1.9","major":false'
preflight 0 'version: 1.2.0, from: 1.1.9' --dry-run

t_begin versions
preflight 0 'version: v1.2.0, from: 1.2.0'
t_match "$(outputs)" '"same":true'
t_match "$t_err" 'version "v1.2.0" is in service already'
preflight 10 'version: 2.0.0, from: 1.9.9'
t_match "$t_err" 'error:  cannot upgrade to version "2.0.0": 1 thing stands in the way
detail: From version "1.9.9" to "2.0.0" is a major step.
hint:   Read the release notes, then use --accept-major.'
preflight 0 'version: 2.0.0, from: 1.9.9, accept_major: true'
t_match "$(outputs)" '"major":true'
preflight 10 'version: 1.2.0'
t_match "$t_err" 'detail: The version in service is not known: a rollback would not know where to go.'
preflight 10 'version: 1.10.0, from: 1.11.0'
t_match "$t_err" 'detail: Version "1.10.0" is older than "1.11.0", which is in service: it may not know the database'\''s schema.'

t_begin everything_in_the_way_at_once
psql -XAtqd app -c "SELECT pg_create_logical_replication_slot('feed', 'pgoutput'), pg_create_logical_replication_slot('idle', 'pgoutput')" >/dev/null
psql -XAtqd app -c 'CREATE PUBLICATION everything FOR ALL TABLES'
pg_recvlogical -d app --slot feed --start -f /dev/null -o proto_version=1 -o publication_names=everything 2>/dev/null &
feed=$!
is_fed() { [ "$(pg_sql "SELECT active FROM pg_replication_slots WHERE slot_name = 'feed'")" = t ]; }
t_wait 10 is_fed
psql -XAtqd app -c "BEGIN; INSERT INTO orders VALUES (0); PREPARE TRANSACTION 'half'"
exec {hold}> >(PGAPPNAME='the report' psql -XAtqd app >/dev/null 2>&1)
printf 'BEGIN; SELECT count(*) FROM orders;\n' >&"$hold"
is_held() { [ "$(pg_sql "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' AND now() - xact_start > '1s'")" = 1 ]; }
t_wait 10 is_held
database="'user=owner dbname=app'" preflight 10 'version: 2.0.0, from: 1.9.9, max_transaction_age: 500ms, fence: true'
t_match "$t_err" 'cannot upgrade to version "2.0.0": 4 things stand in the way'
t_match "$t_err" 'role "owner" may not see what [0-9]+ other sessions? of database "app" do: long transactions among them are not found'
t_match "$t_err" 'process [0-9]+ of superuser "postgres" \(application "the report"\) is in database "app", and role "owner" may not end it: while it is there'
t_match "$t_err" 'Role "owner" is no superuser: a fence around database "app" would keep it out, too.'
t_match "$t_err" 'From version "1.9.9" to "2.0.0" is a major step.'
database=dbname=app preflight 10 'version: 2.0.0, from: 1.9.9, max_transaction_age: 500ms'
t_match "$t_err" 'Process [0-9]+ \(user "postgres", application "the report", idle in transaction\) has had a transaction open for 00:00:[0-9]+; its query of 2[0-9TZ:-]+: SELECT count\(\*\) FROM orders;'
t_match "$t_err" 'Transaction "half" of "postgres" has been prepared since 2'
t_match "$t_err" 'Logical replication slot "feed" is in use by process [0-9]+.'
t_match "$t_err" 'hint:   Read the release notes, then use --accept-major. Let long transactions end, or end them by pg_terminate_backend\(\). Commit or roll back prepared transactions. Stop the consumers of logical replication slots.'
t_match "$t_err" 'logical replication slot "idle" \(pgoutput\) belongs to the database in service now'
database=dbname=app preflight 10 'version: 2.0.0, from: 1.9.9, max_transaction_age: 500ms' --dry-run
database=dbname=app preflight 10 'version: 1.10, from: 1.9.9, max_transaction_age: 1h'
t_nomatch "$t_err" 'Process [0-9]+ \(' 'a younger transaction is in nobody'\''s way'
printf 'ROLLBACK;\n\\q\n' >&"$hold"
kill "$feed"
psql -XAtqd app -c "ROLLBACK PREPARED 'half'"
is_idle() { ! is_fed; }
t_wait 10 is_idle
psql -XAtqd app -c "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots" >/dev/null

t_begin subscriptions
psql -XAtqd app -c "CREATE SUBSCRIPTION feed CONNECTION 'dbname=nowhere host=/nowhere' PUBLICATION p WITH (connect = false)" \
	-c 'ALTER SUBSCRIPTION feed ENABLE' 2>/dev/null
preflight 10 'version: 1.2.0, from: 1.1.9'
t_match "$t_err" 'Subscription "feed" is enabled: it would go on in the database that was put aside, and what it receives would be there alone.
hint:   Disable subscriptions \(ALTER SUBSCRIPTION … DISABLE\) until it is over.'
psql -XAtqd app -c 'ALTER SUBSCRIPTION feed DISABLE'
preflight 0 'version: 1.2.0, from: 1.1.9'
t_match "$t_err" 'warning: subscription "feed" belongs to the database in service now'
psql -XAtqd app -c 'ALTER SUBSCRIPTION feed SET (slot_name = NONE)' -c 'DROP SUBSCRIPTION feed'

t_begin a_role_that_could_not_put_it_back
psql -XAtqd app -c 'CREATE ROLE app_user LOGIN' -c "CREATE FUNCTION hidden() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'" \
	-c "CREATE FUNCTION ours(text) RETURNS int LANGUAGE internal AS 'textlen' STRICT" -c "CREATE EXTENSION pageinspect" \
	-c "CREATE FUNCTION audited() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'" \
	-c 'CREATE EVENT TRIGGER audit ON sql_drop EXECUTE FUNCTION audited()' -c 'GRANT SELECT ON orders TO owner'
for method in copy restore; do
	database="'user=app_user dbname=app'" preflight 10 "version: 1.2.0, from: 1.1.9, method: $method"
	t_match "$t_err" 'Role "app_user" may not create databases: it could not put database "app" back.' "$method"
	t_match "$t_err" 'Database "app" belongs to role "owner", of which role "app_user" is no member: it could not rename it.'
	t_match "$t_err" 'hint:   Let the role create databases \(ALTER ROLE … CREATEDB\). Make the role a member of the database'\''s owner \(GRANT\).'
done
preflight='version: 1.2.0, from: 1.1.9, method: restore'
database="'user=owner dbname=app'" preflight 10 "$preflight"
t_match "$t_err" 'cannot upgrade to version "1.2.0": 5 things stand in the way'
t_match "$t_err" 'detail: Role "owner" is no member of role "postgres", which owns things in the backup \(GRANT it, restore as a superuser'
t_match "$t_err" 'Extension "pageinspect" can be created by a superuser only, which role "owner" is not.'
t_match "$t_err" 'Event trigger "audit" can be created by a superuser only, which role "owner" is not.
 +Function "ours\(text\)" can be created by a superuser only, which role "owner" is not.
 +Publication "everything" can be created by a superuser only, which role "owner" is not.
hint:   What cannot be restored cannot be put back: connect as a superuser, or have a copy kept \("put_back: copy"\).'
psql -XAtqd app -c 'DROP EVENT TRIGGER audit; DROP FUNCTION ours; DROP EXTENSION pageinspect; DROP PUBLICATION everything'
database="'user=owner dbname=app'" preflight 10 "$preflight"
t_match "$t_err" ': 1 thing stands in the way'
for more in 'no_owner: true' 'map_role: { postgres: owner }' 'skip_backup: true' 'method: copy' 'method: none'; do
	given=$preflight
	[[ $more != method* ]] || given=${given/, method: restore/}
	database="'user=owner dbname=app'" preflight 0 "$given, $more"
done
preflight 0 "$preflight"

t_begin what_only_its_maker_could_make_again
# superusers_only WHAT SQL…: done by one, WHAT is in the way of the owner
superusers_only() {
	pg_sql "CREATE DATABASE of_owner OWNER owner"
	psql -XAtqU owner -d of_owner -c 'CREATE TABLE t (i int)' -c 'CREATE SCHEMA s' -c "CREATE TYPE mood AS ENUM ('good')" \
		-c 'CREATE CAST (mood AS int) WITH INOUT' -c 'CREATE TYPE span AS RANGE (subtype = date)' -c "SELECT lo_create(0)" >/dev/null \
		-c 'ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC' -c 'CREATE EXTENSION citext' -c 'CREATE PUBLICATION own FOR TABLE t'
	[ "$#" -eq 1 ] || psql -XAtqd of_owner -c "$2" >/dev/null
	database="'user=owner dbname=of_owner'" preflight "$([ -z "$1" ] && echo 0 || echo 10)" "$preflight"
	[ -z "$1" ] || t_match "$t_err" "$1"
	pg_sql 'DROP DATABASE of_owner'
}
by_postgres='Role "owner" is no member of role "postgres", which owns things'
superusers_only ''
superusers_only "$by_postgres" 'ALTER SCHEMA public OWNER TO postgres'
superusers_only "$by_postgres" 'ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC'
superusers_only "$by_postgres" "CREATE TYPE of_postgres AS ENUM ('a')"
superusers_only "$by_postgres" 'SELECT lo_create(4711)'
superusers_only 'Cast "money AS bigint" can be created by a superuser only' 'CREATE CAST (money AS bigint) WITHOUT FUNCTION'
superusers_only 'detail: Function "f\(\)" can be' "CREATE FUNCTION f() RETURNS int LANGUAGE sql LEAKPROOF AS 'SELECT 1'; ALTER FUNCTION f OWNER TO owner"
superusers_only 'Publication "p" can be' 'CREATE PUBLICATION p FOR TABLES IN SCHEMA s'

t_begin a_member_without_the_privileges_of_the_owner
psql -XAtqd app -c 'CREATE ROLE cautious LOGIN NOINHERIT CREATEDB' -c 'GRANT owner TO cautious' -c 'GRANT SELECT ON orders TO cautious'
for method in copy restore; do
	database="'user=cautious dbname=app'" preflight 10 "version: 1.2.0, from: 1.1.9, method: $method"
	t_match "$t_err" 'Database "app" belongs to role "owner", whose privileges role "cautious" does not inherit: it could not rename it.' "$method"
	t_match "$t_err" 'hint:   Let the role inherit what the database'\''s owner may \(ALTER ROLE … INHERIT; from'
done
psql -XAtqd app -c 'ALTER ROLE cautious INHERIT'
database="'user=cautious dbname=app'" preflight 0 'version: 1.2.0, from: 1.1.9, method: copy'
psql -XAtqd app -c 'ALTER ROLE cautious NOINHERIT'
printf '%s\n' 'name: play' 'on_failure: rollback' 'steps:' \
	"- { id: keep, uses: database.savepoint, with: { database: 'user=cautious dbname=app' } }" >"$T_TMP/plan.yaml"
t_exit 7 "$HOLDFAST" run "$T_TMP/plan.yaml" --stack app -d app
t_match "$t_err" 'must be owner of database app'
t_match "$t_err" 'keep: undone'

t_begin a_disk_that_is_too_small
filler=$PGDATA/base/$(pg_sql "SELECT oid FROM pg_database WHERE datname = 'app'")/filler
truncate -s 8T "$filler"
preflight 10 'version: 1.2.0, from: 1.1.9'
t_match "$t_err" 'detail: The disk of the server has no room for a copy of database "app".  The database has 8388[0-9]+ MiB, '
preflight 0 "$preflight"
t_match "$t_err" 'warning: the disk of the server has no room for a copy of database "app", nor for its backup set, which the way back restores beside it.  The database has 8388[0-9]+ MiB, '
rm "$filler"

t_begin the_age_of_the_newest_backup_is_told
more="version: 1.2.0, from: 1.1.9, stack: app, repository: [$T_TMP/repository, $T_TMP/none]"
preflight 0 "$more"
t_match "$t_err" 'stack "app" has no backup set yet'
t_exit 0 "$HOLDFAST" -q backup -d app -r "$T_TMP/repository" --stack app
preflight 0 "$more, rpo: 1h"
t_nomatch "$t_err" 'which is more than'
t_match "$(outputs)" '"newest_backup":"2[0-9TZa-f-]+","newest_backup_age_ms":[0-9]+'
preflight 0 "$more, rpo: 1ms"
t_match "$t_err" 'the newest backup set "2[^"]+" is [0-9.]+m?s old, which is more than 1ms'

t_begin a_server_that_does_not_answer
pg_stop main
t_run "$HOLDFAST" run "$T_TMP/plan.yaml" --stack app -d app --lock-timeout 1s
t_match "$t_err" 'could not connect to server'
