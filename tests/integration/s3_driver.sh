#!/usr/bin/env bash
# The S3 driver against a real gateway: objects, odd keys, listings in pages, uploads in parts and their resume, versions and locks,
# missing permissions, TLS, silence, and kills.  What the server holds is looked at by curl, not by the driver.
# shellcheck source-path=SCRIPTDIR/../lib
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/t.sh
. tests/lib/rgw.sh

probe=$HOLDFAST_BUILD/tests/integration/s3_probe
unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_PROFILE AWS_REGION AWS_DEFAULT_REGION
export HOME=$T_TMP
rgw_start || exit 1
bucket=$S3_BUCKET
part=5242880

head -c 100 /dev/urandom >"$T_TMP/small"
head -c 22000000 /dev/urandom >"$T_TMP/big"
: >"$T_TMP/empty"
truncate -s 150M "$T_TMP/huge" # takes long enough to be met in the middle

# the message of a failure, without detail and hint
message() {
	grep -m 1 -E '^[a-z]+: ' <<<"$t_out"
}
hint() {
	sed -n 's/^hint: //p' <<<"$t_out"
}
# an object as the server gives it to curl
fetch() {
	curl -sS --noproxy '*' --aws-sigv4 "aws:amz:$S3_REGION:s3" --user "$S3_ACCESS_KEY:$S3_SECRET_KEY" \
		-H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' -o "$T_TMP/fetched" "$S3_ENDPOINT/$1"
}
uploads() {
	rgw_s3 GET "/$S3_BUCKET?uploads=" && grep -o '<UploadId>' <<<"$rgw_body" | wc -l
}

t_begin objects_are_written_read_and_removed
t_ok "$probe" put a/small "$T_TMP/small"
fetch "$bucket/a/small" && t_ok cmp "$T_TMP/small" "$T_TMP/fetched"
t_ok "$probe" stat a/small
t_match "$t_out" $'found 1\nsize 100\n'
t_match "$t_out" 'age_s [0-9]$' "written just now"
t_ok "$probe" get a/small 10 20 "$T_TMP/range"
t_ok cmp -n 20 -i 10:0 "$T_TMP/small" "$T_TMP/range"
t_ok "$probe" put a/empty "$T_TMP/empty"
t_ok "$probe" stat a/empty
t_match "$t_out" $'found 1\nsize 0\n'
t_ok "$probe" remove a/small
t_is "$t_out" 'removed 1'
t_ok "$probe" remove a/small
t_is "$t_out" 'removed 0' "a second time there is nothing"
t_ok "$probe" stat a/small
t_is "$t_out" 'found 0'
t_ok "$probe" get a/small 0 1 "$T_TMP/range"
t_is "$t_out" 'found 0'
rgw_s3 HEAD "/$bucket/a/small" -I
t_is "$rgw_status" 404 "the server says so too"

t_begin a_range_past_the_end_is_no_part_of_the_object
t_ok "$probe" put r "$T_TMP/small"
t_exit 1 "$probe" get r 90 20 "$T_TMP/range"
t_is "$(message)" "corrupt: object \"s3://$bucket/r\" is shorter than it must be"
t_exit 1 "$probe" get r 200 1 "$T_TMP/range"
t_is "$(message)" "corrupt: object \"s3://$bucket/r\" is shorter than it must be"

t_begin an_exclusive_object_is_created_once
t_ok "$probe" --exclusive put once "$T_TMP/small"
t_is "$t_out" 'exclusive_create 1' "the server honours it"
t_exit 1 "$probe" --exclusive put once "$T_TMP/empty"
t_is "$(message)" "conflict: object \"s3://$bucket/once\" exists already"
fetch "$bucket/once" && t_ok cmp "$T_TMP/small" "$T_TMP/fetched"
for i in 1 2 3 4 5 6; do
	"$probe" --exclusive put race "$T_TMP/small" >"$T_TMP/race.$i" 2>&1 &
done
wait
t_is "$(grep -lx 'exclusive_create 1' "$T_TMP"/race.? | wc -l)" 1 "one of six at once"
t_is "$(grep -l '^conflict: ' "$T_TMP"/race.? | wc -l)" 5 "the others are told"

t_begin odd_keys_come_back_as_they_were
odd=('with blank' 'plus+plus' '100%' '%41' 'hash#and?query&=' $'\xc3\xa4\xc3\xb6/\xe6\xbc\xa2' "quote'\"<>" 'semi;colon:at@' '~tilde-_.' $'ctrl\x01')
for key in "${odd[@]}"; do
	t_ok "$probe" --prefix odd put "$key" "$T_TMP/small"
