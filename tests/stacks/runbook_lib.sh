# shellcheck shell=bash
# What a runbook tells a person to type has been typed here.  Sourced after common.sh, whose holdfast() it takes the place of.
#
#	runbook_ran README SECTION…     every line "holdfast …" in the blocks below these headings was run by this script before, with run,
#	                                version, file and name in the place of RUN, VERSION, FILE and NAME

holdfast() {
	printf 'holdfast %s\n' "$*" >>"$T_TMP/calls"
	"$HOLDFAST" --config "$T_TMP/holdfast.yaml" "$@"
}

runbook_ran() {
	local readme=$1 section line count
	local -A typed=()
	while IFS= read -r line; do
		typed[$line]=1
	done < <(sed -E 's/20[0-9]{6}T[0-9]{6}Z-[a-z-]+-[0-9a-f]{4}/RUN/g; s/ 20[0-9]{2}\.[0-9]+/ VERSION/g' "$T_TMP/calls" |
		sed -E "s#$T_TMP/[^ ]*#FILE#g; s#drop-old [^ ]+#drop-old NAME#")
	for section in "${@:2}"; do
		count=0
		while IFS= read -r line; do
			count=$((count + 1))
			if [ -n "${typed[$line]:-}" ]; then
				t_pass "$section: $line"
			else
				t_fail "$section: $line" "$(printf '%s\n' "${!typed[@]}")"
			fi
		done < <(awk -v section="## $section" '/^## / { is_it = $0 == section } is_it && /^holdfast /' "$readme" | sed -E 's/ +(#.*)?$//' | sort -u)
		[ "$count" -gt 0 ] || t_fail "$section: has commands"
	done
}
