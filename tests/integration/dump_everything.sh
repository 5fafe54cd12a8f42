#!/usr/bin/env bash
# The dump of a database that holds one of everything: what is copied, what is listed as left out, and that psql restores it.
# shellcheck source-path=SCRIPTDIR/../lib
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/t.sh
. tests/lib/pg.sh

probe=$HOLDFAST_BUILD/tests/integration/dump_probe
here=tests/integration
out=$T_TMP/out

# An extension with a configuration table; it must lie in the server's own directory, which all servers of this host share: so it has
# a name of this run's own, and what a killed run has left there goes first.  0 when it could be put there.
extension=holdfast_config_$$
remove_leftover_extensions() { # DIR
	local file pid
	for file in "$1"/holdfast_config_*; do
		pid=${file##*/holdfast_config_}
		pid=${pid%%[-.]*}
		[ -d "/proc/$pid" ] || rm -f -- "$file"
	done
}
install_extension() {
	local dir
	dir=$(pg_sql "SELECT setting FROM pg_config WHERE name = 'SHAREDIR'")/extension
	[ -w "$dir" ] || return 1
	remove_leftover_extensions "$dir"
	t_defer rm -f "$dir/$extension.control" "$dir/$extension--1.0.sql"
	cat >"$dir/$extension--1.0.sql" <<'SQL'
CREATE TABLE config_rows (name text, by_user boolean);
INSERT INTO config_rows VALUES ('shipped', false);
CREATE TABLE config_other (name text);
INSERT INTO config_other VALUES ('not configuration');
CREATE SEQUENCE config_sequence;
SELECT pg_catalog.pg_extension_config_dump('config_rows', 'WHERE by_user');
SELECT pg_catalog.pg_extension_config_dump('config_sequence', '');
SQL
	printf '%s\n' "comment = 'configuration table for tests'" "default_version = '1.0'" "relocatable = false" >"$dir/$extension.control"
}

# The large row; FULL=1: of more than 100 MB.
if [ -n "${FULL:-}" ]; then big=106000000; else big=30000000; fi
pg_start main wal_level=logical max_locks_per_transaction=128
pg_as mkdir "$PG_ROOT/space"
pg_sql "CREATE TABLESPACE ev_space LOCATION '$PG_ROOT/space'"
has_config=0
install_extension && has_config=1
pg_sql "CREATE DATABASE everything TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8'"
psql -qX -d everything -v tablespace=ev_space -v big=$big -v extension="$extension" -f "$here/sql/everything.sql" >"$T_TMP/fixture.log" 2>&1 || {
	cat "$T_TMP/fixture.log" >&2
	exit 1
}
pg_sql "SELECT pg_create_logical_replication_slot('ev_slot', 'test_decoding')" -d everything >/dev/null

t_begin preflight_of_a_sound_database_finds_nothing
t_ok "$probe" -P -d dbname=everything
t_is "$t_err" ''

t_begin everything_is_dumped
t_ok "$probe" -d dbname=everything -j 3 "$out"
report=$(cat "$out/report.txt")

# has LINE-START: some line of the report begins so
has() {
	if grep -qF -- "$1" <<<"$report"; then
		t_pass "$1"
	else
		t_fail "$1" "$(grep -F -- "${1%%|*}|" <<<"$report" | head -n 60)"
	fi
}
hasnt() {
	if grep -qF -- "$1" <<<"$report"; then
		t_fail "not there: $1"
	else
		t_pass "not there: $1"
	fi
}

t_begin every_built_in_type_is_there
# All of pg_catalog's but those that have no input: what planner, statistics and index support keep for themselves.
t_is "$(pg_sql "SELECT string_agg(t.typname, ' ' ORDER BY 1) FROM pg_type t WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype IN ('b', 'r', 'm')
	AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid) AND typname !~ '^pg_(node_tree|ndistinct|dependencies|mcv_list|brin_.*)\$'
	AND NOT EXISTS (SELECT FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid WHERE relnamespace = 'app'::regnamespace AND relkind = 'r'
	AND atttypid = t.oid)" -d everything)" '' 'types of no column'

