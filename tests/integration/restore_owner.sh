#!/usr/bin/env bash
# A role that is no superuser restores what a superuser has given to roles that may create nothing where it lies.
# shellcheck source-path=SCRIPTDIR/../lib
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/t.sh
unset "${!HOLDFAST_@}"
. tests/lib/pg.sh

HOLDFAST=${HOLDFAST:-$PWD/build/holdfast}
export HOLDFAST_STATE_DIR=$T_TMP/state
owners() { pg_sql "SELECT string_agg(relname || ' ' || relowner::regrole, ', ' ORDER BY relname) FROM pg_class c
	JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'Sales' AND relkind IN ('r', 'S', 'v')" -d "$1"; }
acls() { pg_sql "SELECT string_agg(COALESCE(acldefault('n', nspowner), nspacl)::text || COALESCE(nspacl, acldefault('n', nspowner))::text, '')
	FROM pg_namespace WHERE nspname = 'Sales'" -d "$1"; }

pg_start main
psql -XAtq -v ON_ERROR_STOP=1 <<'SQL'
CREATE ROLE keeper;
CREATE ROLE clerk;
CREATE ROLE late;
CREATE ROLE restorer LOGIN CREATEDB IN ROLE keeper, clerk, late;
CREATE DATABASE app OWNER restorer;
\c app
CREATE SCHEMA "Sales" AUTHORIZATION keeper;
CREATE TABLE "Sales".orders (id serial PRIMARY KEY);
ALTER TABLE "Sales".orders OWNER TO clerk;
CREATE VIEW "Sales".all_orders AS SELECT * FROM "Sales".orders;
ALTER VIEW "Sales".all_orders OWNER TO clerk;
CREATE FUNCTION "Sales".f() RETURNS int LANGUAGE sql AS 'SELECT 1';
ALTER FUNCTION "Sales".f() OWNER TO clerk;
INSERT INTO "Sales".orders SELECT FROM generate_series(1, 10);
GRANT CREATE, USAGE ON SCHEMA "Sales" TO late;
CREATE TABLE "Sales".later (a int);
ALTER TABLE "Sales".later OWNER TO late;
GRANT USAGE ON SCHEMA "Sales" TO clerk;
SQL
t_exit 0 "$HOLDFAST" -q backup -d app -r "$T_TMP/repository"

t_begin what_a_superuser_gave_away_is_restored_by_others_too
t_exit 0 "$HOLDFAST" -q restore latest -d app -U restorer -r "$T_TMP/repository" --target-db copy
t_is "$(owners copy)" "$(owners app)"
t_is "$(owners copy)" 'all_orders clerk, later late, orders clerk, orders_id_seq clerk'
t_is "$(pg_sql 'SELECT proowner::regrole FROM pg_proc WHERE proname = '"'f'" -d copy)" clerk
t_is "$(pg_sql 'SELECT count(*) FROM "Sales".all_orders' -d copy)" 10

t_begin nobody_may_more_than_before
t_is "$(pg_sql "SELECT has_schema_privilege('clerk', 'Sales', 'CREATE'), has_schema_privilege('late', 'Sales', 'CREATE')" -d copy)" 'f|t'
t_is "$(acls copy)" "$(acls app)"

t_begin without_membership_it_is_told_before_anything_is_made
pg_sql 'REVOKE clerk FROM restorer'
t_exit 10 "$HOLDFAST" -q restore latest -d app -U restorer -r "$T_TMP/repository" --target-db other
t_match "$t_err" 'Role "restorer" is no member of role "clerk"'
