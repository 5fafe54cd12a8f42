# shellcheck shell=bash
# Runbooks whose commands are run: source this file after common.sh, then
#
#	book_is_run FILE HEADING…     every line below these headings of the runbook that begins with "holdfast" was run by holdfast, with
#	                              something in place of each of its words in capitals
#
# holdfast is the one of common.sh, and notes what it was given.

holdfast() {
	printf 'holdfast %s\n' "$*" >>"$T_TMP/ran"
	"$HOLDFAST" --config "$T_TMP/holdfast.yaml" "$@"
}

book_is_run() {
	local file=$1 heading line pattern
	shift
	for heading in "$@"; do
		t_is "$(grep -cxF "## $heading" "$file")" 1 "the runbook has the heading \"$heading\""
		while IFS= read -r line; do
			pattern=$(sed -E 's/[.*+?()[]/\\&/g; s/\b[A-Z]{3,}\b/[^ ]+/g' <<<"$line")
			t_is "$(grep -qxE -- "$pattern" "$T_TMP/ran" && echo run)" run "$line"
		done < <(sed -n "/^## $heading\$/,/^## /p" "$file" | grep '^holdfast ')
	done
}