t_begin rows_of_every_shape_of_table_are_there
has 'table|app|more_types|table|2|'
has 'table|app|types|table|8|'
has 'table|app|scripts|table|23|'
has 'table|app|plain|table|4706|'
has 'table|app|empty|table|0|0|0|'
has 'table|app|no_columns|table|7|7|'
has 'table|app|all_dropped|table|2|2|'
has 'table|app|duplicates|table|1000|'
has 'table|app|big_row|table|3|'
has 'table|app|unlogged|unlogged table|100|'
has 'table|app|of_type|table|1|'
has 'table|app|elsewhere|table|10|'
has 'table|Mixed Case "quoted" schéma|Tàble with "quotes", comma. dot|table|1|'
has 'table|app|a23456789012345678901234567890123456789012345678901234567890123|table|1|'
has "table|app|it's; DROP TABLE x --|table|1|"

t_begin columns_are_those_that_copy_can_write
t_match "$report" $'table\\|app\\|dropped\\|table\\|2\\|[^\n]*\\|a,b,c,d\n' 'dropped columns are not there'
t_match "$report" $'table\\|app\\|generated\\|table\\|50\\|[^\n]*\\|a,c\n' 'generated columns are not there'
t_match "$report" $'table\\|app\\|part_us\\|table\\|300\\|[^\n]*\\|v,at,region,id\n' 'a partition has its own order of columns'

t_begin partitions_and_children_have_their_own_rows_once
for line in part_eu_2025_0\|table\|166 part_eu_2025_1\|table\|134 part_default\|table\|300 parent\|table\|1 child\|table\|2 grandchild\|table\|1; do
	has "table|app|$line|"
done
hasnt 'table|app|part|'
hasnt 'table|app|part_eu|'
hasnt 'table|app|part_eu_2025|'
hasnt 'temporary_one'

t_begin sequences_have_their_values
has 'sequence|app|plain_id_seq|5000|1'
has 'sequence|app|identities_a_seq|140|1'
has 'sequence|app|identities_b_seq|5|1'
has 'sequence|app|identities_c_seq|5|1'
has 'sequence|app|alone|488|1'
has 'sequence|app|never_called|42|0'
has 'sequence|Mixed Case "quoted" schéma|Séquence "x"|9223372036854775806|1'

t_begin large_objects_are_rows_and_empty_ones_too
has 'table|||large objects|10|'
# 262144 bytes a row; 900003 has 800000
t_is "$(cut -f 1,2 "$out"/large-objects/*.copy | sort | paste -sd ' ')" $'900001\t0 900002\t0 900003\t0 900003\t262144 900003\t524288 900003\t786432 900004\t0 900004\t262144 900004\t524288 900004\t786432' \
	'slices'

t_begin what_is_not_copied_is_listed
has 'left out|materialized view|app|z_first|computed again by the restore'
has 'left out|materialized view|app|unpopulated|not populated'
has 'left out|foreign table|app|foreign_one|rows live on another server'
has 'left out|replication slot||ev_slot|'

t_begin materialized_views_are_ordered_by_what_they_read
t_is "$(grep '^matview' <<<"$report" | paste -sd ' ')" 'matview|app|z_first|1 matview|app|a_second|1 matview|app|unpopulated|0'

if [ "$has_config" -eq 1 ]; then
	t_begin configuration_of_an_extension_is_dumped_by_its_condition
	has 'table|app|config_rows|extension configuration table|2|'
	has 'sequence|app|config_sequence|4|1'
	has 'left out|table|app|config_other|belongs to an extension that does not mark it as configuration'
fi

t_begin the_rest_of_the_inventory
has 'extension|hstore|'
has 'collation|app|by_c|libc'
has 'role|ev_owner|owner'
has 'role|ev_reader|grantee'
has 'role|ev_group|grantee'
has 'role|Ev "quoted" röle|grantee'
has 'role|postgres|owner'
has 'slot|ev_slot|test_decoding'
has 'publication|ev_publication'
has 'subscription|ev_subscription'
has 'tablespace|ev_space'
# shellcheck disable=SC2016 # not ours to expand
has 'setting||search_path=app, "$user", public'
has "setting||app.custom=it's \\ custom"
has 'setting|ev_reader|statement_timeout=11s'
has 'acl|ev_reader=T*c*/postgres'
has 'database|everything|postgres|UTF8|C.UTF-8|C.UTF-8|everything there is'

