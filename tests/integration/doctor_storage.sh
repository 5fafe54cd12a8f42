#!/usr/bin/env bash
# doctor storage: what it says of directories and buckets as they should be, and of each thing that can be wrong with them.
# shellcheck source-path=SCRIPTDIR/../lib
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/t.sh
. tests/lib/proxy.sh
. tests/lib/rgw.sh

unset "${!AWS_@}"
export HOME=$T_TMP
hf() {
	"$HOLDFAST" --config "$T_TMP/holdfast.yaml" --state-dir "$T_TMP/state" "$@"
}
# says STATE ITEM REGEX: the item is in that state, and says so
says() {
	t_match "$t_out" "(^|"$'\n'")$1 +$2 +[^"$'\n'"]*$3" "$2: $1"
}
# "ok ok degraded …" of the items in JSON
states() { grep -oE '"item": "[^"]*"|"state": "[^"]*"' <<<"$t_out" | paste -sd' ' | grep -oE '"item": "[^"]*" "state": "[^"]*"' | sed -E 's/"item": "([^"]*)" "state": "([^"]*)"/\1=\2/' | paste -sd' '; }
# configure NAME LINE…: adds a repository to the configuration
configure() {
	[ -e "$T_TMP/holdfast.yaml" ] || printf 'version: 1\nrepositories:\n' >"$T_TMP/holdfast.yaml"
	printf '  %s:\n' "$1" >>"$T_TMP/holdfast.yaml"
	shift
	printf '    %s\n' "$@" >>"$T_TMP/holdfast.yaml"
}
anew() {
	rm -f "$T_TMP/holdfast.yaml"
}
"$HOLDFAST" keygen --file "$T_TMP/a.key" >"$T_TMP/a.pub"
"$HOLDFAST" keygen --file "$T_TMP/b.key" >"$T_TMP/b.pub"

# --- directories -------------------------------------------------------------------------------------------------------------

t_begin a_directory_as_it_should_be
mkdir -m 700 "$T_TMP/repository"
configure local "url: $T_TMP/repository"
t_exit 0 hf doctor
t_is "$t_err" ''
says ok reachable 'answered in [0-9]+ ms'
says ok repository 'none here yet: the first backup makes it, not encrypted'
says ok exclusive-create 'a second creation of the same object is refused'
says ok delete 'the object was removed'
says ok space 'free; there is no backup set yet'
says ok directory 'mode 0700'
t_is "$(find "$T_TMP/repository" -mindepth 1)" '' 'nothing is left behind'
t_exit 0 hf doctor storage --output json
t_is "$(states)" 'configuration=ok reachable=ok repository=ok write=ok read=ok list=ok exclusive-create=ok delete=ok space=ok directory=ok'
t_match "$t_out" '"format": "holdfast-output/1"'
t_match "$t_out" '"name": "local"'
t_exit 0 hf doctor -q
t_is "$t_out" '' 'quiet: nothing needs attention'

t_begin an_area_that_is_not_known
t_exit 2 hf doctor storrage
t_is "$t_err" $'error:  doctor knows no "storrage"\nhint:   It can look at "storage".'

t_begin what_others_may_look_into_is_degraded
chmod 755 "$T_TMP/repository"
t_exit 8 hf doctor -q
says degraded directory 'mode 0755: others on this host can look into it'
t_nomatch "$t_out" '(^|'$'\n'')ok ' 'quiet: the rest is not shown'
chmod 700 "$T_TMP/repository"

t_begin strict_a_directory_can_be_deleted_by_its_owner
t_exit 8 hf doctor --strict
says degraded delete 'can be deleted by its owner, which nothing can forbid'
t_match "$t_out" 's3:DeleteObject and s3:DeleteObjectVersion'

t_begin a_directory_that_is_not_there
anew
configure local "url: $T_TMP/missing"
t_exit 8 hf doctor
says degraded configuration 'directory ".*missing" does not exist'
t_match "$t_out" 'If it is on a file system that is not mounted, mount it'
says skipped reachable 'not looked at, because of "configuration"'
t_match "$t_out" 'so are repository, write, read'
t_is "$(test -e "$T_TMP/missing" && echo made)" '' 'doctor makes nothing'

t_begin what_is_no_repository_fails
anew
mkdir -m 700 "$T_TMP/other"
echo x >"$T_TMP/other/file"
configure local "url: $T_TMP/other"
t_exit 1 hf doctor
says failed repository 'no repository at'
t_is "$t_err" 'error:  1 item failed'
t_is "$(ls "$T_TMP/other")" file

t_begin one_that_fails_does_not_stop_the_others
anew
configure broken "url: env:NO_SUCH_VARIABLE"
configure local "url: $T_TMP/repository"
t_exit 1 hf doctor
says failed configuration 'environment variable "NO_SUCH_VARIABLE" is not set'
says ok delete 'the object was removed'
t_exit 0 hf doctor -r local
t_nomatch "$t_out" broken 'only the one that is named'
t_exit 2 hf doctor -r locl
t_match "$t_err" 'there is no repository "locl"'

