# shellcheck shell=bash
# Holdfast killed again and again.  Sourced after common.sh.
#
#	last_record         what the journal of $run says last: "step.done revoke"
#	killed_on           resumes $run again and again, each time killed as it has come a step further, until it is at its end, whose exit
#	                    status is in t_status; adds to $deaths where it died.  FULL=1: also between what a step does and its record
deaths=''

# shellcheck disable=SC2154 # run is the script's
last_record() {
	tail -n 1 "$T_TMP/state/runs/$run/journal" | grep -o '{.*' | jq -r '[.type, .step // empty] | join(" ")'
}
# shellcheck disable=SC2154 # t_status is of t.sh
killed_on() {
	local kinds=(journal) i kind now
	local -A at=() seen=()
	[ -z "${FULL:-}" ] || kinds=(record journal)
	for ((i = 0; i < 200; i++)); do
		kind=${kinds[i % ${#kinds[@]}]}
		HOLDFAST_CRASH_AT=$kind:${at[$kind]:-3} t_run holdfast resume "$run"
		[ "$t_status" -eq 137 ] || return 0
		now=$(last_record)
		if [ "$now" = run.finished ]; then
			t_run holdfast status "$run"
			return 0
		fi
		deaths+="$now"$'\n'
		if [ "$now" = "${seen[$kind]:-}" ]; then at[$kind]=$((${at[$kind]:-3} + 1)); else at[$kind]=3; fi
		seen[$kind]=$now
	done
}
