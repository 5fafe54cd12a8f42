#!/usr/bin/env bash
# Several repositories in one run, plain and encrypted: what fails is named and the others get their set; what was missed is caught up
# with; a host without an identity writes, lists, checks and prunes, and reads nothing.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/lib/t.sh
. tests/lib/t.sh
# shellcheck source=tests/lib/pg.sh
. tests/lib/pg.sh

HOLDFAST=${HOLDFAST:-build/holdfast}
export HOLDFAST_STATE_DIR=$T_TMP/state HOLDFAST_CONFIG=$T_TMP/holdfast.yaml

hf() { "$HOLDFAST" "$@"; }
ids() { hf list --output json | jq -r '.sets[] | .id + " " + (.repositories | join("+"))'; }

pg_start main || exit 1
createdb app
psql -qXd app -c "CREATE TABLE t AS SELECT i, md5(i::text) AS m FROM generate_series(1, 20000) AS i; ALTER TABLE t ADD PRIMARY KEY (i)"
rows=$(psql -XAtqd app -c "SELECT md5(string_agg(t::text, ',' ORDER BY i)) FROM t")

age-keygen -o "$T_TMP/key" 2>/dev/null
age-keygen -o "$T_TMP/other" 2>/dev/null
public=$(age-keygen -y "$T_TMP/key")
configuration() { # IDENTITY…
	cat >"$HOLDFAST_CONFIG" <<-YAML
		version: 1
		repositories:
		  near: { url: $T_TMP/near }
		  safe: { url: $T_TMP/safe, encrypt_to: [$public]${1:+, identity: $1} }
		  twin: { url: $T_TMP/twin, encrypt_to: [$public] }
		stacks:
		  app: { database: { url: "dbname=app" }, repositories: [near, safe] }
	YAML
}
configuration "file:$T_TMP/key"

t_begin one_pass_over_the_database_makes_a_set_in_every_repository
t_exit 0 hf backup --output json
id=$(jq -r .run.outputs.commit.backup_id <<<"$t_out")
t_is "$(jq -c .run.outputs.commit.repositories <<<"$t_out")" '{"near":"committed","safe":"committed"}'
t_is "$(ids)" "$id near+safe" 'list joins them'
t_is "$(cd "$T_TMP/safe/app/backups/$id" && printf '%s ' *)" 'backup.tar.zst.age manifest.json.age set.json ' 'nothing in plain text but the facts'
t_is "$(grep -rlE '"app"|manifest|restore\.sql' --binary-files=text "$T_TMP/safe/app/backups/$id" | sed 's,.*/,,')" set.json 'and of those the stack alone'
t_isnt "$(jq -r .database "$T_TMP/safe/app/backups/$id/set.json")" app 'which do not name the database'
t_is "$(age -d -i "$T_TMP/key" "$T_TMP/safe/app/backups/$id/backup.tar.zst.age" | sha256sum)" "$(sha256sum <"$T_TMP/near/app/backups/$id/backup.tar.zst")" \
	'stock age opens it, and it is the same archive'
t_exit 0 hf verify all --repository safe
t_exit 0 hf verify latest --repository near

t_begin an_encrypted_set_is_restored_and_proven
t_exit 0 hf restore "$id" --repository safe --target-db from_safe
t_is "$(psql -XAtqd from_safe -c "SELECT md5(string_agg(t::text, ',' ORDER BY i)) FROM t")" "$rows" 'every row is back'

t_begin a_repository_that_is_out_of_reach_is_passed_over
mv "$T_TMP/near" "$T_TMP/away"
t_exit 0 hf verify latest
t_match "$t_err" "directory \"$T_TMP/near\" does not exist" "the first one is named"
t_exit 8 hf list
t_match "$t_out" "$id" 'the second one is listed'
t_exit 0 hf restore latest --target-db from_second
t_match "$t_err" "directory \"$T_TMP/near\" does not exist" "the restore says so, too"
t_is "$(psql -XAtqd from_second -c 'SELECT count(*) FROM t')" 20000
mv "$T_TMP/away" "$T_TMP/near"