done
t_ok "$probe" --prefix odd list ''
t_is "$(sort <<<"$t_out")" "$(printf '100 1 %s\n' "${odd[@]}" | sort)" "all are listed"
for key in "${odd[@]}"; do
	t_ok "$probe" --prefix odd get "$key" 0 100 "$T_TMP/range"
	t_ok "$probe" --prefix odd remove "$key"
	t_is "$t_out" 'removed 1'
done
t_ok "$probe" --prefix odd list ''
t_is "$t_out" '' "nothing is left"

t_begin a_key_below_a_prefix_stays_there
t_ok "$probe" --prefix pre/fix put x/y "$T_TMP/small"
t_ok "$probe" --prefix pre/fix list x
t_is "$t_out" '100 1 x/y'
t_ok "$probe" list pre
t_is "$t_out" '100 1 pre/fix/x/y'
t_exit 1 "$probe" put ../x "$T_TMP/small"
t_is "$(message)" 'bug: "../x" cannot be the key of an object'

t_begin a_long_listing_comes_in_pages
t_ok "$probe" --prefix pages --threads 4 many 1100
t_ok "$probe" --prefix pages list many/
t_is "$(awk '{ print $3 }' <<<"$t_out" | sort -u | wc -l)" 1100 "every object once"
t_is "$(wc -l <<<"$t_out")" 1100

t_begin an_object_is_uploaded_in_parts_from_threads
t_ok "$probe" --threads 3 --part-bytes $part upload parts "$T_TMP/big"
fetch "$bucket/parts" && t_ok cmp "$T_TMP/big" "$T_TMP/fetched"
t_ok "$probe" upload none "$T_TMP/empty"
t_ok "$probe" stat none
t_match "$t_out" $'found 1\nsize 0\n' "an empty object too"
t_exit 1 "$probe" --exclusive --tag another upload parts "$T_TMP/small"
t_is "$(message)" "conflict: object \"s3://$bucket/parts\" exists already"
t_is "$(uploads)" 0 "and nothing stays behind"

t_begin a_part_is_taken_from_another_object
t_ok "$probe" --part-bytes $part compose copy parts
fetch "$bucket/copy" && t_ok cmp "$T_TMP/big" "$T_TMP/fetched"
t_exit 1 "$probe" compose copy2 no-such
t_ok "$probe" stat copy2
t_is "$t_out" 'found 0'

t_begin a_killed_upload_is_invisible_and_goes_on_in_another_process
t_run "$probe" --part-bytes $part --kill-after-parts 2 upload killed "$T_TMP/big"
t_is "$t_status" 137 "killed"
id=$(sed -n 's/^id //p' <<<"$t_out")
t_ok "$probe" stat killed
t_is "$t_out" 'found 0' "nothing is visible"
t_ok "$probe" parts killed "$id"
t_is "$t_out" $'part 1 5242880\npart 2 5242880'
t_ok "$probe" --part-bytes $part --threads 2 resume killed "$T_TMP/big" "$id"
t_is "$t_out" 'there 2 of 5'
fetch "$bucket/killed" && t_ok cmp "$T_TMP/big" "$T_TMP/fetched"

t_begin an_upload_that_is_gone_is_a_conflict
t_exit 1 "$probe" --part-bytes $part resume killed "$T_TMP/big" "$id"
t_is "$(message)" "conflict: could not list the parts of object \"s3://$bucket/killed\": the server no longer knows the upload"

t_begin a_commit_whose_answer_was_lost_succeeds_again
t_ok "$probe" --part-bytes $part recommit again "$T_TMP/big"
fetch "$bucket/again" && t_ok cmp "$T_TMP/big" "$T_TMP/fetched"

t_begin what_killed_uploads_left_is_swept_when_it_is_old_enough
for key in sweep/a sweep/b other; do
	t_run "$probe" --part-bytes $part --kill-after-parts 1 upload $key "$T_TMP/big"
	t_is "$t_status" 137
done
t_ok "$probe" sweep '' 3600000
t_is "$t_out" 'swept 0' "not within the hour"
t_ok "$probe" sweep sweep/ 0
t_is "$t_out" 'swept 2' "those below the prefix"
t_is "$(uploads)" 1
t_ok "$probe" sweep '' 0
t_is "$t_out" 'swept 1'
t_is "$(uploads)" 0