t_begin encryption_is_compared_with_the_repository
anew
head='{"format": "holdfast-repository/1", "id": "0123456789abcdef0123456789abcdef"'
mkdir -m 700 "$T_TMP/sealed"
printf '%s, "age_recipients": ["%s"]}\n' "$head" "$(<"$T_TMP/a.pub")" >"$T_TMP/sealed/holdfast-repository.json"
configure both "url: $T_TMP/sealed" "encrypt_to: [$(<"$T_TMP/a.pub")]" "identity: file:$T_TMP/a.key"
t_exit 0 hf doctor
says ok repository 'id 01234567, encrypted to 1 key: age1'
says ok identity 'one of the keys in "encrypt_to" is ours'
anew
configure writer "url: $T_TMP/sealed" "encrypt_to: [$(<"$T_TMP/a.pub")]"
t_exit 0 hf doctor
says ok identity 'none is configured: sets can be written, not read back here'
anew
configure stranger "url: $T_TMP/sealed" "encrypt_to: [$(<"$T_TMP/a.pub")]" "identity: file:$T_TMP/b.key"
t_exit 8 hf doctor
says degraded identity 'it fits none of the keys in "encrypt_to"'
anew
configure lost "url: $T_TMP/sealed" "encrypt_to: [$(<"$T_TMP/a.pub")]" "identity: file:$T_TMP/none.key"
t_exit 1 hf doctor
says failed identity 'none.key'
anew
configure reader "url: $T_TMP/sealed" "identity: file:$T_TMP/a.key"
t_exit 8 hf doctor
says degraded repository 'sets can be read here, not written'
anew
configure forgotten "url: $T_TMP/sealed"
t_exit 1 hf doctor
says failed repository 'is encrypted, and no recipients are configured for it'
anew
mkdir -m 700 "$T_TMP/plain"
printf '%s}\n' "$head" >"$T_TMP/plain/holdfast-repository.json"
configure plain "url: $T_TMP/plain" "encrypt_to: [$(<"$T_TMP/a.pub")]"
t_exit 1 hf doctor
says failed repository 'was made without encryption'
t_nomatch "$t_out$t_err" 'AGE-SECRET-KEY' 'no secret is told'

t_begin little_room_is_degraded
anew
set=$T_TMP/plain/app/backups/20261120T031500Z-7f3a91c2
mkdir -p "$set"
truncate -s $(($(df --output=avail -B1 "$T_TMP" | tail -n 1) * 9 / 10)) "$set/backup.tar.zst"
configure plain "url: $T_TMP/plain"
t_exit 8 hf doctor
says degraded space 'free; the newest set has'
truncate -s 1000 "$set/backup.tar.zst"
t_exit 0 hf doctor
says ok space 'free; the newest set has 1'

# --- buckets -----------------------------------------------------------------------------------------------------------------

rgw_start || exit 1
proxy_start offsite "${S3_ENDPOINT#http://}"
# bucket NAME [LINE…]: the only repository of the configuration, through the proxy
bucket() {
	local name=$1
	shift
	anew
	configure offsite "url: s3://$name/prefix" "endpoint: http://127.0.0.1:${proxy_port[offsite]}" \
		"access_key_id: $S3_ACCESS_KEY" "secret_access_key: $S3_SECRET_KEY" "$@"
}
# what is in the bucket
keys() {
	rgw_s3 GET "/$1?list-type=2" && grep -oE '<Key>[^<]*' <<<"$rgw_body" | sed 's/<Key>//'
}

t_begin a_bucket_as_it_should_be
bucket "$S3_BUCKET" "spool: $T_TMP/spool"
t_exit 0 hf doctor
says ok credentials 'from configuration'
says ok clock 'agree'
says ok exclusive-create 'is refused'
says ok multipart 'a part was sent, listed and removed'
says ok delete 'the object was removed'
says ok versioning off
says ok object-lock off
says ok spool 'does not exist yet: the first backup makes it'
t_nomatch "$t_out$t_err" "${S3_SECRET_KEY:0:12}" 'no secret is told'
t_is "$(keys "$S3_BUCKET")" '' 'nothing is left behind'
rgw_s3 GET "/$S3_BUCKET?uploads="
t_nomatch "$rgw_body" '<UploadId>' 'no upload either'
t_exit 8 hf doctor --strict
says degraded delete 'these credentials may delete backup sets'
t_match "$t_out" 'Deny them s3:DeleteObject and s3:DeleteObjectVersion'