t_begin one_that_fails_does_not_stop_the_others
mv "$T_TMP/safe" "$T_TMP/safe.away"
printf 'in the way' >"$T_TMP/safe"
t_exit 8 hf --quiet backup
t_match "$t_err" "degraded: could not open repository \"safe\"" 'it is named, also with --quiet'
t_exit 8 hf backup --output json
missed=$(jq -r .run.outputs.commit.backup_id <<<"$t_out")
t_is "$(jq -r '.status + " " + .run.outputs.commit.repositories.near' <<<"$t_out")" 'degraded committed'
t_match "$(jq -r .degraded <<<"$t_out")" 'repository "safe"'
rm "$T_TMP/safe"
mv "$T_TMP/safe.away" "$T_TMP/safe"
t_is "$(ids | grep -c 'near$')" 2 'the sets are in the other one'
t_exit 0 hf status
t_match "$t_out" "last backup    $missed, .* rows, in near"$'\n' 'status says which one has the newest'
t_exit 0 hf status -r safe -r near --output json
t_is "$(jq -c '.stacks[0].last_backup | [.id, .repositories]' <<<"$t_out")" "[\"$missed\",[\"near\"]]" 'in whatever order they are asked'

t_begin the_next_run_catches_it_up
t_exit 0 hf backup
t_is "$(ids | grep -vc 'near+safe$')" 0 'every set is in both'
t_exit 0 hf status
t_match "$t_out" 'last backup .*, in near, safe'
t_exit 0 hf verify "$missed" --repository safe

t_begin a_set_is_copied_by_hand
t_exit 0 hf copy "$id" --from near --to "$T_TMP/plain"
t_is "$(cmp "$T_TMP/near/app/backups/$id/backup.tar.zst" "$T_TMP/plain/app/backups/$id/backup.tar.zst" 2>&1)" '' 'byte by byte'
t_is "$(cmp "$T_TMP/near/app/backups/$id/manifest.json" "$T_TMP/plain/app/backups/$id/manifest.json" 2>&1)" ''
t_exit 0 hf copy "$id" --from near --to "$T_TMP/plain"
t_match "$t_out" 'has backup set .* already' 'once'
t_exit 0 hf copy "$id" --from safe --to "$T_TMP/opened"
t_is "$(cmp "$T_TMP/near/app/backups/$id/backup.tar.zst" "$T_TMP/opened/app/backups/$id/backup.tar.zst" 2>&1)" '' 'out of an encrypted one'
t_exit 2 hf copy "$id" --from near --to "$T_TMP/near"
t_match "$t_err" 'are the same'
t_exit 2 hf copy 19990101T000000Z-00000000 --from near --to "$T_TMP/plain"
t_match "$t_err" 'no backup set "19990101T000000Z-00000000"'

t_begin a_damaged_source_makes_no_copy
cp -r "$T_TMP/near" "$T_TMP/spoiled"
t_spoil "$T_TMP/spoiled/app/backups/$id/backup.tar.zst" 5000
t_exit 3 hf copy "$id" --from "$T_TMP/spoiled" --to "$T_TMP/fresh"
t_match "$t_err" 'its SHA-256 differs from the manifest'
t_is "$(find "$T_TMP/fresh" -type f | grep -c backups)" 0 'nothing is left of it'

t_begin without_an_identity_sets_are_written_and_checked_but_not_read
configuration
t_exit 0 hf backup
t_exit 0 hf list --repository safe
t_match "$t_out" '(encrypted)' 'the database is not known'
t_exit 0 hf verify all --repository safe
t_match "$t_out" 'ok as stored' 'what is stored is checked'
t_exit 2 hf show latest --repository safe
t_match "$t_err" 'no identity'
t_exit 2 hf restore latest --repository safe --target-db nothing
t_exit 2 hf backup --repository safe --read-back content
t_match "$t_err" 'cannot be read back without an identity' 'told before anything is copied'
t_exit 0 hf copy latest --from safe --to twin
t_is "$(cmp "$T_TMP"/safe/app/backups/*/backup.tar.zst.age "$T_TMP"/twin/app/backups/*/backup.tar.zst.age 2>&1 | head -c 0)" '' 'as it is stored'
latest=$(hf list --repository twin --output json | jq -r '.sets[-1].id')
t_is "$(cmp "$T_TMP/safe/app/backups/$latest/backup.tar.zst.age" "$T_TMP/twin/app/backups/$latest/backup.tar.zst.age" 2>&1)" '' 'byte by byte'
t_exit 2 hf copy latest --from safe --to "$T_TMP/plain"
t_match "$t_err" 'no identity is given'
t_exit 0 hf verify latest --repository twin --identity "$T_TMP/key"
t_exit 2 hf verify latest --repository twin --identity "$T_TMP/other"

