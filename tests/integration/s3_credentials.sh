#!/usr/bin/env bash
# Credentials that are fetched: instance metadata and web identity, against a server of the tests' own on loopback, in all the ways in
# which it can fail them.  No key, token or session ever comes up in a message.
# shellcheck source=../lib/t.sh
. tests/lib/t.sh

unset "${!AWS_@}"
# A proxy that nobody may ask: the metadata service is a neighbour.
export http_proxy=http://127.0.0.1:9 HTTP_PROXY=http://127.0.0.1:9 no_proxy='' NO_PROXY=''
build=${HOLDFAST_BUILD:-$PWD/build}
server=$build/tests/integration/metadata_server
probe=$build/tests/integration/s3_credentials_probe
dir=$T_TMP/server
mkdir "$dir"
"$server" "$dir" &
t_defer kill $!
t_wait 10 test -s "$dir/port" || exit 1
url=http://127.0.0.1:$(<"$dir/port")

# --- asking ------------------------------------------------------------------------------------------------------------------

# What the server does from now on, for each kind of request; everything as usual first.
tell() {
	local kind
	rm -f "$dir"/{session,role,keys,sts,lifetime,log}
	: >"$dir/log"
	while [ $# -gt 0 ]; do
		kind=$1
		printf '%b\n' "$2" >"$dir/$kind"
		shift 2
	done
}

# probe_open SOURCE [ENDPOINT]: a probe that stays; then "ask COMMAND" sets answer
probe_open() {
	coproc PROBE { exec "$probe" "$@"; }
	probe_process=${PROBE_PID:?}
	exec {probe_out}<&"${PROBE[0]}" {probe_in}>&"${PROBE[1]}"
}
ask() {
	printf '%s\n' "$1" >&"$probe_in"
	answer=''
	IFS= read -r -t 30 answer <&"$probe_out"
}
probe_close() {
	exec {probe_in}>&- {probe_out}<&-
	eval "exec ${PROBE[1]:-}>&-" 2>/dev/null
	wait "$probe_process" 2>/dev/null
}

# once SOURCE COMMAND…: a probe for these commands alone; the last answer
once() {
	local source=$1
	shift
	answer=$(printf '%s\n' "$@" | "$probe" "$source" "$url" | tail -n 1)
}

requests() {
	tr '\n' ' ' <"$dir/log"
}

session='PUT /latest/api/token'
role='GET /latest/meta-data/iam/security-credentials/'
keys='GET /latest/meta-data/iam/security-credentials/backup-role'

# --- instance metadata -------------------------------------------------------------------------------------------------------

t_begin an_instance_gets_its_key_through_a_session
tell
once instance get
t_match "$answer" '^ASIA[0-9]+ secret[0-9]+ token[0-9]+ instance metadata, role "backup-role"$' 'a key with its token'
t_is "$(requests)" "$session $role $keys " 'version 2, and nothing else'

t_begin a_key_is_kept_until_five_minutes_before_it_expires
tell lifetime 310
probe_open instance "$url"
ask get
first=$answer
ask get
t_is "$answer" "$first" 'the same key again'
t_is "$(grep -cF "$session" "$dir/log")" 1 'asked for once'
tell lifetime 290
ask forget
ask get
second=$answer
t_isnt "$second" "$first" 'another after it was refused'
ask get
t_isnt "$answer" "$second" 'one that expires within five minutes is renewed'
t_match "$answer" '^ASIA' 'and it is one'

t_begin a_renewal_that_fails_does_not_matter_while_the_key_is_good
tell session 'status 500' lifetime 290
third=$answer
ask get
t_is "$answer" "$third" 'the old key'
ask get
t_is "$answer" "$third" 'and again'
t_is "$(requests)" "$session " 'without asking each time'
ask forget
ask get
t_is "$answer" "error retry: instance metadata service \"$url\" gave no session: status 500" 'but not when the server has refused it'
tell
ask get
t_match "$answer" '^ASIA' 'later it works again'

t_begin threads_share_one_request
tell
ask forget
ask 'threads 16'
t_match "$answer" '^ASIA[0-9]+ ' 'all got the same'
t_is "$(requests)" "$session $role $keys " 'asked for once'

t_begin cancellation_is_heeded
tell session hang
ask forget
ask cancel
ask get
t_is "$answer" 'error cancelled: interrupted by a signal' 'at once'
probe_close

t_begin what_the_metadata_service_answers_is_told
fails() { # KIND CONTROL MESSAGE
	tell "$1" "$2"
	once instance get
	t_is "$answer" "error ${3//URL/$url}" "$1 ${2%%$'\n'*}"
}
fails session 'status 403' 'denied: instance metadata service "URL" gave no session: status 403 (Instance metadata is turned off for this instance.)'
fails session 'status 404' 'config: instance metadata service "URL" gave no session: status 404 (This service does not speak version 2, and version 1 is not used.)'
fails session 'status 400' 'failed: instance metadata service "URL" gave no session: status 400'
fails session 'status 429' 'retry: instance metadata service "URL" gave no session: status 429'
fails session 'status 503' 'retry: instance metadata service "URL" gave no session: status 503'
fails session 'body' 'retry: instance metadata service "URL" gave no session: its answer cannot be understood'
fails session 'body\ntwo words' 'retry: instance metadata service "URL" gave no session: its answer cannot be understood'
fails session 'body\nEXPIRED' 'retry: instance metadata service "URL" gave no role: status 401'
fails role 'status 404' 'config: instance metadata service "URL" gave no role: status 404 (Attach a role to this instance, or configure another source of credentials.)'
fails role 'status 500' 'retry: instance metadata service "URL" gave no role: status 500'
fails role 'body\n' 'retry: instance metadata service "URL" gave no role: its answer cannot be understood'
fails role 'body\n<html>no</html>' 'retry: instance metadata service "URL" gave no role: its answer cannot be understood'
fails role 'body\n../../x' 'retry: instance metadata service "URL" gave no role: its answer cannot be understood'
fails role 'body\nanother-role' 'retry: instance metadata service "URL" gave no credentials: status 404'
fails keys 'status 401' 'retry: instance metadata service "URL" gave no credentials: status 401'
fails keys 'status 500' 'retry: instance metadata service "URL" gave no credentials: status 500'
fails keys 'status 301' 'failed: instance metadata service "URL" gave no credentials: status 301'
fails keys 'body' 'retry: instance metadata service "URL" gave no credentials: its answer cannot be understood'
fails keys 'body\n{"SecretAccessKey": "hush", ' 'retry: instance metadata service "URL" gave no credentials: its answer cannot be understood'
fails keys 'body\n["hush"]' 'retry: instance metadata service "URL" gave no credentials: its answer cannot be understood'
fails keys 'body\n{"Code": "Success", "AccessKeyId": "A", "SecretAccessKey": "hush", "Expiration": "2099-01-01T00:00:00Z"}' \
	'retry: instance metadata service "URL" gave no credentials: its answer cannot be understood'
fails keys 'body\n{"Code": "Success", "AccessKeyId": "A", "SecretAccessKey": "hush", "Token": "t", "Expiration": "soon"}' \
	'retry: instance metadata service "URL" gave no credentials: its answer cannot be understood'
fails keys 'body\n{"Code": "AssumeRoleUnauthorizedAccess", "Message": "hush"}' \
	'denied: instance metadata service "URL" gave no credentials for role "backup-role": AssumeRoleUnauthorizedAccess'
fails keys 'body\n{"AccessKeyId": "A", "SecretAccessKey": "hush", "Token": "t", "Expiration": "2020-02-03T04:05:06Z"}' \
	'retry: instance metadata service "URL" gave credentials that had expired at 2020-02-03T04:05:06.000Z (Check the clock of this machine.)'

t_begin a_metadata_service_that_is_silent_has_stalled
export PROBE_STALL_MS=300
for kind in session role keys; do
	tell "$kind" hang
	once instance get
	t_match "$answer" "^error retry: could not ask instance metadata service \"$url\": .*" "$kind"
done
tell keys cut
once instance get
t_match "$answer" "^error retry: could not ask instance metadata service \"$url\": .*" 'an answer that is cut off'
unset PROBE_STALL_MS

t_begin the_address_of_the_metadata_service_may_be_in_the_environment
tell
answer=$(AWS_EC2_METADATA_SERVICE_ENDPOINT=$url/ "$probe" instance <<<get)
t_match "$answer" '^ASIA' 'found'

t_begin nobody_listens
answer=$("$probe" instance http://127.0.0.1:1 <<<get)
t_match "$answer" '^error retry: could not ask instance metadata service "http://127.0.0.1:1": ' 'a connection that is refused'

# --- web identity ------------------------------------------------------------------------------------------------------------

export AWS_ROLE_ARN=arn:aws:iam::1:role/backup AWS_WEB_IDENTITY_TOKEN_FILE=$T_TMP/token no_proxy=127.0.0.1
secret='eyJhbGci+/=.eyJzdWI&=%20.sig-_'
printf '%s\n' "$secret" | tee "$dir/token" >"$T_TMP/token"

t_begin a_token_becomes_a_key
tell
once web_identity get
t_match "$answer" '^ASIA[0-9]+ secret[0-9]+ token[0-9]+ web identity, role "arn:aws:iam::1:role/backup"$' 'a key with its token'
t_is "$(requests)" 'sts ' 'one request'

t_begin the_token_is_read_again_at_each_renewal
tell lifetime 200
probe_open web_identity "$url"
ask get
t_match "$answer" '^ASIA' 'the first key'
printf 'renewed\n' | tee "$dir/token" >"$T_TMP/token"
ask get
t_match "$answer" '^ASIA' 'the second, by another token'
t_is "$(requests)" 'sts sts ' 'asked for twice'
probe_close
printf '%s\n' "$secret" | tee "$dir/token" >"$T_TMP/token"

t_begin what_the_token_service_answers_is_told
fails_sts() { # CONTROL MESSAGE
	tell sts "$1"
	once web_identity get
	t_is "$answer" "error ${2//URL/$url}" "${1%%$'\n'*}"
	t_nomatch "$answer" 'hush|eyJ' 'no secret'
}
no='token service "URL" gave no credentials'
for_role="$no for role \"$AWS_ROLE_ARN\""
trust="(Check that the role trusts the issuer of the token in file \"$T_TMP/token\", and that somebody renews it.)"
fails_sts 'status 403' "denied: $for_role: status 403 $trust"
fails_sts 'status 500' "retry: $for_role: status 500"
fails_sts 'status 429' "retry: $for_role: status 429"
fails_sts 'body 400\n<ErrorResponse><Error><Code>ExpiredTokenException</Code><Message>hush</Message></Error></ErrorResponse>' \
	"denied: $for_role: ExpiredTokenException, status 400 $trust"
fails_sts 'body 400\n<ErrorResponse><Error><Code>IDPCommunicationError</Code></Error></ErrorResponse>' \
	"retry: $for_role: IDPCommunicationError, status 400"
fails_sts 'body 400\n{"hush"' "denied: $for_role: status 400 $trust"
fails_sts 'body' "retry: $no: its answer cannot be understood"
fails_sts 'body\n<html><SecretAccessKey>hush</SecretAccessKey></html>' "retry: $no: its answer cannot be understood"
fails_sts 'body\n<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>A</AccessKeyId><SecretAccessKey>hush</SecretAccessKey><SessionToken>hush' \
	"retry: $no: its answer cannot be understood"
fails_sts 'body\n<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>&e;</AccessKeyId><SecretAccessKey>hush</SecretAccessKey><SessionToken>t</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>' \
	"retry: $no: its answer cannot be understood"

t_begin a_token_that_is_not_known_is_told
tell
printf 'hush-hush\n' >"$T_TMP/token"
once web_identity get
t_is "$answer" "error denied: ${for_role//URL/$url}: InvalidIdentityToken, status 400 $trust" 'refused'
t_nomatch "$answer" hush 'no secret'
: >"$T_TMP/token"
once web_identity get
t_is "$answer" "error config: file \"$T_TMP/token\" holds no web identity token (AWS_WEB_IDENTITY_TOKEN_FILE must name a file that holds a token.)" 'empty'
rm "$T_TMP/token"
once web_identity get
t_is "$answer" "error config: file \"$T_TMP/token\" does not exist (AWS_WEB_IDENTITY_TOKEN_FILE must name a file that holds a token.)" 'gone'
printf '%s\n' "$secret" >"$T_TMP/token"

t_begin a_token_service_that_is_silent_has_stalled
export PROBE_STALL_MS=300
tell sts hang
once web_identity get
t_match "$answer" "^error retry: could not ask token service \"$url\": .*" 'silent'
t_nomatch "$answer" 'eyJ' 'no secret'
tell sts cut
once web_identity get
t_match "$answer" "^error retry: could not ask token service \"$url\": .*" 'cut off'
unset PROBE_STALL_MS

t_begin the_address_of_the_token_service_may_be_in_the_environment
tell
answer=$(AWS_ENDPOINT_URL_STS=$url "$probe" web_identity <<<get)
t_match "$answer" '^ASIA' 'found'

# --- a server that checks ----------------------------------------------------------------------------------------------------

# shellcheck source=../lib/rgw.sh
. tests/lib/rgw.sh
no_proxy='*'
rgw_start || exit 1
rgw_gateway rgw_sts_key=abcdefghijklmnop rgw_s3_auth_use_sts=true || exit 1
rgw_admin caps add --uid=owner '--caps=user-policy=*' >/dev/null || exit 1

# rgw_post SERVICE FORM: the answer in posted
rgw_post() {
	posted=$(curl -sS -m 20 --noproxy '*' --aws-sigv4 "aws:amz:$S3_REGION:$1" --user "$S3_ACCESS_KEY:$S3_SECRET_KEY" \
		-H "x-amz-content-sha256: $(printf %s "$2" | sha256sum | cut -d' ' -f1)" -d "$2" "$S3_ENDPOINT/")
}
posted_value() {
	sed -n "s|.*<$1>\([^<]*\)</$1>.*|\1|p" <<<"$posted"
}
policy='{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["sts:*","s3:*"],"Resource":"*"}]}'
policy=$(sed 's/{/%7B/g; s/}/%7D/g; s/"/%22/g; s/:/%3A/g; s/,/%2C/g; s/\[/%5B/g; s/\]/%5D/g; s/\*/%2A/g' <<<"$policy")
rgw_post iam "Action=PutUserPolicy&PolicyDocument=$policy&PolicyName=sts&UserName=owner&Version=2010-05-08"
rgw_post sts 'Action=GetSessionToken&DurationSeconds=900&Version=2011-06-15'
id=$(posted_value AccessKeyId) key_secret=$(posted_value SecretAccessKey) token=$(posted_value SessionToken)

t_begin a_real_server_takes_a_key_with_a_token
t_isnt "$token" '' 'the gateway gave one'
tell key "$id\n$key_secret\n$token"
once instance 'store one'
t_is "$answer" stored 'from the metadata service'
once web_identity 'store two'
t_is "$answer" stored 'from the token service'
answer=$(AWS_ACCESS_KEY_ID=$id AWS_SECRET_ACCESS_KEY=$key_secret AWS_SESSION_TOKEN=$token "$probe" environment <<<'store three')
t_is "$answer" stored 'from the environment'
answer=$(AWS_ACCESS_KEY_ID=$id AWS_SECRET_ACCESS_KEY=$key_secret "$probe" environment <<<'store four')
t_match "$answer" '^error denied: ' 'not without its token'
t_nomatch "$answer" "$key_secret" 'no secret'

t_begin the_form_of_a_real_token_service_is_understood
tell sts "body\n${posted//GetSessionToken/AssumeRoleWithWebIdentity}"
once web_identity get
t_is "$answer" "$id $key_secret $token web identity, role \"$AWS_ROLE_ARN\"" 'its times have nanoseconds'
