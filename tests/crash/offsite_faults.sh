#!/usr/bin/env bash
# Backups to a bucket through a network and a server that fail: at every request of a run something goes wrong, in every way the proxy
# knows.  Each run ends in a set that verifies in every detail, or in an error that names what it is about and leaves the earlier set
# as it was; when the faults are over, the next run makes everything right.  Restores likewise.
#
#   make crash              every request of every stack, several kinds of faults each
#   CRASH=short             some two dozens of faults
#   SEED=7                  other choices;  SWEEP=restore: only that part
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/crash/offsite_lib.sh
. tests/crash/offsite_lib.sh

kinds=(
	'reset'
	'close'
	'reset-request after=100'
	'close-request after=40'
	'stall-request after=10'
	'reset-response'
	'close-response'
	'close-response after=0'
	'reset-response after=150'
	'stall-response'
	'stall-response after=20'
	'flip-request after=30'
	'flip-response after=0'
	'flip-response after=100'
	'flip-response after=400'
	'answer status=500 code=InternalError'
	'answer status=503 code=SlowDown retry_after=1'
	'answer status=429'
	'answer-after status=503 code=SlowDown'
	'answer status=403 code=AccessDenied'
	'answer status=404 code=NoSuchKey'
	'answer status=409 code=OperationAborted'
	'answer status=412 code=PreconditionFailed'
	'answer status=400 code=BadRequest'
	'delay ms=300'
)
# What a run may say when it fails: the place, and the object or bucket.
named='repository "|archive "|bucket "|backup set "|object "|"s3://|"[^"]*/(backup.tar.zst|manifest.json|set.json|holdfast-repository.json)'

faults=0 runs=0 ended_0=0 ended_8=0 ended_error=0
declare -A said=()

far_of() {
	case $1 in
	alone) printf plain ;;
	both) printf safe ;;
	spooled) printf spooled ;;
	esac
}
count_faults() { faults=$((faults + $(proxy_faults between))); }

# verified STACK: the newest set of each of its repositories, every row of it, from the server itself; what is wrong
verified() {
	local r
	for r in $(far_of "$1") $([ "$1" != both ] || printf near); do
		straight --stack "$1" verify latest --repository "$r" >"$T/verify" 2>&1 || printf '%s: %s\n' "$r" "$(tail -n 1 "$T/verify")"
	done
}

# One undisturbed run after which all must be as it should.
converges() {
	local stack=$1 status=0 n
	proxy_clear between
	hf --stack "$stack" -q backup >"$T/out" 2>&1 || status=$?
	[ "$status" -eq 0 ] || printf 'the next run ended with %s: %s\n' "$status" "$(head -n 1 "$T/out")"
	n=$(sets_of "$stack" | awk '{ print $2 }' | sort -u | wc -l)
	[ "$n" -eq 1 ] || printf '%s sets after the next run\n' "$n"
	[ "$stack" != both ] || [ "$(sets_of both | wc -l)" -eq 2 ] || printf 'the repositories differ: %s\n' "$(sets_of both | paste -sd' ')"
	verified "$stack"
	leftovers "$stack"
}

# disturbed STACK: a run with what the proxy was told; what is wrong with its outcome
disturbed() {
	local stack=$1 status=0 message near before
	before=$(sets_of "$stack")
	timeout 120 env HOLDFAST_CONFIG="$T/through.yaml" "$HOLDFAST" --stack "$stack" -q backup >"$T/out" 2>&1 || status=$?
	runs=$((runs + 1))
	count_faults
	message=$(grep -vE '^(hint|detail)' "$T/out" | head -n 1)
	case $status in
	0)
		ended_0=$((ended_0 + 1))
		{
			[ "$(sets_of "$stack" | tail -n 1)" != "$(tail -n 1 <<<"$before")" ] || printf 'it succeeded without a new set\n'
			verified "$stack"
			leftovers "$stack"
		} >"$T/wrong"
		[ -s "$T/wrong" ] || return 0
		printf 'ended well, but: %s\n' "$(paste -sd';' "$T/wrong")"
		converges "$stack" >/dev/null
		return
		;;
	8)
		ended_8=$((ended_8 + 1))
		grep -q degraded "$T/out" || printf 'does not say what is degraded\n'
		;;
	1 | 2 | 3 | 5) ended_error=$((ended_error + 1)) ;;
	*) printf 'exit status %s: %s\n' "$status" "$message" ;;
	esac
	note_said "$status" "$message"
	grep -qE "$named" <<<"$message" || printf 'names nothing: %s\n' "$message"
	if [ "$status" -eq 8 ] && [ "$stack" = both ]; then
		near=$(sets_of both | grep '^near' | tail -n 1)
		! grep -qF "$near" <<<"$before" || printf 'the local repository has no new set\n'
	fi
	[ -n "$(sets_of "$stack")" ] || printf 'no set is left\n'
	verified "$stack"
	converges "$stack"
}