t_begin what_is_stored_and_damaged_is_found_without_an_identity
archive=$T_TMP/twin/app/backups/$latest/backup.tar.zst.age
t_spoil "$archive" 5000
t_exit 3 hf verify latest --repository twin
t_match "$t_out" 'its checksum differs'
t_exit 3 hf verify latest --repository twin --identity "$T_TMP/key"
truncate -s -1 "$archive"
t_exit 3 hf verify latest --quick --repository twin

t_begin one_place_under_two_names_is_refused
t_exit 2 hf backup --repository near --repository "$T_TMP/near"
t_match "$t_err" "repositories \"near\" and \"$T_TMP/near\" are the same"

t_begin credentials_in_a_url_are_refused_before_anything_is_noted
t_exit 2 hf backup --repository s3://AKIA:SeCrEt@bucket/prefix
t_is "$(grep -rl SeCrEt "$HOLDFAST_STATE_DIR" | wc -l)" 0 'nothing is in the state directory'
t_is "$(grep -c SeCrEt <<<"$t_err$t_out")" 0 'nor said'
cp orchestrator/plans/backup.yaml "$T_TMP/mine.yaml"
t_exit 2 hf run "$T_TMP/mine.yaml" -d dbname=app -p stack=app -p repository=s3://AKIA:SeCrEt@bucket/prefix
t_is "$(grep -rl SeCrEt "$HOLDFAST_STATE_DIR" | wc -l)" 0 'of an own plan neither'

t_begin what_can_be_read_is_read_first
both() { hf --config "$T_TMP/order.yaml" "$@"; }
sed "s/repositories: \[near, safe\]/repositories: [safe, near]/" "$HOLDFAST_CONFIG" >"$T_TMP/order.yaml"
t_exit 0 both show latest
t_exit 0 both restore latest --target-db from_plain
t_exit 0 both verify latest
t_match "$t_out" ' ok$' 'with its content'

# killed_after STEP[.started] ARG…: a backup that is killed when that step is done, or begins; an undisturbed one tells where that is
killed_after() {
	local step=${1%.started} what='done' record
	[ "$1" = "$step" ] || what=started
	shift
	t_exit 0 hf -q backup "$@"
	record=$(grep -n "\"step.$what\".*\"step\": *\"$step\"" "$HOLDFAST_STATE_DIR/runs/$(newest_run)/journal" | head -n 1 | cut -d: -f1)
	HOLDFAST_CRASH_AT=journal:$record t_exit 137 hf -q backup "$@"
}
newest_run() { hf runs --output json | jq -r '.runs[0].id'; }

t_begin other_recipients_than_those_of_the_archive_make_no_set
killed_after dump --repository safe
cp "$HOLDFAST_CONFIG" "$T_TMP/before.yaml"
sed -i "s/$public/$(age-keygen -y "$T_TMP/other")/" "$HOLDFAST_CONFIG"
t_exit 1 hf resume "$(newest_run)"
t_match "$t_err" 'the recipients of repository "safe" are others than when the backup began'
t_exit 0 hf abandon "$(newest_run)"
cp "$T_TMP/before.yaml" "$HOLDFAST_CONFIG"
t_exit 0 hf verify all --repository safe --identity "$T_TMP/key"

t_begin an_archive_that_went_away_makes_no_set
killed_after verify --repository near
archive=$(find "$T_TMP/near" -name backup.tar.zst -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d' ' -f2-)
sets=$(hf list --repository near --output json | jq '.sets | length')
rm "$archive"
t_exit 1 hf resume "$(newest_run)"
t_match "$t_err" 'is not there any more'
t_is "$(hf list --repository near --output json | jq '.sets | length')" "$sets" 'no set has come'
t_exit 0 hf abandon "$(newest_run)"