t_begin unlogged_rows_are_left_out_on_request
t_ok "$probe" -u -d dbname=everything "$T_TMP/unlogged"
report=$(cat "$T_TMP/unlogged/report.txt")
has 'left out|unlogged table|app|unlogged|unlogged tables are left out on request'
hasnt 'table|app|unlogged|unlogged table|100'

t_begin psql_restores_it_as_the_readme_says
pg_sql "DROP ROLE IF EXISTS ev_nobody"
createdb=$(sed -n 's/^ *createdb \(.*\) app$/createdb \1 restored/p' "$out/README")
t_ok bash -c "cd '$out' && $createdb && psql -X -d restored -v ON_ERROR_STOP=1 -f restore.sql"

t_begin restored_rows_are_equal_row_by_row
t_ok "$probe" -d dbname=everything -V dbname=restored
t_match "$t_out" '^[0-9]+ tables are equal$'

t_begin a_single_changed_row_is_noticed
pg_sql "UPDATE app.duplicates SET a = 2 WHERE ctid = '(0,5)'" -d restored
t_exit 8 "$probe" -d dbname=everything -V dbname=restored
t_match "$t_err" 'table "app.duplicates" differs: 1000 rows, not 1000'
pg_sql "UPDATE app.duplicates SET a = 1 WHERE a = 2" -d restored

t_begin pieces_of_a_table_add_up_to_the_table
t_ok "$probe" -p 8192 -l 65536 -j 4 -d dbname=everything -V dbname=restored "$T_TMP/pieces"
t_match "$(cat "$T_TMP/pieces/report.txt")" 'table\|app\|plain\|table\|4706\|268288\|[1-9][0-9]' 'many members'

t_begin restored_schema_is_the_same
for db in everything restored; do
	"$PG_BINDIR/pg_dump" -s -d $db | grep -v '^\\\(un\)\?restrict' >"$T_TMP/$db.sql"
done
t_ok diff "$T_TMP/everything.sql" "$T_TMP/restored.sql"

t_begin restored_values_beside_rows_are_the_same
same() {
	t_is "$(pg_sql "$2" -d restored)" "$(pg_sql "$2" -d everything)" "$1"
	t_isnt "$(pg_sql "$2" -d everything)" '' "$1: something is compared"
}
same sequences "SELECT schemaname, sequencename, last_value FROM pg_sequences ORDER BY 1, 2"
same 'the next value' "SELECT nextval('app.alone'), nextval('app.never_called')"
same 'large objects' "SELECT oid, lomowner::regrole, (SELECT array_agg(a ORDER BY a::text) FROM unnest(lomacl) a), md5(lo_get(oid)), obj_description(oid, 'pg_largeobject') FROM pg_largeobject_metadata ORDER BY 1"
same 'materialized views' "SELECT n, total, n2 FROM app.z_first, app.a_second"
same 'unpopulated view' "SELECT relispopulated FROM pg_class WHERE relname = 'unpopulated'"
same 'database settings' "SELECT unnest(setconfig) FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase WHERE datname = current_database() ORDER BY 1"
same 'database privileges' "SELECT a FROM pg_database, unnest(datacl) a WHERE datname = current_database() ORDER BY a::text"
same 'database comment' "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()"
[ "$has_config" -eq 0 ] || same 'extension configuration' "SELECT * FROM app.config_rows ORDER BY 1"

t_begin missing_roles_are_made_and_existing_ones_left_alone
pg_start other max_locks_per_transaction=128
pg_as mkdir "$PG_ROOT/space2"
pg_sql "CREATE TABLESPACE ev_space LOCATION '$PG_ROOT/space2'"
pg_sql "CREATE ROLE ev_group CREATEDB"
t_ok bash -c "cd '$out' && $createdb && psql -X -d restored -v ON_ERROR_STOP=1 -f restore.sql"
t_is "$(pg_sql "SELECT rolcreatedb FROM pg_roles WHERE rolname = 'ev_group'")" t 'ev_group kept its attribute'
t_is "$(pg_sql "SELECT rolname, rolconfig FROM pg_roles WHERE rolname ~* '^ev.(owner|reader|.quoted)' ORDER BY 1" | paste -sd ' ')" \
	'Ev "quoted" röle| ev_owner| ev_reader|{work_mem=8MB}' 'roles and settings'
t_is "$(pg_sql "SELECT pg_has_role('ev_owner', 'ev_group', 'MEMBER')")" t 'membership'
