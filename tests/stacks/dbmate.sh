#!/usr/bin/env bash
# The real dbmate (its program comes from npm): what it has applied is taken over, and gone on with exactly once; and as the command that
# migrates, instead of a directory, it tells its reason when it fails.
# shellcheck source=lib/common.sh
. "$(dirname "$0")/lib/common.sh"
npm_or_skip
stack_holdfast
npm_install_or_skip dbmate-2.36.0 dbmate@2.36.0
dbmate=$(echo "$npm_dir"/node_modules/@dbmate/*/bin/dbmate)
pg_start || exit 1
pg_sql 'CREATE DATABASE shop' || exit 1
url="postgres://postgres@localhost/shop?host=$PGHOST&sslmode=disable"
d=$T_TMP/migrations
mkdir "$d"
cat >"$d/20261101120000_orders.sql" <<'SQL'
-- migrate:up
CREATE TABLE orders (id int PRIMARY KEY, day date);
CREATE FUNCTION first_day() RETURNS date LANGUAGE sql AS $$ SELECT min(day) FROM orders; $$;

-- migrate:down
DROP FUNCTION first_day();
DROP TABLE orders;
SQL
cat >"$d/20261102120000_by_day.sql" <<'SQL'
-- migrate:up transaction:false
CREATE INDEX CONCURRENTLY orders_by_day ON orders (day);

-- migrate:down transaction:false
DROP INDEX orders_by_day;
SQL
shop() { PGDATABASE=shop pg_sql "$1"; }
migrate() { t_exit "$1" "$HOLDFAST" migrate "${@:2}" -d "$url" --dir "$d"; }
dbmate() { env DATABASE_URL="$url" "$dbmate" --migrations-dir "$d" --no-dump-schema "$@"; }

t_begin what_dbmate_has_applied_counts
t_exit 0 dbmate up
t_is "$(shop 'SELECT count(*) FROM schema_migrations')" 2 'dbmate has applied both'
migrate 0
t_match "$t_out" '2 applied, 0 pending; adopted from dbmate \(schema_migrations\) by the next "holdfast migrate up"'
t_is "$(shop "SELECT to_regclass('holdfast_migrations') IS NULL")" t 'looking changes nothing'

t_begin what_comes_next_is_applied_once
cat >"$d/20261103120000_first_order.sql" <<'SQL'
-- migrate:up
INSERT INTO orders SELECT count(*) + 1, '2026-11-03' FROM orders;

-- migrate:down
DELETE FROM orders;
SQL
t_match "$(dbmate status)" 'Pending: 1'
migrate 0
t_match "$t_out" '2 applied, 1 pending; adopted from dbmate'
migrate 0 up --dry-run
t_is "$(shop 'SELECT count(*) FROM orders')" 0 'a trial'
migrate 0 up
t_match "$t_out" 'adopted +2 from dbmate \(schema_migrations\)'
migrate 0 up
t_is "$(shop 'SELECT count(*) FROM orders')" 1 'once'
t_is "$(shop "SELECT string_agg(version || ' ' || COALESCE(adopted_from, '-'), ', ' ORDER BY version) FROM holdfast_migrations")" \
	'20261101120000 dbmate (schema_migrations), 20261102120000 dbmate (schema_migrations), 20261103120000 -'
t_is "$(shop "SELECT string_agg(version, ' ' ORDER BY version) FROM schema_migrations")" '20261101120000 20261102120000' "dbmate's table is only read"
migrate 0
t_match "$t_out" '3 applied, 0 pending'

t_begin what_dbmate_itself_fails_with_is_told
cat >"$T_TMP/holdfast.yaml" <<YAML
version: 1
repositories: { local: { url: "$T_TMP/repository" } }
stacks:
  shop:
    database: { url: "$url" }
    repositories: [local]
    migrations:
      command: [$dbmate, --migrations-dir, $d, --no-dump-schema, up, --strict]
      version_query: SELECT max(version) FROM schema_migrations
YAML
printf '%s\n' '-- migrate:up' 'ALTER TABLE missing ADD a int;' '-- migrate:down' >"$d/20261104120000_missing.sql"
shop "INSERT INTO schema_migrations VALUES ('20261103120000')"
t_exit 1 holdfast migrate up
t_match "$t_err" 'ended with exit status [1-9].*Applying: 20261104120000_missing.sql.*Error: pq: relation "missing" does not exist.*What it has printed is in file ".*/migrate.log"'
sed -i 's/missing ADD a/orders ADD a/' "$d/20261104120000_missing.sql"
t_exit 0 holdfast migrate up
t_match "$t_out" 'version +20261103120000 -> 20261104120000'
