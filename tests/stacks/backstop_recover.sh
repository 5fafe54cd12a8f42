#!/usr/bin/env bash
# docs/examples/backstop as it stands: one table recovered beside the original, with another person's approval, while Backstop is paused; and
# the pause that ends whatever becomes of the plan.
# shellcheck source=lib/common.sh
. "$(dirname "$0")/lib/common.sh"
npm_or_skip # for node
stack_holdfast
# shellcheck source=runbook_lib.sh
. "$STACKS/runbook_lib.sh"
examples=$(realpath -- "$STACKS/../../docs/examples/backstop")
stack_server main || exit 1
stack_dir backstop backstop
dir=$stack_dir
port=$(stack_port)
# shellcheck disable=SC2016 # no variable
token='t0k"en$x y'
printf '%s\n' "PORT=$port" "HOLDFAST_DATABASE_URL=postgresql://postgres@/app?host=$PGHOST" >"$dir/.env"
stack_set BACKSTOP_TOKEN "$token"
cp "$examples/recover-table.yaml" "$examples/hook" "$dir/"
sed "s|/srv/backstop|$dir|g; s|127.0.0.1:3000|127.0.0.1:$port|g; s|file:///var/backups/holdfast|$T_TMP/repository|" "$examples/holdfast.yaml" >"$T_TMP/holdfast.yaml"
"$STACKS/backstop/start.sh" "$dir" || exit 1
createdb app
export PGDATABASE=app
pg_sql "CREATE TABLE orders (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, what text NOT NULL); INSERT INTO orders (what) SELECT md5(g::text) FROM generate_series(1, 300) g"
t_ok holdfast -q backup
pg_sql 'DELETE FROM orders WHERE id > 200'

paused() { stack_get "http://127.0.0.1:$port/metadata/health" | jq .paused; }
newest_run() { holdfast runs --output json | jq -r '.runs[0].id'; }
recover() { t_exit "$1" holdfast run recover-table -p table=public.orders -p reason='rows over 200 are gone'; }
# In the name of another OS user than the one who runs this.
approve() {
	chgrp nogroup "$T_TMP/state/approvals"
	chmod 1770 "$T_TMP/state/approvals"
	chmod 711 "$T_TMP/state"
	printf 'holdfast approve %s --reason seen\n' "$1" >>"$T_TMP/calls"
	t_ok setpriv --reuid nobody --regid nogroup --clear-groups "$HOLDFAST" --state-dir "$T_TMP/state" approve "$1" --reason seen
}

t_begin nothing_happens_before_another_person_has_approved
recover 6
run=$(newest_run)
t_match "$t_err" 'restore table public\.orders of backup set .* and pause Backstop meanwhile: rows over 200 are gone'
t_is "$(paused)" false
t_exit 10 holdfast approve "$run"
t_match "$t_err" 'wants the approval of another user than "root", who started it'
approve "$run"

t_begin killed_while_it_is_paused_it_goes_on
HOLDFAST_CRASH_AT=record:8 t_run holdfast resume "$run"
t_is "$t_status" 137
t_is "$(paused)" true
t_ok holdfast resume "$run"
t_is "$(paused)" false
t_is "$(pg_sql 'SELECT count(*) FROM orders')" 200 'the original is as it was'
sql=$(holdfast status "$run" --output json | jq -r .run.outputs.tables.copy_back_sql)
t_match "$sql" '^BEGIN;.LOCK TABLE "public"."orders" IN SHARE ROW EXCLUSIVE MODE;.*ON CONFLICT DO NOTHING;.COMMIT;$'
pg_sql "$sql"
t_is "$(pg_sql 'SELECT count(*), count(DISTINCT what) FROM orders')" '300|300' 'what it tells brings them back'

t_begin given_up_while_it_is_paused
recover 6
run=$(newest_run)
approve "$run"
HOLDFAST_CRASH_AT=record:8 t_run holdfast resume "$run"
t_is "$(paused)" true
t_ok holdfast abandon "$run" --yes
t_is "$(paused)" false

t_begin failing_while_it_is_paused
recover 6
run=$(newest_run)
approve "$run"
archive=$(find "$T_TMP/repository" -name backup.tar.zst)
cp "$archive" "$T_TMP/archive"
truncate -s 2000 "$archive"
t_run holdfast resume "$run"
t_is "$t_status" 7
t_is "$(paused)" false
t_is "$(holdfast status "$run" --output json | jq -r .run.outputs.tables.copy_back_sql)" null 'and no SQL is told'
t_is "$(pg_sql "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'restored\\_%'")" 1 'of what was restored only the first is there'

t_begin a_table_that_is_not_there
cp "$T_TMP/archive" "$archive"
t_run holdfast run recover-table -p table=public.nothing -p reason=x
t_match "$t_err" 'public\.nothing'
t_is "$(paused)" false

t_begin the_runbook
sed -i 's/table=[a-z.]* -p reason=.*/table=TABLE -p reason=WHY/' "$T_TMP/calls"
runbook_ran "$examples/README.md" 'Recover a table' 'When it fails'

t_begin the_token_is_nowhere
t_is "$(grep -rlF -e "$token" "$T_TMP/state")" ''