t_begin what_fails_everywhere_is_tried_again
killed_after verify
chmod 500 "$T_TMP"/near/app/backups/* "$T_TMP"/safe/app/backups/* 2>/dev/null
mv "$T_TMP/near" "$T_TMP/near.away"
mv "$T_TMP/safe" "$T_TMP/safe.away"
t_exit 1 hf resume "$(newest_run)"
mv "$T_TMP/near.away" "$T_TMP/near"
mv "$T_TMP/safe.away" "$T_TMP/safe"
chmod 700 "$T_TMP"/near/app/backups/* "$T_TMP"/safe/app/backups/*
t_exit 0 hf resume "$(newest_run)"

t_begin a_set_in_one_of_two_repositories_stays_and_is_told
killed_after commit.started
id=$(grep -o '"backup_id": *"[^"]*' "$HOLDFAST_STATE_DIR/runs/$(newest_run)/journal" | head -n 1 | sed 's/.*"//')
cp "$HOLDFAST_STATE_DIR/runs/$(newest_run)/manifest.json" "$T_TMP/near/app/backups/$id/"
t_exit 0 hf abandon "$(newest_run)"
t_match "$t_err" "warning: backup set \"$id\" is in repository \"near\" already, and stays there"
t_nomatch "$t_err" '"safe" already'
t_is "$(ids | grep "$id")" "$id near"
t_is "$(find "$T_TMP/safe/app/backups" -path "*$id/*")" '' 'of the other one nothing is left'

t_begin copy_takes_the_newest_of_all
t_exit 0 hf backup --repository near
id=$(hf list --repository near --output json | jq -r '.sets[-1].id')
t_exit 0 hf copy latest --from safe --from near --to "$T_TMP/newest"
t_match "$t_out" "$id"
t_nomatch "$t_err" warning
mv "$T_TMP/safe" "$T_TMP/safe.away"
t_exit 0 hf copy latest --from safe --from near --to "$T_TMP/newest"
mv "$T_TMP/safe.away" "$T_TMP/safe"
t_match "$t_err" 'warning: .*"safe"' 'one that cannot be asked may have a newer one: it is told'

t_begin a_passphrase_seals_and_opens
cat >"$T_TMP/phrase.yaml" <<-YAML
	version: 1
	repositories:
	  phrase: { url: $T_TMP/phrase, passphrase: env:PHRASE, read_back: content }
	  printed: { url: $T_TMP/phrase, passphrase: { cmd: [printf, 'correct horse\n'] } }
	  both: { url: $T_TMP/both, passphrase: env:PHRASE, encrypt_to: [$public] }
	stacks:
	  app: { database: { url: "dbname=app" }, repositories: [phrase] }
YAML
PHRASE='correct horse' t_exit 0 hf --config "$T_TMP/phrase.yaml" backup
t_match "$(head -c 60 "$T_TMP"/phrase/app/backups/*/backup.tar.zst.age | tr '\n' ' ')" '^age-encryption.org/v1 -> scrypt ' 'stock age asks for it'
t_exit 0 hf --config "$T_TMP/phrase.yaml" verify latest --repository printed
PHRASE='wrong horse' t_exit 2 hf --config "$T_TMP/phrase.yaml" verify latest
t_isnt "$(grep -c horse <<<"$t_err")" 1 'and is not shown'
PHRASE=x t_exit 2 hf --config "$T_TMP/phrase.yaml" list --repository both
t_match "$t_err" 'excludes "encrypt_to"'

t_begin a_plain_and_an_encrypted_repository_are_not_mixed
sed -i "s|near: { url: $T_TMP/near }|near: { url: $T_TMP/near, encrypt_to: [$public] }|" "$HOLDFAST_CONFIG"
t_exit 2 hf backup --repository near
t_match "$t_err" 'was made without encryption'
sed -i "s|, encrypt_to: \[$public\] }|, read_back: quick }|" "$HOLDFAST_CONFIG"
t_exit 2 hf backup --repository safe
t_match "$t_err" 'is encrypted, and no recipients are configured'
