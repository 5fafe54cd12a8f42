#!/usr/bin/env bash
# prune on S3: a host that cannot read what it prunes, a bucket that holds what was put into it, credentials that may not delete.
# shellcheck source-path=SCRIPTDIR/../lib
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/t.sh
. tests/lib/pg.sh
. tests/lib/rgw.sh
unset "${!HOLDFAST_@}" "${!AWS_@}"

export HOME=$T_TMP/home HOLDFAST_STATE_DIR=$T_TMP/state
mkdir "$HOME"
rgw_start || exit 1
locked=$S3_BUCKET-l
rgw_bucket "$locked" locked && rgw_lock "$locked" GOVERNANCE 1 || exit 1
pg_start || exit 1
pg_sql 'CREATE DATABASE app'
pg_sql 'CREATE TABLE t AS SELECT generate_series(1, 1000) AS id' -d app
"$HOLDFAST" -q keygen --file "$T_TMP/key" >/dev/null 2>&1 || exit 1
recipient=$("$HOLDFAST" keygen --public "$T_TMP/key" | grep -o 'age1[0-9a-z]*' | head -n 1)

# write_config [IDENTITY-LINE]
write_config() {
	cat >"$T_TMP/holdfast.yaml" <<-YAML
		version: 1
		repositories:
		  sealed:
		    url: "s3://$S3_BUCKET/sealed"
		    endpoint: "$S3_ENDPOINT"
		    region: "$S3_REGION"
		    access_key_id: "$S3_ACCESS_KEY"
		    secret_access_key: "$S3_SECRET_KEY"
		    encrypt_to: ["$recipient"]
		    ${1:-}
		  locked:
		    url: "s3://$locked/held"
		    endpoint: "$S3_ENDPOINT"
		    region: "$S3_REGION"
		    access_key_id: "$S3_ACCESS_KEY"
		    secret_access_key: "$S3_SECRET_KEY"
		stacks:
		  app:
		    database: { url: "postgresql:///app" }
		    repositories: [sealed, locked]
	YAML
}
hf() {
	"$HOLDFAST" --config "$T_TMP/holdfast.yaml" --stack app "$@"
}
# keys BUCKET: the names of the objects in it, without what stands before the set's id
keys() {
	rgw_s3 GET "/$1?list-type=2"
	grep -o '<Key>[^<]*backups/[^<]*' <<<"$rgw_body" | sed 's/.*backups.//' | sort
}
write_config

for _ in 1 2 3; do
	t_exit 0 hf -q backup
done
ids=$(keys "$S3_BUCKET" | cut -d/ -f1 | uniq)
newest=$(tail -n 1 <<<"$ids")
t_is "$(wc -l <<<"$ids") $(keys "$locked" | wc -l)" '3 9' 'three sets of three objects in each'

t_begin who_cannot_read_can_pin_and_prune
t_exit 0 hf pin "$(head -n 1 <<<"$ids")" --repository sealed
t_exit 0 hf prune --keep-last 1 --repository sealed --dry-run
t_match "$t_out" 'keep +pinned.*remove +no rule keeps it.*keep +keep_last 1, last verified set'
t_exit 0 hf prune --keep-last 1 --repository sealed --yes
t_match "$t_out" 'removed +1, in .*kept +2'
t_exit 0 hf unpin "$(head -n 1 <<<"$ids")" --repository sealed
t_exit 0 hf prune --keep-last 1 --repository sealed --yes
t_is "$(keys "$S3_BUCKET")" "$newest/backup.tar.zst.age"$'\n'"$newest/manifest.json.age"$'\n'"$newest/set.json"

t_begin what_is_left_is_whole
write_config "identity: \"file:$T_TMP/key\""
t_exit 0 hf verify all --repository sealed
t_exit 0 hf -q restore latest --repository sealed --target-db again
t_is "$(psql -XAtqd again -c 'SELECT count(*) FROM t')" 1000
t_is "$(keys "$S3_BUCKET" | grep -c hold)" 0 'and not held any more'

t_begin what_a_lock_holds_is_told_and_no_error
t_exit 0 hf prune --keep-last 1 --repository locked --yes
t_match "$t_err" "warning: backup set \"$(head -n 1 <<<"$ids")\" in repository \"locked\" cannot be removed yet: .* is locked until 20"
t_match "$t_out" 'removed +0, in .*kept +1.*locked +2, by a retention lock'
t_is "$(keys "$locked" | wc -l)" 9 'nothing of them is gone'
t_exit 0 hf prune --keep-last 1 --repository locked --yes --output json -q
t_is "$(jq -r '.run.outputs.prune.locked | map(.id) | join(" ")' <<<"$t_out")" "$(head -n 2 <<<"$ids" | xargs)"
t_is "$t_err" '' 'quiet'

t_begin who_may_not_delete_fails_and_changes_nothing
t_exit 0 hf -q backup --repository sealed
rgw_user "p$$" && rgw_allow "$S3_BUCKET" "p$$" s3:GetObject s3:PutObject s3:ListBucket s3:ListBucketMultipartUploads s3:GetBucketVersioning
rgw_as "p$$"
write_config
t_exit 1 hf prune --keep-last 1 --repository sealed --yes
t_match "$t_err" 'could not remove 1 of 1 backup sets of stack "app" from repository "sealed"'
t_is "$(rgw_as owner && keys "$S3_BUCKET" | wc -l)" 6 'both sets are whole'
rgw_as owner
write_config
t_exit 0 hf -q prune --keep-last 1 --repository sealed --yes
t_is "$(keys "$S3_BUCKET" | wc -l)" 3
