#!/usr/bin/env bash
# Single tables in a backup: a partitioned table means its rows, which are in its partitions.
# shellcheck source-path=SCRIPTDIR/../lib
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/t.sh
unset "${!HOLDFAST_@}"
. tests/lib/pg.sh

HOLDFAST=${HOLDFAST:-$PWD/build/holdfast}
export HOLDFAST_STATE_DIR=$T_TMP/state
repository=$T_TMP/repository
tables() { pg_sql "SELECT string_agg(format('%I.%I', n.nspname, relname), ' ' ORDER BY n.nspname, relname) FROM pg_class c
	JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind IN ('r', 'p') AND nspname !~ '^pg_' AND nspname <> 'information_schema'" -d copy; }
# selected OPTION…: a backup of these tables, restored as database "copy"
selected() {
	pg_sql 'DROP DATABASE IF EXISTS copy' 2>/dev/null
	t_exit 0 "$HOLDFAST" -q backup -d app -r "$repository" "$@"
	t_exit 0 "$HOLDFAST" -q restore latest -d app -r "$repository" --target-db copy
}

pg_start main
pg_sql 'CREATE DATABASE app'
psql -XAtq -v ON_ERROR_STOP=1 -d app <<'SQL'
CREATE SCHEMA other;
CREATE TABLE events (id int, at int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (10);
CREATE TABLE other."Odd.""*name" PARTITION OF events FOR VALUES FROM (10) TO (20) PARTITION BY LIST (id);
CREATE TABLE other.deep PARTITION OF other."Odd.""*name" FOR VALUES IN (1);
CREATE TABLE other.deep_2 PARTITION OF other."Odd.""*name" DEFAULT;
CREATE TABLE "Odd.""xname" (a int);
CREATE TABLE other."Odd.""xname" (a int);
CREATE TABLE base (a int);
CREATE TABLE child () INHERITS (base);
INSERT INTO events SELECT g % 3, g FROM generate_series(0, 19) g;
INSERT INTO base VALUES (1);
INSERT INTO child VALUES (2);
SQL

t_begin a_partitioned_table_is_selected_with_its_partitions_on_all_levels
selected -t events
t_is "$(tables)" 'other."Odd.""*name" other.deep other.deep_2 public.events public.events_1'
t_is "$(pg_sql 'SELECT count(*), sum(at) FROM events' -d copy)" '20|190'

t_begin one_that_is_a_partition_itself_is_selected_with_its_own
selected -t 'other."Odd.""*name"'
t_is "$(tables)" 'other."Odd.""*name" other.deep other.deep_2'

t_begin a_partition_can_be_left_out
selected -t events -T other.deep_2
t_is "$(tables)" 'other."Odd.""*name" other.deep public.events public.events_1'
t_is "$(pg_sql 'SELECT count(*) FROM events' -d copy)" 14

t_begin a_table_that_others_inherit_from_is_selected_alone
selected -t base
t_is "$(tables)" public.base
t_is "$(pg_sql 'SELECT a FROM base' -d copy)" 1 'it has rows of its own'