t_begin a_versioned_bucket_keeps_nothing_of_what_is_removed
rgw_bucket "$bucket-v" versioned
export S3_BUCKET=$bucket-v
t_ok "$probe" describe
t_match "$t_out" $'clock same\nversioning on\nobject_lock off\n'
for i in 1 2 3; do
	t_ok "$probe" put key "$T_TMP/small"
	t_ok "$probe" put key-too "$T_TMP/small"
done
t_ok "$probe" remove key
t_is "$t_out" 'removed 1'
rgw_s3 GET "/$S3_BUCKET?versions="
t_is "$(grep -o '<Key>[^<]*' <<<"$rgw_body" | sort | uniq -c | xargs)" '3 <Key>key-too' "no version, no marker of it; the other key has all"
t_ok "$probe" remove key
t_is "$t_out" 'removed 0'
rgw_s3 DELETE "/$S3_BUCKET/key-too"
t_ok "$probe" remove key-too
t_is "$t_out" 'removed 1' "also when somebody has hidden it"
rgw_s3 GET "/$S3_BUCKET?versions="
t_nomatch "$rgw_body" '<Key>'

t_begin what_is_locked_is_refused_with_its_date
rgw_bucket "$bucket-l" locked
export S3_BUCKET=$bucket-l
t_ok "$probe" --lock-mode GOVERNANCE --lock-ms 10000 put locked "$T_TMP/small"
t_ok "$probe" --lock-mode GOVERNANCE --lock-ms 10000 upload locked-parts "$T_TMP/small"
for key in locked locked-parts; do
	t_exit 1 "$probe" remove $key
	t_match "$(message)" "^refused: object \"s3://$bucket-l/$key\" is locked until 20[0-9-]+T[0-9:]+\.000Z$"
	t_ok "$probe" stat $key
	t_match "$t_out" 'found 1' "it stays"
done
t_wait 30 "$probe" remove locked
t_wait 30 "$probe" remove locked-parts
rgw_s3 GET "/$S3_BUCKET?versions="
t_nomatch "$rgw_body" '<Key>' "removed when the time has come"
t_ok "$probe" --lock-mode GOVERNANCE --lock-ms 5000 put older "$T_TMP/small"
t_ok "$probe" put older "$T_TMP/empty"
t_exit 1 "$probe" remove older
t_match "$(message)" "^refused: object \"s3://$bucket-l/older\" is locked until " "by a version that is not the newest"
t_ok "$probe" stat older
t_match "$t_out" $'found 1\nsize 0\n' "and the newest stays too"
t_wait 30 "$probe" remove older
t_ok "$probe" put held "$T_TMP/small"
rgw_s3 PUT "/$S3_BUCKET/held?legal-hold=" --data-binary '<LegalHold xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>ON</Status></LegalHold>'
t_exit 1 "$probe" remove held
t_is "$(message)" "refused: object \"s3://$bucket-l/held\" is under a legal hold"
rgw_s3 PUT "/$S3_BUCKET/held?legal-hold=" --data-binary '<LegalHold xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>OFF</Status></LegalHold>'
t_ok "$probe" remove held
rgw_lock "$S3_BUCKET" COMPLIANCE 1
t_ok "$probe" describe
t_match "$t_out" $'versioning on\nobject_lock on\nlock COMPLIANCE 1\n'
t_ok "$probe" upload default "$T_TMP/small"
t_exit 1 "$probe" remove default
t_match "$(message)" '^refused: object .* is locked until ' "by the bucket's default"
export S3_BUCKET=$bucket

t_begin wrong_keys_and_buckets_have_one_message_each
S3_SECRET_KEY=wrong t_exit 1 "$probe" put x "$T_TMP/small"
t_is "$(message)" "denied: could not write object \"s3://$bucket/x\": the server does not accept the signature"
t_is "$(hint)" 'Check the secret access key. The credentials come from configuration.'
S3_SECRET_KEY=wrong t_exit 1 "$probe" stat x
t_is "$(message)" "denied: could not examine object \"s3://$bucket/x\": the server does not accept the signature" \
	"although a HEAD's answer has no code"
S3_ACCESS_KEY=nobody t_exit 1 "$probe" list ''
t_is "$(message)" "denied: could not list objects of \"s3://$bucket/\": the server does not know the access key"
for operation in "put x $T_TMP/small" 'stat x' 'list x' 'remove x' "upload x $T_TMP/small" 'sweep x 0' describe; do
	# shellcheck disable=SC2086 # words
	S3_BUCKET=no-such-bucket t_exit 1 "$probe" $operation
	t_match "$(message)" '^config: could not .*: bucket "no-such-bucket" does not exist$'
