#!/usr/bin/env bash
# docs/examples/dbos: a new password for the application's role, killed between any two steps and resumed; a failure puts the old one back.
# FULL=1: killed before every record, too.
# shellcheck source=dbos_lib.sh
. "$(dirname "$0")/dbos_lib.sh"
dbos_install
dbos_half
# shellcheck disable=SC2016 # no variable
new_password='n"e$w '\''one #2'
printf '%s\n' "$new_password" >"$T_TMP/new"

login() { # PASSWORD
	PGPASSWORD=$1 psql -XAtqw -U dbos_app -d dbos -c 'SELECT 1' 2>&1
}
last_record() {
	tail -n 1 "$T_TMP/state/runs/$run/journal" | grep -o '{.*' | jq -r '[.type, .step // empty] | join(" ")'
}
# killed_on: resumes again and again, each time killed when it has come a step further, until the run is at its end; what was said last before
# each death stands in $deaths
killed_on() {
	local kinds=(journal) i at=3 now
	local -A seen=()
	[ -z "${FULL:-}" ] || kinds=(record journal)
	for ((i = 0; i < 100; i++)); do
		HOLDFAST_CRASH_AT=${kinds[i % ${#kinds[@]}]}:$at t_run holdfast resume "$run"
		[ "$t_status" -eq 137 ] || return 0
		now=$(last_record)
		deaths+="$now"$'\n'
		if [ "$now" = run.finished ]; then
			t_status=0
			return
		fi
		# one of the two is good at any time, and .env has it
		t_match "$(login "$(stack_value PGPASSWORD)") $(login "$(stack_value PGPASSWORD_PREVIOUS 2>/dev/null)")" '(^| )1($| )' "after $now a password of .env is good"
		# never at rest: one that has come no further is given more room
		if [ -n "${seen[$now]:-}" ]; then at=$((at + 1)); else at=3; fi
		seen[$now]=1
	done
}

t_begin killed_between_any_two_steps
t_exit 0 holdfast run rotate-role-password --dry-run
HOLDFAST_CRASH_AT=journal:8 t_run holdfast run rotate-role-password -p new_password="file:$T_TMP/new"
t_is "$t_status" 137 "it was killed"
run=$(newest_run)
deaths=$'\n'
killed_on
t_is "$t_status" 0 "it is done"
if [ -z "${FULL:-}" ]; then
	for step in rotate password start well new_works old_is_refused; do
		t_match "$deaths" $'\n'"step.done $step"$'\n' "killed after $step"
	done
fi
t_is "$(login "$new_password")" 1 "the new password is good"
t_match "$(login "$app_password")" 'password authentication failed for user "dbos_app"' "the old one is refused"
t_is "$(stack_value PGPASSWORD)" "$new_password" "it stands in .env"
t_is "$(grep -c PREVIOUS "$stack_dir/.env")" 0 "and the old one does not"
dbos_is 4.9.11

t_begin a_rotation_that_fails_puts_the_old_password_back
sed -i 's|expect: \["2"\]|expect: ["7"]|' "$T_TMP/etc/rotate-role-password.yaml"
cp "$stack_dir/.env" "$T_TMP/env.before"
t_exit 7 holdfast run rotate-role-password
t_match "$t_err" 'old_is_refused: failed'
t_is "$(login "$new_password")" 1 "the password of before is good"
t_is "$(cmp "$stack_dir/.env" "$T_TMP/env.before" 2>&1)" '' ".env is as it was"
dbos_is 4.9.11

t_begin the_runbook
book_is_run "$examples/README.md" "A new password for dbos_app"

t_begin no_password_is_anywhere
dbos_no_password_is_in "$T_TMP/state" "$T_TMP/argv" "$PG_ROOT/main/log"
t_is "$(grep -rlF -e "$new_password" "$T_TMP/state" "$T_TMP/argv" "$PG_ROOT/main/log")" '' "nor the new one"
