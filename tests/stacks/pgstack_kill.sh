#!/usr/bin/env bash
# docs/examples/pgstack, killed: one upgrade between every two steps, its way back, and a rotation.  FULL=1: also between what a step does and
# its record.
# shellcheck source=lib/common.sh
. "$(dirname "$0")/lib/common.sh"
npm_or_skip
stack_holdfast
# shellcheck source=pgstack_lib.sh
. "$STACKS/pgstack_lib.sh"
# shellcheck source=kill_lib.sh
. "$STACKS/kill_lib.sh"
install
new='2026.6 2026.6 | 2026.6 authenticator authenticator_admin | authenticator+ authenticator_admin+service | 1 | 2/2 2/2'
# died_between STEP…: an attempt died when each of these was done and the next one was not begun, or its effect not recorded
died_between() {
	local step
	for step in "$@"; do
		t_match $'\n'"$deaths" $'\n'"step.(done${FULL:+|started}) $step"$'\n' "killed after $step"
	done
}

t_begin an_upgrade_killed_between_every_two_steps
HOLDFAST_CRASH_AT=journal:41 t_run holdfast upgrade 2026.6
run=$(newest_run)
t_is "$t_status" 137
t_exit 10 holdfast upgrade 2026.6
deaths=
killed_on
t_is "$t_status" 0 "it is done"
died_between migrate authenticator_login authenticator_password admin_login admin_password admin_url start admin_pool revoke
t_is "$(state)" "$new"
t_is "$(pg_sql "SELECT string_agg(name, ' ' ORDER BY name) FROM holdfast_steps WHERE run = '$run'")" 'admin_login authenticator_login revoke' 'recorded'

if [ -n "${FULL:-}" ]; then
	t_begin a_way_back_that_is_killed
	HOLDFAST_CRASH_AT=journal:5 t_run holdfast rollback "$run" --yes --discard-new-writes
	t_is "$t_status" 137
	deaths=
	killed_on
	t_is "$t_status" 0 'rolled back, as was asked'
	t_is "$(state)" '2026.5 2026.5 | 2026.5 pgstack_proxy pgstack_proxy | authenticator-service authenticator_admin-service | 0 | 2/2 2/2'
	t_ok holdfast upgrade 2026.6
fi

t_begin a_password_that_is_rotated
# shellcheck disable=SC2016 # no variable
new_password='n"e$w '\''one #2'
printf '%s\n' "$new_password" >"$T_TMP/new"
login() { # PASSWORD
	PGPASSWORD=$1 psql -XAtqw -U authenticator -c 'SELECT 1' 2>&1
}
HOLDFAST_CRASH_AT=journal:8 t_run holdfast run rotate-authenticator-password -p new_password="file:$T_TMP/new"
t_is "$t_status" 137
run=$(newest_run)
deaths=
killed_on
t_is "$t_status" 0 "it is done"
died_between rotate password restart new_works old_is_refused
t_is "$(login "$new_password")" 1
t_match "$(login "$password")" 'password authentication failed' 'the old one is refused'
t_is "$(stack_value AUTHENTICATOR_PASSWORD)" "$new_password"
t_is "$(grep -c PREVIOUS "$dir/.env")" 0
t_is "$(state)" "$new"

t_begin a_rotation_that_fails_puts_the_old_password_back
sed "s|expect: \\[\"2\"\\]|expect: [\"7\"]|" "$examples/rotate-authenticator-password.yaml" >"$dir/rotate-authenticator-password.yaml"
cp "$dir/.env" "$T_TMP/env.before"
t_exit 7 holdfast run rotate-authenticator-password
t_match "$t_err" 'old_is_refused: failed'
t_is "$(login "$new_password")" 1
t_is "$(<"$dir/.env")" "$(<"$T_TMP/env.before")" 'the settings are as they were'
t_is "$(state)" "$new"

t_begin the_upgrade_before_a_rotation_stays
t_exit 10 holdfast rollback --yes --discard-new-writes
t_match "$t_err" 'cannot be rolled back: run ".*" \(rotate-authenticator-password, done\) came after it'

t_begin the_runbook
runbook_ran "$examples/README.md" 'A new password for authenticator'

t_begin no_password_is_anywhere
t_is "$(grep -rlF -e "$password" -e "$new_password" -e "$admin_password" -e "$(stack_encode "$admin_password")" "$T_TMP/state" "$T_TMP/repository" \
	"$PG_ROOT/main/log")" ''