# What was said, without ids, for the table at the end.
note_said() {
	local text
	text=$(sed -E "s/[0-9]{8}T[0-9]{6}Z-[0-9a-f]+/ID/g; s/$S3_BUCKET/BUCKET/g; s|127.0.0.1:[0-9]+|ENDPOINT|g; s/gave up after [0-9.a-z]+/gave up/" <<<"$2")
	said["$1 $text"]=$((${said["$1 $text"]:-0} + 1))
}

# learn_requests STACK: how many an undisturbed run makes, and which
learn_requests() {
	offsite_fresh
	hf --stack "$1" -q backup || exit 1 # makes the repositories; the one to be removed by the next one
	proxy_clear between
	hf --stack "$1" -q backup || exit 1
	count=$(proxy_requests between)
	requests=$(sed -E 's/uploadId=[^& ]*/uploadId=…/; s/ -$//; s/[0-9]{8}T[0-9]{6}Z-[0-9a-f]+/ID/g; s|/hft[^/]*/||' "$T/proxy-between.log")
}

# at STACK REQUEST KIND…: one fault
at() {
	local stack=$1 n=$2 wrong
	shift 2
	proxy_clear between
	# shellcheck disable=SC2086 # the kind's settings
	proxy_fault between "$n" $1 || exit 1
	disturbed "$stack" >"$T/found"
	wrong=$(paste -sd'|' "$T/found")
	[ -z "$wrong" ] || printf '%s at request %s: %s\n' "$1" "$(sed -n "${n}p" <<<"$requests")" "$wrong" >>"$T/bad"
}

# every STACK EACH: at each of its requests so many kinds, one after the other through the list
every() {
	local n k
	: >"$T/bad"
	learn_requests "$1"
	for ((n = 1; n <= count; n++)); do
		for ((k = 0; k < $2; k++)); do
			at "$1" "$n" "${kinds[next % ${#kinds[@]}]}"
			next=$((next + 7)) # prime to their number
		done
	done
	t_is "$(cat "$T/bad")" '' "stack $1, database $database: each of $count requests met $2 faults"
}

# some STACK COUNT: at random
some() {
	local i
	: >"$T/bad"
	learn_requests "$1"
	for ((i = 0; i < $2; i++)); do
		at "$1" $((1 + RANDOM % count)) "${kinds[RANDOM % ${#kinds[@]}]}"
	done
	t_is "$(cat "$T/bad")" '' "stack $1, database $database: $2 faults"
}

# The requests of an upload in parts: every kind at each.
multipart() {
	local n kind positions
	: >"$T/bad"
	database=large
	learn_requests "$1"
	mapfile -t positions < <(grep -nE '\?uploads= *$|partNumber=|\?uploadId=' <<<"$requests" | cut -d: -f1)
	for n in "${positions[@]}"; do
		for kind in "${@:2}"; do at "$1" "$n" "$kind"; done
	done
	t_match "$(grep -c partNumber <<<"$requests")" '^[3-9]$' 'the archive goes in parts'
	t_is "$(cat "$T/bad")" '' "stack $1: an upload in parts meets $(($# - 1)) kinds of faults at each of its requests"
	database=small
}

# at_random STACK PERMILLE SEED…
at_random() {
	local seed wrong
	: >"$T/bad"
	learn_requests "$1"
	for seed in "${@:3}"; do
		proxy_clear between
		proxy_random between "$seed" "$2" \
			reset,close,reset-request,close-request,flip-request,reset-response,close-response,answer,answer-after,delay
		disturbed "$1" >"$T/found"
		wrong=$(paste -sd'|' "$T/found")
		[ -z "$wrong" ] || printf 'seed %s: %s\n' "$seed" "$wrong" >>"$T/bad"
	done
	t_is "$(cat "$T/bad")" '' "stack $1, database $database: $2 of 1000 requests fail, $(($# - 2)) seeds"
}

# --- reading --------------------------------------------------------------------------------------------------------------------

rows_of() { psql -XAtqd "$1" -c "SELECT md5(string_agg(t::text, ',' ORDER BY i)) FROM t" 2>&1; }
gone() { psql -qXd postgres -c "DROP DATABASE IF EXISTS restored WITH (FORCE)" 2>/dev/null; }