done
t_nomatch "$t_out" "$S3_SECRET_KEY" "the secret is nowhere"

t_begin clocks_that_differ_are_told
for ahead in 1200 -1200; do
	HF_CLOCK_AHEAD_S=$ahead LD_PRELOAD=$HOLDFAST_BUILD/tests/integration/shim_clock.so t_exit 1 "$probe" put clock "$T_TMP/small"
	t_is "$(message)" "config: could not write object \"s3://$bucket/clock\": the clocks of this machine and of the server are too far apart"
	t_match "$t_out" 'detail: This machine says 20[0-9-]+T[0-9:.]+Z, the server 20[0-9-]+T[0-9:]+\.000Z: (19m5|20m0)[0-9]s apart\.'
	t_is "$(hint)" "Set this machine's clock, best by a time service."
done

t_begin the_permission_that_is_missing_is_named
rgw_user "u$$"
denied() { # OPERATION MESSAGE, with all permissions but the one
	local operation=$1
	# shellcheck disable=SC2086 # words
	t_exit 1 "$probe" $operation
	t_is "$(message)" "denied: could not $2"
}
as_user() {
	rgw_as owner
	rgw_allow "$bucket" "u$$" "$@"
	rgw_as "u$$"
}
as_user s3:PutObject s3:GetObject s3:ListBucket s3:DeleteObject s3:GetBucketVersioning s3:AbortMultipartUpload \
	s3:ListBucketMultipartUploads s3:ListMultipartUploadParts
t_ok "$probe" put mine "$T_TMP/small"
t_ok "$probe" remove mine
t_ok "$probe" upload mine "$T_TMP/small"
t_is "$t_status" 0 "with all of them it works"
as_user s3:GetObject s3:ListBucket s3:DeleteObject
denied "put mine $T_TMP/small" "write object \"s3://$bucket/mine\": permission s3:PutObject is missing"
t_is "$(hint)" "Grant s3:PutObject on bucket \"$bucket\" to the owner of the credentials, which come from configuration."
denied "upload mine $T_TMP/small" "begin the upload of object \"s3://$bucket/mine\": permission s3:PutObject is missing"
as_user s3:GetObject s3:PutObject s3:DeleteObject
denied 'list m' "list objects of \"s3://$bucket/m\": permission s3:ListBucket is missing"
as_user s3:GetObject s3:ListBucket s3:PutObject
denied 'remove mine' "remove object \"s3://$bucket/mine\": permission s3:DeleteObject is missing"
as_user s3:ListBucket s3:PutObject
denied "get r 0 1 $T_TMP/range" "read object \"s3://$bucket/r\": permission s3:GetObject is missing"
denied 'stat r' "examine object \"s3://$bucket/r\": permission s3:GetObject is missing"
rgw_as owner

t_begin a_quota_that_is_used_up_is_a_full_place
rgw_admin quota set --quota-scope=bucket --bucket="$bucket-v" --max-objects=1 >/dev/null
rgw_admin quota enable --quota-scope=bucket --bucket="$bucket-v" >/dev/null
export S3_BUCKET=$bucket-v
t_ok "$probe" put one "$T_TMP/small"
full() {
	t_run "$probe" put "two-$RANDOM" "$T_TMP/small"
	[ "$t_status" -eq 1 ]
}
t_wait 30 full # the gateway counts with a delay
t_match "$(message)" "^full: could not write object \"s3://$bucket-v/two-[0-9]+\": the quota is used up$"
export S3_BUCKET=$bucket

t_begin a_server_that_does_not_know_a_storage_class_says_so
t_exit 1 "$probe" --storage-class NO_SUCH put class "$T_TMP/small"
t_is "$(message)" "failed: could not write object \"s3://$bucket/class\": the server does not take what the request says"
t_match "$(hint)" 'Check the storage class'

t_begin checksums_of_both_kinds_are_taken
t_ok "$probe" --checksums on put sum "$T_TMP/small"
t_ok "$probe" --checksums off put sum "$T_TMP/small"
t_ok "$probe" --checksums off --part-bytes $part upload sum "$T_TMP/big"
fetch "$bucket/sum" && t_ok cmp "$T_TMP/big" "$T_TMP/fetched"

t_begin a_bucket_in_the_hosts_name_is_found
S3_ENDPOINT=http://localhost:${S3_ENDPOINT##*:} t_ok "$probe" --virtual put virtual "$T_TMP/small"
fetch "$bucket/virtual" && t_ok cmp "$T_TMP/small" "$T_TMP/fetched"

