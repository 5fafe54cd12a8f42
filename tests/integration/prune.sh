#!/usr/bin/env bash
# prune, pin and unpin as an operator types them; what a restore reads stays, for this host and for others.
# shellcheck source-path=SCRIPTDIR/../lib
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/t.sh
. tests/lib/pg.sh
unset "${!HOLDFAST_@}"

export HOME=$T_TMP/home TZ=UTC
mkdir "$HOME"
pg_start || exit 1
pg_sql 'CREATE DATABASE app'
pg_sql 'CREATE TABLE t AS SELECT generate_series(1, 1000) AS id' -d app
near=$T_TMP/near far=$T_TMP/far
cat >"$T_TMP/holdfast.yaml" <<-YAML
	version: 1
	repositories:
	  near: { url: "file://$near" }
	  far: { url: "file://$far" }
	stacks:
	  app:
	    database: { url: "postgresql:///app" }
	    repositories: [near, far]
	    timezone: Europe/Berlin
	    retention: { keep_last: 1, keep_daily: 3, keep_monthly: 2 }
YAML
hf() {
	"$HOLDFAST" --config "$T_TMP/holdfast.yaml" --state-dir "$T_TMP/state" "$@"
}
# json PATH: of $t_out, by psql, which is there anyway
json() { psql -XAtqd postgres -v ON_ERROR_STOP=1 -v doc="$t_out" -v path="$1" <<<"SELECT (:'doc')::jsonb #>> :'path'"; }
sets() { find "$1/app/backups" -name manifest.json -printf '%h\n' 2>/dev/null | sed 's/.*\///; s/-.*//' | sort | tr '\n' ' '; }

