#!/usr/bin/env bash
# Memory is bounded by the jobs, not by the data: 64 MiB and 16 MiB a job, for a table much larger than that and for many tables.
# FULL=1: twice the rows, more tables.
# shellcheck source-path=SCRIPTDIR/../lib
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/t.sh
. tests/lib/pg.sh

repository=$T_TMP/repository
limit_kib=$(((64 + 2 * 16) * 1024))
if [ -n "${FULL:-}" ]; then rows=1200000 tables=4000; else rows=600000 tables=1500; fi

# peak COMMAND…: memory of the process itself, its children apart
peak() {
	rm -f "$T_TMP/measured"
	t_ok "$HOLDFAST_BUILD/tests/bench/measure" "$T_TMP/measured" "$HOLDFAST" --state-dir "$T_TMP/state" -q "$@"
	peak_kib=$(grep -o '"peak_self_kib": *[0-9]*' "$T_TMP/measured" | grep -o '[0-9]*$')
}
within() {
	if [ "$peak_kib" -gt 0 ] && [ "$peak_kib" -le "$limit_kib" ]; then
		t_pass "$1: $peak_kib KiB"
	else
		t_fail "$1" "$peak_kib KiB, allowed are $limit_kib"
	fi
}

if grep -q "__[at]san_init" "$HOLDFAST"; then
	t_begin memory
	t_pass "not measured: the sanitizer has memory of its own"
	exit 0
fi

pg_start main autovacuum=off max_wal_size=4GB max_locks_per_transaction=512 || exit 1
pg_sql 'CREATE DATABASE large'
pg_sql "CREATE TABLE t AS SELECT g AS id, repeat(md5(g::text), 10) AS text FROM generate_series(1, $rows) g" -d large
t_begin a_large_table
peak backup --database dbname=large --repository "$repository"
within "backup of $((rows / 3000)) MB of rows"
peak restore latest --database dbname=large --repository "$repository" --target-db large2
within 'restore of it'

pg_sql 'CREATE DATABASE many'
pg_sql "DO \$\$ BEGIN FOR i IN 1..$tables LOOP EXECUTE format('CREATE TABLE t%s (id serial PRIMARY KEY, name text)', i); END LOOP; END \$\$" -d many
t_begin many_tables
peak backup --database dbname=many --repository "$repository"
within "backup of $tables tables"
peak restore latest --database dbname=many --repository "$repository" --target-db many2
within 'restore of them'
