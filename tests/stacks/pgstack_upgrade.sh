#!/usr/bin/env bash
# docs/examples/pgstack as it stands: the upgrade in the order of pgStack's documents, each way it can fail, and the way back.
# shellcheck source=lib/common.sh
. "$(dirname "$0")/lib/common.sh"
npm_or_skip
stack_holdfast
# shellcheck source=pgstack_lib.sh
. "$STACKS/pgstack_lib.sh"
install
old='2026.5 2026.5 | 2026.5 pgstack_proxy pgstack_proxy |  | 0 | 2/2 2/2'
# The old one serves; what the migrations have made of roles stays, and may not log in.
old_again=${old/|  |/| authenticator-service authenticator_admin-service |}
new='2026.6 2026.6 | 2026.6 authenticator authenticator_admin | authenticator+ authenticator_admin+service | 1 | 2/2 2/2'
# steps RESULT: of the role steps of the newest run
results() {
	holdfast status "$(newest_run)" --output json |
		jq -r '[.run.outputs | (.authenticator_login, .admin_login, .revoke).result] | join(", ")'
}

t_begin nothing_is_stopped_before_everything_is_there
t_is "$(state)" "$old"
t_ok holdfast upgrade 2026.6 --dry-run
stack_unset AUTHENTICATOR_ADMIN_PASSWORD
t_exit 7 holdfast upgrade 2026.6
t_match "$t_err" "AUTHENTICATOR_ADMIN_PASSWORD.*\"AUTHENTICATOR_ADMIN_PASSWORD\" in file \"$dir/\.env\" is not set"
t_is "$(state)" "$old" 'nothing has changed'
stack_set AUTHENTICATOR_ADMIN_PASSWORD "$admin_password"
t_exit 7 holdfast upgrade 2026.9
t_match "$t_err" 'manifest for pgstack/db:2026\.9 not found'
t_is "$(state)" "$old"

t_begin a_migration_that_fails
cp "$dir/.env" "$T_TMP/env.before"
printf 'ALTER TABLE app.orders ADD COLUMN paid bool;\nSELECT 1 / 0;\n' >"$dir/migrations/20260614000000_bad.sql"
t_exit 7 holdfast upgrade 2026.6
t_match "$t_err" '20260614000000_bad\.sql.*division by zero'
t_is "$(state)" "$old_again" 'the old version serves, with its live queries'
t_is "$(<"$dir/.env")" "$(<"$T_TMP/env.before")" 'the settings are as they were'
rm "$dir/migrations/20260614000000_bad.sql"

if [ -n "${FULL:-}" ]; then
	t_begin a_live_query_that_the_new_schema_breaks
	printf 'DROP TABLE app.orders;\n' >"$dir/migrations/20260614000000_drop.sql"
	t_exit 7 holdfast upgrade 2026.6
	t_match "$t_err" 'live: failed.*database "pgstack": the query gives "1", the one to compare with gives "2"'
	t_is "$(state)" "$old_again"
	rm "$dir/migrations/20260614000000_drop.sql"
fi

t_begin a_proxy_that_cannot_administer_by_its_own_role
cp "$T_TMP/holdfast.yaml" "$T_TMP/holdfast.good"
sed -i 's|postgresql://authenticator_admin@|postgresql://pgstack_proxy@|; s|within: 30s|within: 2s|' "$T_TMP/holdfast.yaml"
t_exit 7 holdfast upgrade 2026.6
t_match "$t_err" 'admin_pool: failed'
t_nomatch "$t_err" 'revoke: ' 'the membership was never touched'
t_is "$(state)" "$old_again"
t_is "$(<"$dir/.env")" "$(<"$T_TMP/env.before")" 'the settings are as they were'
cp "$T_TMP/holdfast.good" "$T_TMP/holdfast.yaml"

