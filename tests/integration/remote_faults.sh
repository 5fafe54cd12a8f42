#!/usr/bin/env bash
# Every request that a backup makes of an S3 server fails once in every way the proxy knows: it ends in what is right, or in an error
# that says what went wrong; nothing is reported to have worked that has not, and no upload is left behind.
# shellcheck source-path=SCRIPTDIR/../lib
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/t.sh
. tests/lib/rgw.sh
. tests/lib/proxy.sh

rgw_start || exit 1
direct=$S3_ENDPOINT
proxy_start between "${direct#http://}" || exit 1
archive_bytes=7000000 # two parts
give_up_ms=20000
stall_ms=20000 # while nothing is wrong: a busy machine is no fault
run=0
if [ "${CRASH:-}" = full ]; then
	stride=1 where=each seeds=10 least=300
else
	stride=3 where="every third" seeds=4 least=100
fi

# probe: a key of its own each time; what it says in $said
probe() {
	run=$((run + 1))
	said=$(S3_ENDPOINT=http://127.0.0.1:${proxy_port[between]} timeout 60 \
		"$HOLDFAST_BUILD/tests/integration/remote_probe" "run-$run" "$give_up_ms" "$stall_ms" "$archive_bytes" 2>&1)
}
# left_behind: unfinished uploads
left_behind() {
	rgw_s3 GET "/$S3_BUCKET?uploads="
	grep -o '<Upload>' <<<"$rgw_body" | wc -l
}

t_begin intact
probe
t_is "$said" correct
count=$(proxy_requests between)
requests=$(sed 's/uploadId=[^& ]*/uploadId=…/; s/ -$//' "$T_TMP/proxy-between.log")
t_match "$count" '^(1[5-9]|2[0-9])$' 'a run is about twenty requests'
[ "$t_failed" -eq 0 ] || exit 1
stall_ms=300

# each KIND [SETTING…] -- REGEX: one fault of this kind at every position (with CRASH=full; else at every third, another third for each kind);
# what may come of it
total=0
kinds=0
each() {
	local -a fault=()
	local n wanted bad=''
	while [ "$1" != -- ]; do
		fault+=("$1")
		shift
	done
	wanted=$2
	kinds=$((kinds + 1))
	for ((n = 1 + kinds % stride; n <= count; n += stride)); do
		proxy_clear between
		proxy_fault between "$n" "${fault[@]}"
		probe
		total=$((total + $(proxy_faults between)))
		[[ $said =~ ^($wanted)$ ]] || bad+="$(sed -n "${n}p" <<<"$requests"): $said"$'\n'
	done
	t_is "$bad" '' "${fault[*]} at $where of $count requests"
}

t_begin one_fault_at_every_position
each reset -- correct
each close -- correct
each reset-request after=1000 -- correct
each close-request after=70000 -- correct
each flip-request after=20 -- correct
each reset-response -- correct
each close-response -- correct
each reset-response after=0 -- correct
each close-response after=100 -- correct
each answer status=503 code=SlowDown -- correct
each answer status=429 -- correct
each answer status=500 code=InternalError -- correct
each answer-after status=500 code=InternalError -- correct
each answer-after status=503 code=SlowDown -- correct
each stall-request after=1000 -- correct
each stall-response -- correct
each stall-response after=10 -- correct
# over plain HTTP nothing but what lies above the driver tells a byte of an object from another; the rest of a response may be harmless
each flip-response after=60 -- 'correct|failed corrupt: (the archive differs from what was written|object ".*" is not what was stored)'
t_is "$(left_behind)" 0 'no upload is left behind'

t_begin faults_at_random
rounds=''
for ((seed = 1; seed <= seeds; seed++)); do
	proxy_clear between
	proxy_random between "$seed" 200 \
		reset,close,reset-request,close-request,flip-request,reset-response,close-response,answer,answer-after,delay
	probe
	total=$((total + $(proxy_faults between)))
	[ "$said" = correct ] || rounds+="seed $seed: $said"$'\n'
done
t_is "$rounds" '' 'one request in five'
t_is "$(left_behind)" 0 'no upload is left behind'
t_is "$((total >= least))" 1 "$total faults in all"

t_begin what_does_not_go_away
give_up_ms=300
rounds=''
for ((n = 1; n <= count; n++)); do
	proxy_clear between
	proxy_fault between "$n-" answer status=503 code=SlowDown
	probe
	[[ $said =~ ^'failed retry: could not '.*': the server '(asks to slow down|answered with status 503)': gave up after '[0-9]+ms$ ]] ||
		rounds+="$(sed -n "${n}p" <<<"$requests"): $said"$'\n'
	proxy_clear between
	probe
	[ "$said" = correct ] || rounds+="afterwards: $said"$'\n'
done
t_is "$rounds" '' 'is given up with its reason, and the next run succeeds'

t_begin what_is_no_use_to_repeat
give_up_ms=20000
rounds=''
for ((n = 1; n <= count; n++)); do
	proxy_clear between
	proxy_fault between "$n" answer status=403 code=AccessDenied
	SECONDS=0
	probe
	[[ $said =~ ^(correct|'failed denied: could not '.*': permission s3:'.*' is missing')$ ]] && [ "$SECONDS" -lt 10 ] ||
		rounds+="$(sed -n "${n}p" <<<"$requests"): $said"$'\n'
done
t_is "$rounds" '' 'is not repeated, where it matters'
