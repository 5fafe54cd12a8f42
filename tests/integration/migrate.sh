#!/usr/bin/env bash
# Schema migrations from a directory: names, order, drift, atomicity, a trial, what other tools have applied.
# shellcheck source=../lib/t.sh
. tests/lib/t.sh
# shellcheck source=../lib/migrate.sh
. tests/lib/migrate.sh

t_begin every_form_of_name_in_one_directory
fresh names
file 001_init.sql 'CREATE TABLE t (id int PRIMARY KEY, v text);' "INSERT INTO t SELECT g, 'x' FROM generate_series(1, 1000) g"
file 0002_more.up.sql 'ALTER TABLE t ADD COLUMN w int;' "DO \$\$ BEGIN RAISE NOTICE 'hello; %', 1; END \$\$;"
file 0002_more.down.sql 'DROP TABLE t;'
file V3__index.sql '-- holdfast: no-transaction' 'CREATE INDEX CONCURRENTLY t_v ON t (v);' 'VACUUM t;' 'UPDATE t SET w = 1'
file U3__index.sql 'DROP INDEX t_v;'
file V3_1__part.sql 'CREATE TABLE part ()'
file 4-dashes.sql '-- migrate:up' 'CREATE TABLE d ();' '-- migrate:down' 'DROP TABLE d;'
file 20261121120000.sql '-- migrate:up transaction:false' 'VACUUM d;' '-- migrate:down'
file R__views.sql 'CREATE OR REPLACE VIEW vv AS SELECT 1 AS a;'
file notes.txt 'no migration'
t_exit 0 "$HOLDFAST" migrate -d "$db" --dir "$d"
t_match "$t_out" 'VERSION +FILE +STATE.*001 +001_init.sql +pending.*- +R__views.sql +pending.*0 applied, 7 pending'
up 0
t_is "$(applied)" '001 0002 3 3.1 4 20261121120000 R__views'
t_match "$t_err" '0002_more.up.sql: NOTICE: hello; 1' 'notices are told'
t_match "$t_out" 'applied +7.version +- -> 20261121120000'
t_is "$(app "SELECT sum(w), (SELECT indisvalid FROM pg_index WHERE indexrelid = 't_v'::regclass) FROM t")" '1000|t'
t_is "$(app "SELECT bool_and(sha256 ~ '^[0-9a-f]{64}$' AND applied_by = 'postgres' AND duration_ms >= 0 AND run_id LIKE '%-migrate-%') FROM holdfast_migrations")" t
up 0
t_match "$t_out" 'applied +0' 'once is enough'
file R__views.sql 'CREATE OR REPLACE VIEW vv AS SELECT 2 AS a;'
up 0
t_is "$(app 'SELECT a FROM vv')" 2 'a repeatable one is repeated when it has changed'

t_begin drift_is_refused_by_name
file 001_init.sql 'CREATE TABLE other ();'
file 0002.5_late.sql 'CREATE TABLE late ()'
rm "$d/4-dashes.sql"
up 10
t_match "$t_err" $'error:  the directory and the database disagree about 3 migrations\ndetail: "001_init.sql": applied, and changed since\\.\n +"4-dashes.sql": applied, and not in the directory\\.\n +"0002.5_late.sql": not applied, though a later one is\\.\nhint: '
t_is "$(app "SELECT to_regclass('late')")" ''
t_exit 8 "$HOLDFAST" migrate status -d "$db" --dir "$d"
t_match "$t_out" '001_init.sql +changed .*0002.5_late.sql +out of order.*4-dashes.sql +missing .*5 applied, 0 pending, 3 in disagreement'
t_exit 8 "$HOLDFAST" migrate -d "$db" --dir "$d" --output json
t_is "$(psql -XAtqd postgres -v doc="$t_out" <<<"SELECT d #>> '{status}', d #>> '{drifted}', d #>> '{version}', d #>> '{migrations,2,state}'
	FROM (SELECT (:'doc')::jsonb AS d) x")" 'degraded|3|20261121120000|out of order'

t_begin a_failing_file_leaves_nothing_and_tells_where
fresh failing
file 1_a.sql 'CREATE TABLE a ();'
file 2_b.sql '-- one' 'CREATE TABLE b (id int);' '' "INSERT INTO b VALUES (1); -- ä" "  /* äö */ SELECT 'ä', nope FROM b;" 'CREATE TABLE c ();'
up 1
t_match "$t_err" "error:  2_b.sql:5:24: column \"nope\" does not exist \\(SQLSTATE 42703\\)"$'\n'"detail: Statement: SELECT 'ä', nope FROM b"
t_match "$t_err" 'Nothing of this file was kept; the files before it are applied'
t_is "$(applied) $(app "SELECT to_regclass('b')")" '1 '
file 2_b.sql 'CREATE TABLE b (id int);' 'INSERT INTO b VALUES (1);' 'SELECT 1 /' "(id - 1) FROM b;"
up 1
t_match "$t_err" 'error:  2_b.sql:3:1: division by zero \(SQLSTATE 22012\)' 'a failure without a place is told at its statement'
t_match "$t_err" 'earlier run "[^"]*" \(failed\): closed; this one goes on'
t_nomatch "$t_err" warning
rm "$d/1_a.sql" "$d/2_b.sql"
fresh atomic
file 1_a.sql 'CREATE TABLE a ();' 'SELECT nope;'
before=$(relations)
up 1
t_is "$(relations)" "$before" 'not even the table of what is applied'