t_begin what_a_killed_examination_left_is_removed_in_time
rgw_s3 PUT "/$S3_BUCKET/prefix/holdfast-probe/$(hostname | tr -c 'A-Za-z0-9-\n' _).0011223344556677" --data-binary x
t_exit 0 hf doctor
t_is "$(keys "$S3_BUCKET" | wc -l)" 1 'not before an hour has passed: it may be at work'
rgw_s3 DELETE "/$S3_BUCKET/$(keys "$S3_BUCKET")"

t_begin clocks_that_differ
proxy_fault offsite '*' answer-after status=200 skew_s=420 method=GET path=versioning 'body=<VersioningConfiguration/>'
t_run hf doctor
says degraded clock 'the server.s clock is (7m|6m5).* ahead of ours'
t_match "$t_out" 'by NTP'
proxy_clear offsite
proxy_fault offsite '*' answer-after status=200 skew_s=-1200 method=GET path=versioning 'body=<VersioningConfiguration/>'
t_exit 1 hf doctor
says failed clock 'the server.s clock is (19|20)m.* behind ours'
proxy_clear offsite

t_begin a_server_without_conditional_creation
# it ignores the condition: writing what is there already succeeds
proxy_fault offsite 3 answer method=PUT status=200
t_exit 8 hf doctor
says degraded exclusive-create 'cannot create exclusively'
t_is "$(proxy_faults offsite)" 1
proxy_clear offsite

t_begin what_these_credentials_may_not_do
rgw_user "weak$$"
every=(s3:GetObject s3:PutObject s3:ListBucket s3:ListBucketMultipartUploads s3:ListMultipartUploadParts s3:AbortMultipartUpload
	s3:GetBucketVersioning s3:GetBucketObjectLockConfiguration)
rgw_allow "$S3_BUCKET" "weak$$" "${every[@]}"
rgw_as "weak$$"
bucket "$S3_BUCKET"
t_exit 0 hf doctor --strict
says ok delete 'these credentials may not delete; object ".*" stays and is used again'
says ok multipart 'listed and removed'
says ok exclusive-create "two at once could not be tried"
t_exit 0 hf doctor --strict
rgw_as owner
t_is "$(keys "$S3_BUCKET" | wc -l)" 1 'two examinations leave one object'
rgw_allow "$S3_BUCKET" "weak$$" s3:GetObject s3:ListBucket s3:DeleteObject
rgw_as "weak$$"
t_exit 1 hf doctor
says failed write '(not permitted|permission|denied|may not)'
says skipped read 'not looked at, because of "write"'
rgw_as owner
rgw_allow "$S3_BUCKET" "weak$$" s3:GetObject s3:PutObject s3:DeleteObject
rgw_as "weak$$"
t_exit 1 hf doctor
says failed repository "permission s3:GetObject is missing"
t_match "$t_out" "Grant s3:GetObject and s3:ListBucket on bucket"
rgw_as owner
rgw_allow "$S3_BUCKET" "weak$$"

t_begin keys_and_places_that_are_wrong
bucket "$S3_BUCKET"
sed -i "s|secret_access_key: .*|secret_access_key: wrong|" "$T_TMP/holdfast.yaml"
t_exit 1 hf doctor
says failed reachable 'does not accept the signature'
t_match "$t_out" 'Check the secret access key'
says skipped credentials 'because of "reachable"'
bucket no-such-bucket-at-all
t_exit 1 hf doctor
says failed reachable 'no-such-bucket-at-all'
bucket "$S3_BUCKET"
sed -i "s|endpoint: .*|endpoint: http://127.0.0.1:9|" "$T_TMP/holdfast.yaml"
SECONDS=0
t_exit 1 hf doctor
says failed reachable 'Connection refused'
t_ok test "$SECONDS" -le 20

t_begin versions_and_locks
rgw_bucket "$S3_BUCKET-versioned" versioned
bucket "$S3_BUCKET-versioned"
# whether this server also honours conditions where it keeps versions is its own affair
t_run hf doctor
says ok versioning 'on: what is overwritten or deleted by others stays as an older version'
t_match "$t_out" 'let a lifecycle rule of the bucket expire old versions'
rgw_bucket "$S3_BUCKET-locked" locked
rgw_lock "$S3_BUCKET-locked" GOVERNANCE 3
bucket "$S3_BUCKET-locked"
t_exit 0 hf doctor --strict
says ok object-lock 'on: what is written is locked for 3 days, mode GOVERNANCE'
says ok delete 'a retention lock keeps what is written'
t_exit 0 hf doctor
t_is "$(keys "$S3_BUCKET-locked" | wc -l)" 1 'two examinations leave one object'

t_begin the_limits_of_libs3_are_told
bucket "$S3_BUCKET" 'driver: libs3'
t_exit 8 hf doctor
says degraded driver 'signs with version 2, sends each object in one piece'
says degraded exclusive-create 'cannot create exclusively'
says ok delete 'the object was removed'
t_nomatch "$t_out" multipart
t_is "$(keys "$S3_BUCKET")" ''