# A restore with what the proxy was told.
restored() {
	local stack=$1 status=0 message
	gone
	timeout 120 env HOLDFAST_CONFIG="$T/through.yaml" "$HOLDFAST" --stack "$stack" -q restore latest --repository "$(far_of "$stack")" \
		--target-db restored >"$T/out" 2>&1 || status=$?
	runs=$((runs + 1))
	count_faults
	message=$(grep -vE '^(hint|detail|warning)' "$T/out" | head -n 1)
	if [ "$status" -ne 0 ] && [ "$status" -ne 8 ]; then
		ended_error=$((ended_error + 1))
		note_said "$status" "$message"
		grep -qE "$named" <<<"$message" || printf 'names nothing: %s\n' "$message"
		proxy_clear between
		status=0
		if [ "$(straight runs --output json | jq -r '.runs[0].state')" = failed ]; then
			hf -q resume >"$T/out" 2>&1 || status=$?
			[ "$status" -eq 0 ] || printf 'resume ended with %s: %s\n' "$status" "$(head -n 1 "$T/out")"
		else
			gone
			hf --stack "$stack" -q restore latest --repository "$(far_of "$stack")" --target-db restored >"$T/out" 2>&1 || status=$?
			[ "$status" -eq 0 ] || printf 'the next restore ended with %s: %s\n' "$status" "$(head -n 1 "$T/out")"
		fi
	else
		ended_0=$((ended_0 + 1))
	fi
	[ "$(rows_of restored)" = "$(rows_of $database)" ] || printf 'the rows differ\n'
}

# restores STACK EVERY KIND…: at each EVERYth of its requests each of these
restores() {
	local stack=$1 n step=$2 kind wrong
	shift 2
	: >"$T/bad"
	learn_requests "$stack"
	proxy_clear between
	restored "$stack" >"$T/found"
	t_is "$(cat "$T/found")" '' 'an undisturbed restore'
	count=$(proxy_requests between)
	requests=$(sed -E 's/uploadId=[^& ]*/uploadId=…/; s/ -$//; s/[0-9]{8}T[0-9]{6}Z-[0-9a-f]+/ID/g' "$T/proxy-between.log")
	for ((n = 1; n <= count; n += step)); do
		for kind; do
			proxy_clear between
			# shellcheck disable=SC2086 # the kind's settings
			proxy_fault between "$n" $kind
			restored "$stack" >"$T/found"
			wrong=$(paste -sd'|' "$T/found")
			[ -z "$wrong" ] || printf '%s at request %s: %s\n' "$kind" "$(sed -n "${n}p" <<<"$requests")" "$wrong" >>"$T/bad"
		done
	done
	t_is "$(cat "$T/bad")" '' "stack $stack: restores, $# kinds of faults at every ${step}. of $count requests"
}

# --- what no patience helps against ---------------------------------------------------------------------------------------------

# refused STACK STATUS REGEX [NAME=VALUE…]: a backup ends with that status and one message
refused() {
	local stack=$1 want=$2 text=$3 lines
	shift 3
	t_exit "$want" env "$@" HOLDFAST_CONFIG="$T/through.yaml" "$HOLDFAST" --stack "$stack" -q backup
	lines=$(grep -E '^(error: |warning: degraded)' <<<"$t_err")
	t_match "$lines" "$text" "stack $stack: $text"
	t_is "$(wc -l <<<"$lines")" 1 'in one line'
}

# Alone it fails, beside a local repository the run is degraded.
refused_both() { # STATUS REGEX [NAME=VALUE…]
	refused alone "$@"
	refused both 8 "repository \"safe\": .*$2" "${@:3}"
}