t_begin tls_is_trusted_by_the_ca_file_alone
plain=$S3_ENDPOINT
export S3_ENDPOINT=$S3_ENDPOINT_TLS
t_ok "$probe" --ca-file "$S3_CACERT" put tls "$T_TMP/small"
t_ok "$probe" --ca-file "$S3_CACERT" --threads 2 --part-bytes $part upload tls "$T_TMP/big"
t_exit 1 "$probe" put tls "$T_TMP/small"
t_is "$(message)" "config: could not reach \"$S3_ENDPOINT\": self-signed certificate"
t_is "$(hint)" "Set ca_file to the certificate of the authority that signed the server's."
t_exit 1 "$probe" --ca-file /dev/null put tls "$T_TMP/small"
t_is "$(message)" 'config: could not load CA file "/dev/null"'
S3_ENDPOINT=https://localhost.localdomain:${S3_ENDPOINT##*:} t_exit 1 "$probe" --ca-file "$S3_CACERT" put tls "$T_TMP/small"
S3_ENDPOINT=https://127.0.0.2:${S3_ENDPOINT##*:} t_exit 1 "$probe" --ca-file "$S3_CACERT" put tls "$T_TMP/small"
S3_ENDPOINT=http://127.0.0.1:${S3_ENDPOINT##*:} t_exit 1 "$probe" put tls "$T_TMP/small"
S3_ENDPOINT=https://127.0.0.1:${plain##*:} t_exit 1 "$probe" put tls "$T_TMP/small"
t_is "$(message)" "config: could not reach \"https://127.0.0.1:${plain##*:}\": it does not speak TLS on this port"
export S3_ENDPOINT=$plain

# From here on with a gateway of our own, which is stopped and killed.
rgw_gateway || exit 1

t_begin a_gateway_that_falls_silent_is_given_up
t_ok "$probe" put silent "$T_TMP/small"
rgw_signal STOP
began=$SECONDS
t_exit 1 "$probe" --stall-ms 1000 get silent 0 100 "$T_TMP/range"
t_is "$(message)" "retry: could not reach \"$S3_ENDPOINT\": not a byte was moved for 1.0s"
t_match $((SECONDS - began)) '^[1-9]$' "after the time that was set"
"$probe" --cancel-on-term get silent 0 100 "$T_TMP/range" >"$T_TMP/cancelled" 2>&1 &
pid=$!
sent() { # the request is on its way to the gateway that sleeps
	grep -qiE ":$(printf %04X "${S3_ENDPOINT##*:}") 01 " /proc/net/tcp
}
t_wait 10 sent
kill -TERM "$pid"
began=$SECONDS
wait "$pid"
t_is "$(cat "$T_TMP/cancelled")" 'cancelled: interrupted by a signal'
t_match $((SECONDS - began)) '^[0-5]$' "at once"
rgw_signal CONT
t_ok "$probe" get silent 0 100 "$T_TMP/range"

t_begin a_gateway_killed_in_mid_upload_leaves_nothing_visible
"$probe" --part-bytes $part upload cut "$T_TMP/huge" >"$T_TMP/cut" 2>&1 &
pid=$!
t_wait 10 grep -q '^id ' "$T_TMP/cut"
rgw_signal KILL
wait "$pid"
t_is "$?" 1 "the upload has failed"
t_match "$(grep -v '^id \|^abort failed: \|^detail: \|^hint: ' "$T_TMP/cut")" "^retry: could not reach \"$S3_ENDPOINT\": " "as what may be tried again"
t_exit 1 "$probe" stat cut
t_is "$(message)" "retry: could not reach \"$S3_ENDPOINT\": could not connect: Connection refused"
rgw_restart
t_ok "$probe" stat cut
t_is "$t_out" 'found 0' "nothing is visible"
id=$(sed -n 's/^id //p' "$T_TMP/cut")
t_ok "$probe" --part-bytes $part resume cut "$T_TMP/huge" "$id"
fetch "$bucket/cut" && t_ok cmp "$T_TMP/huge" "$T_TMP/fetched"

t_begin a_small_object_cut_short_is_not_there
rgw_signal STOP
t_exit 1 "$probe" --stall-ms 500 put cut-small "$T_TMP/big"
t_match "$(message)" '^retry: could not reach '
rgw_signal KILL
rgw_restart
t_ok "$probe" stat cut-small
t_is "$t_out" 'found 0'
