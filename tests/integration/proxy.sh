#!/usr/bin/env bash
# The tests' own proxy does what it is told to, and nothing else: a proxy that answers by itself is the server, curl the client.
# shellcheck source-path=SCRIPTDIR/../lib
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/t.sh
. tests/lib/proxy.sh

proxy_start server 127.0.0.1:1 || exit 1 # asks nobody
proxy_start between "127.0.0.1:${proxy_port[server]}" || exit 1
url=http://127.0.0.1:${proxy_port[between]}

# get [curl options]: the body in $t_out, the status in $code, curl's exit status in $t_status
get() {
	t_run curl -sS --noproxy '*' -m "${limit:-20}" -w '\n%{http_code}' "$@"
	code=${t_out##*$'\n'}
	t_out=${t_out%$'\n'*}
}
# seen: how many requests came through to the server
seen() {
	proxy_requests server
}
# fresh [SERVER'S ANSWER…]: a server that answers, and a proxy without faults
fresh() {
	proxy_clear server
	proxy_clear between
	proxy_fault server '*' answer status=200 "${@:-body=0123456789}"
}

head -c 300000 /dev/urandom >"$T_TMP/large"
base64 -w 0 <"$T_TMP/large" >"$T_TMP/text"

t_begin without_a_fault_nothing_is_changed
fresh
get "$url/a?b=c"
t_is "$t_out/$code" 0123456789/200 'a body with a length'
fresh chunked=1 body=0123456789
get "$url/a"
t_is "$t_out/$code" 0123456789/200 'a body in chunks'
fresh echo=1
get --data-binary "@$T_TMP/text" "$url/a"
t_is "$(printf %s "$t_out" | sha256sum)" "$(sha256sum <"$T_TMP/text")" 'a large body both ways'
get -H 'Expect:' -T - -X PUT "$url/a" <"$T_TMP/text"
t_is "$code" 200 'a request in chunks'
get -I "$url/a"
t_is "$code" 200 'HEAD'
fresh
get "$url/1" "$url/2" "$url/3"
t_is "$(proxy_requests between)" 3 'three requests over one connection are three'
t_is "$(cat "$T_TMP/proxy-between.log")" "$(printf '%s\n' '1 GET /1 -' '2 GET /2 -' '3 GET /3 -')" 'each is noted'
t_is "$(proxy_faults between)" 0 'no fault'

t_begin faults_come_where_they_were_ordered
fresh
proxy_fault between 2-3 answer status=500
for i in 1 2 3 4; do
	get "$url/$i"
	codes[i]=$code
done
t_is "${codes[*]}" '200 500 500 200' 'requests 2 and 3'
t_is "$(seen)" 2 'which the server never saw'
t_is "$(proxy_faults between)" 2 'both are counted'
fresh
proxy_fault between 2 answer status=500 method=PUT path=partNumber=
for i in 1 2 3; do
	get "$url/x?partNumber=$i"
	get -X PUT "$url/y"
	get -X PUT "$url/x?partNumber=$i"
	codes[i]=$code
done
t_is "${codes[*]:1:3}" '200 500 200' 'the second of those that match'
fresh
proxy_random between 7 300 answer
first='' second=''
for ((i = 0; i < 40; i++)); do
	get "$url/"
	first+=$code
done
fresh
proxy_random between 7 300 answer
for ((i = 0; i < 40; i++)); do
	get "$url/"
	second+=$code
done
t_is "$first" "$second" 'the same seed, the same faults'
t_match "$first" 503 'there are some'
t_match "$first" 200 'and not all'

t_begin requests_that_end_early
fresh
for kind in reset close; do
	fresh
	proxy_fault between 1 "$kind"
	get "$url/"
	t_match "$t_status/$t_err" "$([ $kind = reset ] && echo '56/.*reset by peer' || echo '52/.*Empty reply')" "$kind"
	t_is "$(seen)" 0 'the server saw nothing'
	fresh
	proxy_fault between 1 "$kind-request" after=1000
	get --data-binary "@$T_TMP/text" "$url/"
	t_isnt "$t_status" 0 "$kind in the request"
	t_is "$(seen)" 1 'the server saw its head'
done

t_begin responses_that_end_early
for kind in reset close; do
	fresh
	proxy_fault between 1 "$kind-response"
	get "$url/"
	t_match "$t_status/$t_err" "$([ $kind = reset ] && echo '56/.*reset by peer' || echo '52/.*Empty reply')" "$kind before the response"
	t_is "$(seen)" 1 'the server has done it'
	fresh echo=1
	proxy_fault between 1 "$kind-response" after=100000
	get -o "$T_TMP/got" --data-binary "@$T_TMP/text" "$url/"
	t_is "$t_status" "$([ $kind = reset ] && echo 56 || echo 18)" "$kind in the response"
	[ $kind = reset ] || t_is "$(wc -c <"$T_TMP/got")" 100000 'after as many bytes as were ordered'
	fresh chunked=1 body=0123456789
	proxy_fault between 1 "$kind-response" after=7
	get "$url/"
	t_isnt "$t_status" 0 "$kind between chunks"
done

t_begin stalls
limit=1
for kind in 'stall-request after=1000' stall-response 'stall-response after=4'; do
	fresh
	# shellcheck disable=SC2086 # words
	proxy_fault between 1 $kind
	get --data-binary "@$T_TMP/text" "$url/"
	t_is "$t_status" 28 "$kind"
done
unset limit
fresh
proxy_fault between 1 delay ms=300
get -w '%{time_total}\n%{http_code}' "$url/"
t_match "$t_out" '^0123456789(0\.[3-9]|[1-9])' 'a delay, and then all is well'

t_begin bytes_that_change
fresh
proxy_fault between 1 flip-response after=3
get "$url/"
t_is "$t_out" 012#456789 'one byte of the response'
fresh chunked=1 body=0123456789
proxy_fault between 1 flip-response after=6
get "$url/"
t_is "$t_out" 012345\&789 'one byte within a chunk'
fresh echo=1
proxy_fault between 1 flip-request after=1
get --data-binary 0123 "$url/"
t_is "$t_out" '0!23' 'one byte of the request'

t_begin answers_of_its_own
fresh
proxy_fault between 1 answer status=503 code=SlowDown retry_after=7
get -D "$T_TMP/head" "$url/"
t_match "$code $t_out" '^503 .*<Code>SlowDown</Code>' 'an error as S3 has them'
t_match "$(cat "$T_TMP/head")" 'Retry-After: 7' 'with Retry-After'
proxy_fault between '*' answer status=307 location=http://elsewhere/ path=/moved
get -D "$T_TMP/head" "$url/moved"
t_match "$code $(cat "$T_TMP/head")" '^307 .*Location: http://elsewhere/' 'a redirection'
proxy_fault between '*' answer status=403 code=RequestTimeTooSkewed skew_s=-86400 path=/late
get -D "$T_TMP/head" "$url/late"
date=$(sed -n 's/^Date: //p' "$T_TMP/head" | tr -d '\r')
behind=$(($(date +%s) - $(date -d "$date" +%s)))
t_is "$((behind > 86300 && behind < 86500))" 1 'another clock'
fresh
proxy_fault between 1 answer status=501 method=PUT
get -H 'Expect: 100-continue' -T "$T_TMP/large" "$url/"
t_is "$code" 501 'before the body was sent'
get -T "$T_TMP/large" "$url/"
t_is "$code/$(seen)" 200/1 'and then as usual'
fresh
proxy_fault between 1 answer-after status=500 code=InternalError
get -T "$T_TMP/large" "$url/" "$url/again"
t_match "$t_out" '<Code>InternalError</Code>' 'an error after it was done'
t_is "$(seen)" 2 'the server has seen both requests'

t_begin mistakes_are_told
t_exit 1 proxy_fault between 1 nonsense
t_match "$t_err" 'add WHEN KIND'
t_exit 1 proxy_fault between 0 reset
t_exit 1 proxy_fault between 1 reset afer=1
t_match "$t_err" 'setting "afer" is not known'
t_exit 1 proxy_random between 1 10 reset,nonsense
t_match "$t_err" 'no fault is called "nonsense"'

t_begin a_server_that_is_gone
proxy_stop server
get "$url/"
t_match "$t_status" '^(52|56)$' 'ends the connection'
proxy_stop between
get "$url/"
t_is "$t_status" 7 'and a stopped proxy refuses it'