sweep_denied() {
	local user=weak$$ as
	local rights=(s3:GetObject s3:AbortMultipartUpload s3:ListBucketMultipartUploads s3:ListMultipartUploadParts s3:GetBucketVersioning)
	as=("S3_ACCESS_KEY=KEY$user" "S3_SECRET_KEY=secret/of+$user")
	offsite_fresh
	hf --stack alone -q backup && hf --stack both -q backup || exit 1
	refused_both 1 'could not examine object "s3://.*": the server does not accept the signature' S3_SECRET_KEY=wrong
	refused_both 1 'could not examine object "s3://.*": the server does not know the access key' S3_ACCESS_KEY=NOBODY
	sed -i "s|s3://$S3_BUCKET|s3://$S3_BUCKET-not|" "$T/through.yaml"
	refused_both 2 "bucket \"$S3_BUCKET-not\" does not exist"
	configure
	t_is "$(converges alone)$(converges both)" '' 'put right, the next runs converge'
	if ! rgw_user "$user"; then
		t_fail 'no user could be made'
		return
	fi
	refused_both 1 'permission s3:GetObject is missing' "${as[@]}"
	rgw_allow "$S3_BUCKET" "$user" "${rights[@]}" s3:ListBucket
	refused_both 1 'could not write object "s3://.*/backup.tar.zst(.age)?": permission s3:PutObject is missing' "${as[@]}"
	t_is "$(sets_of both | grep -c near)" 1 'the local repository is pruned all the same'
	rgw_allow "$S3_BUCKET" "$user" "${rights[@]}" s3:PutObject
	# an object that is not there is a 403, too, where it may not be listed
	refused_both 1 'could not examine object "s3://.*/backup.tar.zst(.age)?": permission s3:GetObject is missing' "${as[@]}"
	t_match "$(hint_of "${as[@]}")" 'Grant s3:GetObject and s3:ListBucket on bucket' 'and what to grant'
	rgw_allow "$S3_BUCKET" "$user" "${rights[@]}" s3:PutObject s3:ListBucket
	refused alone 8 'could not remove 1 of 1 backup sets of stack "alone" from repository "plain". The first reason: could not remove object "s3://.*/manifest.json": permission s3:DeleteObject is missing' "${as[@]}"
	refused both 8 'could not remove 1 of 1 backup sets of stack "both" from repository "safe". The first reason: could not remove object "s3://.*/manifest.json.age": permission s3:DeleteObject is missing' "${as[@]}"
	rgw_allow "$S3_BUCKET" "$user"
	rgw_admin user rm --uid="$user" >/dev/null 2>&1 # what it has written is its own, and stays
}

# The hint beside that message, where a bucket is alone.
hint_of() { # [NAME=VALUE…]
	env "$@" HOLDFAST_CONFIG="$T/through.yaml" "$HOLDFAST" --stack alone -q backup 2>&1 | grep '^hint'
}

# --- the whole ------------------------------------------------------------------------------------------------------------------

is_wanted() { [[ " ${SWEEP:-small large random restore denied} " == *" $1 "* ]]; }

sweep_small() {
	next=$SEED
	if ! is_full; then
		some alone 4
		some both 5
		some spooled 4
		return
	fi
	every alone "${EACH:-2}"
	every both "${EACH:-2}"
	every spooled "${EACH:-2}"
}

sweep_large() {
	if ! is_full; then
		multipart both 'reset-response'
		return
	fi
	multipart alone 'reset' 'reset-response' 'close-request after=3000000' 'stall-request after=3000000' \
		'answer status=503 code=SlowDown' 'answer status=403 code=AccessDenied' 'flip-request after=1000000'
	multipart both 'close' 'close-response' 'reset-request after=3000000' 'stall-response' 'answer-after status=500 code=InternalError' \
		'answer status=403 code=AccessDenied' 'answer status=404 code=NoSuchUpload'
	multipart spooled 'reset-response' 'close-request after=3000000' 'answer status=404 code=NoSuchUpload' 'answer status=409 code=OperationAborted'
}

sweep_random() {
	local seeds="$SEED $((SEED + 1))"
	if ! is_full; then
		at_random both 100 "$SEED"
		return
	fi
	for i in 2 3 4 5 6; do seeds+=" $((SEED + i))"; done
	# shellcheck disable=SC2086 # numbers
	{
		at_random alone 50 $seeds
		at_random both 200 $seeds
		at_random spooled 100 $seeds
		database=large
		at_random both 100 $seeds
		database=small
	}
}

sweep_restore() {
	if ! is_full; then
		restores both 12 'close-response after=30'
		return
	fi
	restores alone 2 'reset' 'flip-response after=90' 'close-response after=200' 'answer status=503 code=SlowDown'
	restores both 2 'reset-response after=100' 'flip-response after=300' 'stall-response after=50' 'answer status=403 code=AccessDenied'
}

offsite_begin
for part in small large random restore denied; do
	is_wanted "$part" || continue
	t_begin "$part"
	"sweep_$part"
done
printf '# %d faults in %d runs: %d ended well, %d degraded, %d with an error\n' \
	"$faults" "$runs" "$ended_0" "$ended_8" "$ended_error"
for text in "${!said[@]}"; do printf '# %4d x %s\n' "${said[$text]}" "$text"; done | sort -rn
if is_full && [ -z "${SWEEP:-}" ]; then
	t_is "$((faults >= 300))" 1 "$faults faults in all"
fi