t_begin the_wrong_order_is_no_plan
# wrong STEP BEFORE: the plan with that step put before another one
wrong() {
	awk -v step="  - id: $1" -v before="  - id: $2" '
		FNR == NR { if (/^  - id: / || /^after_rollback:/) is_it = $0 == step; if (is_it) moved = moved $0 "\n"; next }
		/^  - id: / || /^after_rollback:/ { is_it = $0 == step }
		$0 == before { printf "%s", moved }
		!is_it' "$examples/upgrade.yaml" "$examples/upgrade.yaml" >"$dir/upgrade.yaml"
}
wrong start authenticator_wanted
t_exit 2 holdfast upgrade 2026.6
t_match "$t_err" 'upgrade:[0-9]+:[0-9]+: step "start" refers to step "authenticator_login", which does not come before it' 'the proxy before its roles'
wrong revoke admin_pool
t_exit 2 holdfast upgrade 2026.6
t_match "$t_err" 'upgrade:[0-9]+:[0-9]+: step "revoke" refers to step "admin_pool", which does not come before it' 'the membership before the proof'
wrong authenticator_password authenticator_wanted
t_exit 2 holdfast upgrade 2026.6
cp "$examples/upgrade.yaml" "$dir/"
t_is "$(state)" "$old_again" 'nothing has changed'

t_begin the_upgrade
t_ok holdfast upgrade 2026.6
run=$(newest_run)
t_is "$(state)" "$new"
t_is "$(results)" 'done, done, done'
t_is "$(pg_sql "SELECT string_agg(name, ' ' ORDER BY name) FROM holdfast_steps WHERE run = '$run'")" 'admin_login authenticator_login revoke' 'recorded'
t_is "$(sed -n 5p "$dir/compose.yaml")" '    image: pgstack/proxy:2026.6   # pinned'
t_ok holdfast runs
t_match "$t_out" "$run"
t_ok holdfast status "$run"
t_match "$t_out" 'revoke +role\.step +done'
t_exit 10 holdfast gate 2026.5
t_match "$t_err" 'version "2026.5" must not start'
t_ok holdfast gate

t_begin a_later_upgrade_finds_the_role_steps_done
HOLDFAST_CRASH_AT=journal:30 t_run holdfast upgrade 2026.7
t_exit 10 holdfast upgrade 2026.7
t_ok holdfast resume "$(newest_run)"
t_is "$(results)" 'found done, found done, found done'
t_is "$(state)" "${new//2026.6/2026.7}"

t_begin the_way_back_loses_no_row_unasked
t_ok holdfast rollback --yes --dry-run
pg_sql "SELECT pgr.subscribe('late', 'SELECT 3')" >/dev/null
t_exit 10 holdfast rollback --yes
t_match "$t_err" 'persisted_subscriptions'
t_nomatch "$t_err" 'holdfast_steps'
with_late=${new/2\/2/3\/3}
t_is "$(state)" "${with_late//2026.6/2026.7}" 'nothing has changed'
t_ok holdfast rollback --yes --save-new-writes "$T_TMP/new.sql"
t_match "$(<"$T_TMP/new.sql")" $'late\tSELECT 3'
t_is "$(state)" "$new" 'and it undoes nothing that an earlier upgrade has done'

t_begin the_upgrade_before_that_could_be_rolled_back_too
# The copy serves now: it is known of what it is one.
t_ok holdfast rollback "$run" --yes --discard-new-writes --dry-run
t_is "$(state)" "$new" 'nothing has changed'

t_begin the_runbook
kept=$(holdfast status "$run" --output json | jq -r .run.outputs.savepoint.kept_name)
t_ok holdfast drop-old "$kept" --yes
runbook_ran "$examples/README.md" 'Upgrade' 'When an upgrade fails' 'Rollback'

t_begin no_password_is_anywhere
t_is "$(grep -rlF -e "$password" -e "$admin_password" -e "$(stack_encode "$admin_password")" "$T_TMP/state" "$T_TMP/repository" "$PG_ROOT/main/log")" ''
t_is "$(find "$dir" -newer "$T_TMP/env.before" -name '*admin-url' -o -name '*.new')" '' 'and no file is left over'