# A set as it would have been taken at another time: set_at REPOSITORY 2026-11-20T03:15:00Z
set_at() {
	local stamp id dir=$1/app/backups
	stamp=${2//[-:]/}
	id=$stamp-0000${stamp:4:4}
	cp -r "$T_TMP/model" "$dir/$id"
	sed -i "s/$model/$id/; s/\"started_at\": \"[^\"]*\"/\"started_at\": \"${2%Z}.000Z\"/
		s/\"ended_at\": \"[^\"]*\"/\"ended_at\": \"${2%Z}.000Z\"/" "$dir/$id/manifest.json" "$dir/$id/set.json"
	touch -d "$2" "$dir/$id" "$dir/$id"/*
}
fresh_sets() {
	local repository at
	for repository in "$near" "$far"; do
		rm -rf "$repository"/app/backups/*
		for at in 2026-08-31T21:59:00Z 2026-08-31T22:01:00Z 2026-10-24T22:30:00Z 2026-10-25T22:59:00Z 2026-10-25T23:01:00Z; do
			set_at "$repository" $at
		done
	done
}

t_exit 0 hf -q backup --repository near
t_exit 0 hf -q backup --repository far
model=$(ls "$near/app/backups")
cp -r "$near/app/backups/$model" "$T_TMP/model"
fresh_sets
all='20260831T215900Z 20260831T220100Z 20261024T223000Z 20261025T225900Z 20261025T230100Z '
kept='20260831T220100Z 20261025T225900Z 20261025T230100Z '

t_begin a_dry_run_says_why_each_set_stays_or_goes
t_exit 0 hf prune --dry-run
t_match "$t_out" 'repository "near":.*repository "far":'
t_match "$t_out" '20260831T215900Z-[0-9a-f]+ +2026-08-31T21:59:00Z +[0-9.]+ kB +remove +no rule keeps it'
t_match "$t_out" '20260831T220100Z-[0-9a-f]+ +2026-08-31T22:01:00Z +[0-9.]+ kB +keep +keep_daily 2026-09-01, keep_monthly 2026-09'
t_match "$t_out" '20261024T223000Z-[0-9a-f]+ .* remove +no rule keeps it'
t_match "$t_out" '20261025T225900Z-[0-9a-f]+ .* keep +keep_daily 2026-10-25'
t_match "$t_out" '20261025T230100Z-[0-9a-f]+ .* keep +keep_last 1, keep_daily 2026-10-26, keep_monthly 2026-10, last verified set'
t_is "$(sets "$near")" "$all" 'nothing was removed'
t_exit 0 hf runs
t_nomatch "$t_out" prune 'and nothing was run'

t_begin options_are_put_over_the_configuration
t_exit 0 hf prune --dry-run --timezone UTC --repository near --output json
t_is "$(json '{repositories,0,repository}') $(json '{repositories,1}') $(json '{status}')" 'near  done'
t_is "$(json '{repositories,0,sets,1,reasons}')" '["keep_daily 2026-08-31", "keep_monthly 2026-08"]'
t_is "$(json '{repositories,0,sets,3,action}') $(json '{repositories,0,sets,3,reasons}')" 'remove []'
t_is "$(json '{repositories,0,sets,4,completed_at}')" 2026-10-25T23:01:00.000Z
HOLDFAST_KEEP_WITHIN=2d t_exit 0 hf prune --dry-run --keep-daily 1 --repository near --output json
t_is "$(json '{repositories,0,sets,2,reasons}')" '["newer than keep_within"]'

t_begin what_is_wrong_is_told_before_anything_is_looked_at
t_exit 2 hf prune
t_match "$t_err" 'nobody is there to confirm it.*--dry-run'
t_exit 2 hf prune --dry-run --timezone Europe/Berlim
t_match "$t_err" 'there is no time zone "Europe/Berlim"'
t_exit 2 "$HOLDFAST" --state-dir "$T_TMP/state" prune --dry-run --stack app --repository "$near"
t_match "$t_err" 'stack "app" has no retention policy'
t_exit 2 hf prune --dry-run --keep-last 0
sed 's/Europe.Berlin/Mars/; s/keep_daily: 3/keep_within: 3/' "$T_TMP/holdfast.yaml" >"$T_TMP/bad.yaml"
t_exit 2 "$HOLDFAST" --config "$T_TMP/bad.yaml" prune --dry-run
t_match "$t_err" 'bad.yaml:[0-9]+:[0-9]+: "keep_within": duration "3" has no unit'
sed 's/Europe.Berlin/Mars/' "$T_TMP/holdfast.yaml" >"$T_TMP/bad.yaml"
t_exit 2 "$HOLDFAST" --config "$T_TMP/bad.yaml" prune --dry-run
t_match "$t_err" 'bad.yaml:[0-9]+:[0-9]+: timezone: there is no time zone "Mars"'

t_begin sets_are_removed_in_every_repository
t_exit 0 hf prune --yes
t_match "$t_out" 'removed +4, in .*kept +6'
t_is "$(sets "$near")$(sets "$far")" "$kept$kept" 'the same in both'
t_is "$(find "$near/app/backups" -mindepth 1 -maxdepth 1 | wc -l)" 3 'nothing is left of the others'
t_exit 0 hf list --quiet
t_exit 0 hf prune --yes --output json
t_is "$(json '{run,outputs,prune,removed}') $(json '{run,outputs,prune,kept}') $(json '{run,status}')" '[] 6 done'

t_begin pins_are_put_everywhere_and_shown
fresh_sets
t_exit 0 hf pin 20260831T2159 --reason 'before the big migration'
t_match "$t_out" 'pinned +20260831T215900Z-[0-9a-f]+ in repository "near".*in repository "far"'
t_exit 0 hf pin 20260831T2159
t_match "$t_out" 'as it was already'
t_match "$(cat "$far"/app/backups/20260831T2159*/pinned)" '"format": "holdfast-pin/1".*"by": "[^"]+@.*"reason": "before the big migration"'
t_exit 0 hf pin 20261024T2230 --repository far --output json
t_is "$(json '{sets,0,repository}') $(json '{sets,0,pinned}') $(json '{sets,0,changed}') $(json '{sets,1}')" 'far true true '
t_exit 0 hf prune --yes
t_match "$t_out" '20260831T215900Z-[0-9a-f]+ .* keep +pinned'
t_is "$(sets "$near")" '20260831T215900Z 20260831T220100Z 20261025T225900Z 20261025T230100Z ' 'near keeps the one'
t_is "$(sets "$far")" "$all" 'far both'
t_exit 0 hf list --repository near
t_match "$t_out" '20260831T215900Z-.*pinned'
t_exit 0 hf unpin 20260831T2159
t_exit 0 hf unpin 20260831T2159
t_match "$t_out" 'it was not pinned'
t_exit 0 hf -q prune --yes
t_is "$(sets "$near")" "$kept"
t_exit 2 hf pin 19990101
t_match "$t_err" 'no backup set "19990101'

t_begin damaged_sets_and_remains
fresh_sets
echo '{' >"$(echo "$near"/app/backups/20260831T2201*)/manifest.json"
mkdir "$near/app/backups/20200101T000000Z-00000000" "$near/app/backups/20200102T000000Z-00000000"
echo x >"$near/app/backups/20200101T000000Z-00000000/backup.tar.zst"
echo x >"$near/app/backups/20200102T000000Z-00000000/backup.tar.zst"
touch -d '2 days ago' "$near/app/backups/20200101T000000Z-00000000/backup.tar.zst"
t_exit 0 hf prune --yes --repository near
t_match "$t_err" 'backup set "20260831T220100Z-[0-9a-f]+" in repository "near" is damaged, and was kept'
t_match "$t_out" 'rubbish +remains of interrupted backups: 1,'
t_is "$(sets "$near")" '20260831T215900Z 20260831T220100Z 20261025T225900Z 20261025T230100Z '
t_is "$(find "$near/app/backups" -name '*-00000000' | wc -l)" 1 'a young archive may be a set that is being copied'
rm -r "$near/app/backups/20200102T000000Z-00000000"

t_begin one_repository_that_fails_does_not_stop_the_other
fresh_sets
mv "$near" "$near.away"
t_exit 1 hf prune --yes --output json
t_is "$(sets "$far")" "$kept" 'far is pruned'
t_match "$(json '{error,message}')" 'near'
mv "$near.away" "$near"
t_exit 0 hf prune --yes
t_is "$(sets "$near")" "$kept" 'near with the next'
t_exit 0 hf runs
t_match "$t_out" 'prune +abandoned' 'which closed the one that failed'

t_begin a_backup_prunes_at_its_end
fresh_sets
t_exit 0 hf -q backup
t_nomatch "$(sets "$near")$(sets "$far")" 20261024T223000Z 'in both'
t_match "$(sets "$near")" 20261025T230100Z
fresh_sets
t_exit 0 hf -q backup --dry-run
t_is "$(sets "$near")" "$all"

t_begin killed_between_any_two_removals
for n in 1 2 3 4 5 6; do
	fresh_sets
	HOLDFAST_CRASH_AT="remove:$n" t_exit 137 hf -q prune --yes --repository near
	t_exit 0 hf verify all --quick --repository near
	t_exit 0 hf prune --yes --repository near
	t_is "$(sets "$near")" "$kept"
done

t_begin what_a_restore_reads_stays
fresh_sets
t_exit 0 hf -q restore 20260831T2159 --repository near --target-db whole
t_is "$(find "$near" -name 'hold-*')" '' 'a restore that is done holds nothing'
journal=$(grep -l '"status": *"done"' "$T_TMP"/state/runs/*-restore-*/journal | head -n 1)
record=$(grep -n '"type": *"step.started".*"fill"\|"step": *"fill".*"type": *"step.started"' "$journal" | head -n 1 | cut -d: -f1)
t_isnt "$record" '' 'the restore came to its rows'
HOLDFAST_CRASH_AT="journal:$record" t_exit 137 hf -q restore 20260831T2159 --repository near --target-db held
t_match "$(cat "$near"/app/backups/20260831T2159*/hold-*)" '"format": "holdfast-hold/1".*"expires_at".*"reason": "read by run ' 'it is held'
t_exit 0 hf prune --dry-run --repository near
t_match "$t_out" '20260831T215900Z-.* keep +read by restore run "[^"]*-restore-[^"]*"; read by run' 'by the journal, and by the hold'
t_exit 0 "$HOLDFAST" --config "$T_TMP/holdfast.yaml" --state-dir "$T_TMP/elsewhere" prune --yes --repository near
t_match "$t_out" '20260831T215900Z-.* keep +read by run ' 'another host sees the hold'
rm "$near"/app/backups/20260831T2159*/hold-*
t_exit 0 hf prune --yes --repository near
t_match "$t_out" '20260831T215900Z-.* keep +read by restore run' 'this host its journal'
t_exit 0 hf resume
t_is "$(psql -XAtqd held -c 'SELECT count(*) FROM t')" 1000
t_exit 0 hf prune --yes --repository near
t_nomatch "$(sets "$near")" 20260831T215900Z 'then it goes'

t_begin a_restore_that_is_abandoned_holds_nothing
fresh_sets
HOLDFAST_CRASH_AT="journal:$record" t_exit 137 hf -q restore 20260831T2159 --repository near --target-db dropped
t_is "$(find "$near" -name 'hold-*' | wc -l)" 1
t_exit 0 hf abandon "$(basename "$(dirname "$(grep -L '"run.finished"' "$T_TMP"/state/runs/*-restore-*/journal)")")"
t_is "$(find "$near" -name 'hold-*')" '' 'the hold is gone'

t_begin a_set_that_vanished_before_it_was_held_is_told
fresh_sets
create=$(grep -n '"step": *"create".*"step.done"\|"step.done".*"create"' "$journal" | head -n 1 | cut -d: -f1)
HOLDFAST_CRASH_AT="journal:$create" t_exit 137 hf -q restore 20260831T2159 --repository near --target-db late
rm -r "$near"/app/backups/20260831T2159*
t_run hf resume
t_isnt "$t_status" 0
t_match "$t_err" 'backup set "20260831T215900Z-[0-9a-f]+" in repository "near" has been removed meanwhile'
t_exit 0 hf abandon "$(basename "$(dirname "$(grep -L '"abandoned"\|"done"' "$T_TMP"/state/runs/*-restore-*/journal | tail -n 1)")")"

t_begin who_may_only_read_can_restore
if [ "$(id -u)" -eq 0 ]; then
	fresh_sets
	chmod -R a+rX "$T_TMP"
	t_exit 0 setpriv --reuid=postgres --regid="$(id -g postgres)" --clear-groups env HOME=/tmp \
		"$HOLDFAST" --state-dir "$T_TMP/../hfread.$$" restore latest --stack app -d app -r "$near" --target-db readonly
	t_match "$t_err" 'could not hold backup set .*Permission denied; a prune of another host is not kept from removing it'
	t_match "$t_err" 'fill: done'
	rm -rf "$T_TMP/../hfread.$$"
fi