t_begin what_cannot_be_part_of_a_migration_is_refused_before_anything_runs
fresh refused
file 1_a.sql 'CREATE TABLE a ();'
before=$(relations)
file 2_b.sql 'CREATE TABLE b (); COMMIT; CREATE TABLE c ();'
up 10
t_match "$t_err" 'error:  2_b.sql:1:20: a migration cannot begin or end a transaction itself'
file 2_b.sql "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; END; DO \$x\$ BEGIN PERFORM 1; END \$x\$; ROLLBACK TO SAVEPOINT s;"
up 1
t_match "$t_err" '2_b.sql:1:107: savepoint "s" does not exist \(SQLSTATE 3B001\)' 'BEGIN and END of bodies are none of these'
t_is "$(applied)" 1
rm "$d"/*.sql
file readme.sql 'SELECT 1'
up 2
t_match "$t_err" 'the name of file "readme.sql" in directory ".*" has no version'

t_begin a_dry_run_tries_everything_and_leaves_nothing
fresh dry
file 1_a.sql 'SET search_path = pg_catalog;' 'CREATE TABLE public.a (id int);'
file 2_b.sql '-- holdfast: no-transaction' 'INSERT INTO a VALUES (1);' 'CREATE INDEX CONCURRENTLY i ON a (id);' 'VACUUM a;'
file 3_c.sql 'CREATE TABLE c AS SELECT * FROM a;'
before=$(relations)
up 0 --dry-run
t_match "$t_out" 'tried +3 files, and rolled back'
t_match "$t_err" '2 statements of "2_b.sql" cannot run in a transaction and could not be tried'
t_is "$(relations)" "$before"
t_is "$(find "$HOLDFAST_STATE_DIR/runs" -name '*migrate*' -newer "$d/3_c.sql")" '' 'no run was begun'
file 3_c.sql 'SELECT nope'
up 1 --dry-run
t_match "$t_err" '3_c.sql:1:8: column "nope" does not exist'
file 3_c.sql 'CREATE TABLE c ();'
up 0 --to 2
t_is "$(applied)" '1 2'
t_exit 0 "$HOLDFAST" migrate -d "$db" --dir "$d" --to 2
t_match "$t_out" '3_c.sql +later.*2 applied, 0 pending, 1 later'
up 2 --to 9
t_match "$t_err" 'there is no migration with version "9" in directory'

t_begin what_other_tools_have_applied_is_adopted
adopted() { # NAME SQL VERSIONS FROM
	fresh "$1"
	app "CREATE TABLE a (); CREATE TABLE b (); $2"
	file 001_a.sql 'CREATE TABLE a ()'
	file 002_b.sql 'CREATE TABLE b ()'
	file 003_c.sql 'CREATE TABLE c ()'
	local theirs
	theirs=$(app "SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM $3 t")
	if [ "$1" = flyway ]; then
		t_exit 0 "$HOLDFAST" migrate -d "$db" --dir "$d"
		t_match "$t_out" "2 applied, 1 pending; adopted from $4 by the next" "$1 by status"
	fi
	up 0
	t_match "$t_out" "adopted +2 from $4" "$1 by up"
	t_is "$(app "SELECT string_agg(version || ':' || COALESCE(adopted_from, '-'), ' ' ORDER BY version) FROM holdfast_migrations")" \
		"001:${4//\\/} 002:${4//\\/} 003:-"
	t_is "$(app "SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM $3 t")" "$theirs" 'their table is as it was'
	file 002_b.sql 'CREATE TABLE changed ()'
	t_exit 8 "$HOLDFAST" migrate -d "$db" --dir "$d"
}
adopted golang "CREATE TABLE schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL); INSERT INTO schema_migrations VALUES (2, false)" \
	schema_migrations 'golang-migrate \(schema_migrations\)'
adopted dbmate "CREATE TABLE schema_migrations (version varchar PRIMARY KEY); INSERT INTO schema_migrations VALUES ('001'), ('002')" \
	schema_migrations 'dbmate \(schema_migrations\)'
adopted agledger "CREATE TABLE _migrations (id serial, name text); INSERT INTO _migrations (name) VALUES ('001_a.sql'), ('002_b')" \
	_migrations 'agledger \(_migrations\)'
adopted flyway "CREATE TABLE flyway_schema_history (installed_rank int PRIMARY KEY, version varchar(50), description varchar(200), type varchar(20),
		script varchar(1000), checksum int, installed_by varchar(100), installed_on timestamp DEFAULT now(), execution_time int, success bool);
	INSERT INTO flyway_schema_history VALUES (1, '1', '<< Flyway Baseline >>', 'BASELINE', '', NULL, 'me', now(), 0, true),
		(2, '2', 'b', 'SQL', 'V2__b.sql', 17, 'me', now(), 3, true), (3, '3', 'c', 'SQL', 'V3__c.sql', 5, 'me', now(), 1, true),
		(4, '3', 'c', 'UNDO_SQL', 'U3__c.sql', 5, 'me', now(), 1, true)" \
	flyway_schema_history 'flyway \(flyway_schema_history\)'
fresh dirty
app 'CREATE TABLE schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL); INSERT INTO schema_migrations VALUES (2, true)'
file 001_a.sql 'CREATE TABLE a ()'
up 10
t_match "$t_err" 'golang-migrate has left migration 2 half applied \(dirty\)'
app 'UPDATE schema_migrations SET dirty = false; CREATE TABLE _migrations (id int)'
up 10
t_match "$t_err" 'tables "_migrations" and "schema_migrations" both say which migrations are applied'
app 'DROP TABLE _migrations'
up 10
t_match "$t_err" '"2": applied, and not in the directory' 'what they applied must have a file'
configured "dir: $d" 'schema: elsewhere'
t_exit 10 "$HOLDFAST" --config "$T_TMP/holdfast.yaml" migrate up
t_match "$t_err" 'error:  schema "elsewhere" does not exist'
configured "dir: $d" 'adopt: none'
t_exit 0 "$HOLDFAST" --config "$T_TMP/holdfast.yaml" migrate up
t_is "$(applied)" '001'

t_begin a_role_that_owns_the_schema_and_no_more_is_enough
fresh plain
app "CREATE ROLE plain LOGIN; ALTER SCHEMA public OWNER TO plain; CREATE ROLE other; GRANT other TO plain; GRANT CREATE ON SCHEMA public TO other"
file 1_a.sql 'CREATE TABLE a (id int);' 'SET ROLE other;' 'CREATE TABLE b ();'
file 2_b.sql '-- holdfast: no-transaction' 'CREATE INDEX CONCURRENTLY i ON a (id);' 'SET ROLE other;' 'CREATE TABLE d ();' \
	'VACUUM d;' 'CREATE TABLE e ()'
file 3_c.sql 'CREATE TABLE c ();' 'VACUUM c;'
up 1 --username plain
t_match "$t_err" 'error:  3_c.sql:2:1: VACUUM cannot run inside a transaction block .SQLSTATE 25001.'
t_match "$t_err" 'hint:   Put it into a file of its own that begins with "-- holdfast: no-transaction"'
t_is "$(applied) $(app "SELECT string_agg(tablename || ':' || tableowner, ' ' ORDER BY tablename) FROM pg_tables WHERE schemaname = 'public'")" \
	'1 2 a:plain b:other d:other e:other holdfast_migrations:plain' 'what a file set for its session ends with it'

t_begin a_pooler_in_transaction_mode_is_refused
pooler=$PG_ROOT/pooler
pg_as mkdir "$pooler"
printf '%s\n' '"postgres" ""' >"$pooler/users"
printf '%s\n' '[databases]' "* = host=$PGHOST port=5432" '[pgbouncer]' 'listen_addr =' "unix_socket_dir = $pooler" 'listen_port = 6432' \
	'auth_type = trust' "auth_file = $pooler/users" 'pool_mode = transaction' "logfile = $pooler/log" "pidfile = $pooler/pid" >"$pooler/ini"
pg_as "$(command -v pgbouncer || echo /usr/sbin/pgbouncer)" "$pooler/ini" >/dev/null 2>&1 &
t_defer eval "kill \"\$(cat '$pooler/pid')\""
t_wait 20 psql -XAtq -h "$pooler" -p 6432 -d plain -c 'SELECT 1'
t_exit 10 "$HOLDFAST" migrate up -d "host=$pooler port=6432 dbname=plain" --dir "$d"
t_match "$t_err" 'database "plain" is reached through a pooler in transaction mode'

t_begin wrong_usage_is_told
t_exit 2 "$HOLDFAST" migrate sideways -d "$db" --dir "$d"
t_match "$t_err" 'cannot "sideways" migrations'
t_exit 2 "$HOLDFAST" migrate up -d "$db"
t_match "$t_err" 'stack "plain" has no migrations'
t_exit 2 "$HOLDFAST" migrate up -d "$db" --dir "$d/nowhere"
t_match "$t_err" 'could not read directory ".*/nowhere" of migrations: No such file or directory'
