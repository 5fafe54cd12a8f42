#!/usr/bin/env bash
# health.wait and http.job, against a service that answers as it is told, over TLS, a port, and a real server's queries.
# shellcheck source=../lib/t.sh
. tests/lib/t.sh
server=${HOLDFAST_BUILD:-$PWD/build}/tests/integration/web_server
unset "${!HOLDFAST_@}" "${!PG@}" XDG_CONFIG_HOME http_proxy HTTP_PROXY https_proxy HTTPS_PROXY all_proxy ALL_PROXY
# A proxy that nobody may ask: all of them are neighbours.
export http_proxy=http://127.0.0.1:9 https_proxy=http://127.0.0.1:9
# shellcheck source=../lib/pg.sh
. tests/lib/pg.sh

HOLDFAST=${HOLDFAST:-$PWD/build/holdfast}
export HOME=$T_TMP/home HOLDFAST_STATE_DIR=$T_TMP/state
web=$T_TMP/web
mkdir "$HOME" "$web" "$web/www"
secret=Geheim4711
export SHOP_TOKEN=$secret
"$server" "$web" &
t_defer kill $!
t_wait 10 test -s "$web/port" || exit 1
port=$(<"$web/port")
url=http://127.0.0.1:$port

# plan STEPS…: a plan of these, in $T_TMP/plan.yaml
plan() { printf '%s\n' 'name: play' 'steps:' "$@" >"$T_TMP/plan.yaml"; }
run() { t_exit "$1" "$HOLDFAST" run "$T_TMP/plan.yaml" --stack shop "${@:2}"; }
start() { "$HOLDFAST" run "$T_TMP/plan.yaml" --stack shop >"$T_TMP/out" 2>"$T_TMP/err" & started=$!; }
# What $started ends with; killed is 137.
ended() { t_status=0; wait "$started" 2>/dev/null || t_status=$?; }
last_run() { "$HOLDFAST" runs | awk 'NR == 2 { print $1 }'; }
journal() { cat "$HOLDFAST_STATE_DIR/runs/$(last_run)/journal"; }
no_secret() { t_is "$(grep -rlF "$secret" "$HOLDFAST_STATE_DIR" "$T_TMP/.out" "$T_TMP/.err")" '' 'no secret in journals, logs, output'; }
# answer PATH TEXT: from now on; answer PATH.2 TEXT: to the second request
answer() { printf '%b' "$2" >"$web/www/$1"; }
asked() { grep -c " /$1" "$web/log"; }
# health PARAMETERS: a plan that waits for it, not for long unless it says so
health() {
	local rest=''
	[[ $1 == *within:* ]] || rest+=', within: 400ms'
	[[ $1 == *interval:* ]] || rest+=', interval: 50ms'
	plan "- { id: health, uses: health.wait, with: { $1$rest } }"
}

t_begin service_that_is_starting_is_waited_for
answer up.1 '503\nstarting'
answer up.2 'cut\n{"status":"ok"}'
answer up.3 '200\n{"status":"starting"}'
answer up '200\n{"status":"ok","version":"2.1.0","db":{"pools":[{"open":3,"ready":true}]}}'
health "url: $url/up, expect: { status: ok, db.pools.0.open: 3, db.pools.0.ready: 'true' }, version: 2.1.0, within: 20s"
run 0
t_match "$(journal)" '"outputs":\{"waited_ms":[0-9]+,"status":200,"version":"2.1.0"\}'
t_is "$(asked up)" 4

t_begin what_is_wrong_is_told_when_time_is_over
health "url: $url/up, version: 2.2.0"
run 1
t_match "$t_err" "error:  \"$url/up\" is not healthy after 400ms: \"version\" is \"2.1.0\", wanted \"2.2.0\""
health "url: '$url/up?token=x', version_path: db.version, version: 2, expect: { status: bad }"
run 1
t_match "$t_err" "\"$url/up\" is not healthy after 400ms: \"status\" is \"ok\", wanted \"bad\"; \"db.version\" is missing, wanted \"2\""
health "url: $url/none"
run 1
t_match "$t_err" "\"$url/none\" is not healthy after 400ms: status is 404, wanted 200"
health "url: $url/none, status: 404"
run 0
answer text '200\nhello'
health "url: $url/text, version: 1"
run 1
t_match "$t_err" 'is not healthy after 400ms: its answer is no JSON'
health 'url: http://127.0.0.1:1/x'
run 1
t_match "$t_err" '"http://127.0.0.1:1/x" is not healthy after 400ms: could not reach "http://127.0.0.1:1": .*Connection refused'
answer drip 'drip'
health "url: $url/drip"
run 1
t_match "$t_err" "is not healthy after 400ms: could not reach \"$url\": it has not answered in full within [0-9]+ms"
health "url: $url/up, tcp: 'localhost:1'"
run 2
t_match "$t_err" 'step "health" needs one of "url", "tcp" and "sql"'

t_begin it_has_to_stay_healthy
answer flaky '200\n'
answer flaky.2 '500\n'
health "url: $url/flaky, for: 300ms, within: 5s"
run 0
[ "$(asked flaky)" -gt 4 ]
t_is $? 0 'counted anew after a break'
rm "$web/www/flaky"
answer flaps '200\n'
for i in $(seq 3 2 61); do answer "flaps.$i" '500\n'; done
health "url: $url/flaps, for: 200ms, within: 900ms"
run 1
t_match "$t_err" "is not healthy after 900ms: (status is 500, wanted 200|could not reach .*not a byte was moved)"

t_begin headers_may_be_secret_and_stay_it
answer guarded "200\n{\"version\":\"$secret\",\"token\":\"$secret\"}"
health "url: $url/guarded, headers: { Authorization: 'env:SHOP_TOKEN' }, expect: { token: other }"
run 1
t_match "$(<"$web/headers")" "Authorization: $secret"
t_match "$t_err" '"token" is "\*\*\*", wanted "other"'
health "url: 'env:SHOP_URL', headers: { Authorization: 'env:SHOP_TOKEN' }"
SHOP_URL=$url/guarded run 0
t_match "$(journal)" '"version":"\*\*\*"'
no_secret
health "url: $url/up, headers: { 'X-Bad: y': z }"
run 2
t_match "$t_err" 'header "X-Bad: y" is no header of one line'

t_begin signal_ends_the_waiting
answer hang 'hang\n'
for where in "$url/hang" "$url/none"; do
	health "url: $where, within: 60s, interval: 5s"
	: >"$web/log"
	start
	t_wait 10 test -s "$web/log"
	before=$SECONDS
	kill -TERM "$started"
	ended
	t_is "$t_status" 5
	[ $((SECONDS - before)) -lt 3 ]
	t_is $? 0 "at once: $where"
	t_exit 0 "$HOLDFAST" abandon "$(last_run)"
done
health "url: $url/hang, within: 300ms"
run 1
t_match "$t_err" 'is not healthy after 300ms: could not reach "'

# --- TLS ---------------------------------------------------------------------------------------------------------------------

t_begin certificates_are_checked
tls=$T_TMP/tls
mkdir "$tls"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj '/CN=test' -addext basicConstraints=critical,CA:true \
	-keyout "$tls/ca.key" -out "$tls/ca.pem" 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '/CN=localhost' -addext subjectAltName=DNS:localhost \
	-keyout "$tls/key.pem" -out "$tls/csr.pem" 2>/dev/null
openssl x509 -req -in "$tls/csr.pem" -CA "$tls/ca.pem" -CAkey "$tls/ca.key" -copy_extensions copy -days 1 -out "$tls/cert.pem" 2>/dev/null
printf '{"version":"3"}' >"$tls/health"
(cd "$tls" && exec openssl s_server -accept 127.0.0.1:0 -cert cert.pem -key key.pem -WWW) >"$tls/log" 2>&1 &
t_defer kill $!
t_wait 10 grep -q '^ACCEPT' "$tls/log"
tls_url=https://localhost:$(sed -n 's/^ACCEPT .*://p' "$tls/log" | head -n 1)
health "url: $tls_url/health, ca_file: $tls/ca.pem, version: '3'"
run 0
health "url: $tls_url/health, within: 60s"
before=$SECONDS
run 2
t_match "$t_err" "error:  could not reach \"$tls_url\": .*certificate"
[ $((SECONDS - before)) -lt 10 ]
t_is $? 0 'waiting would not help'

# --- port, query -------------------------------------------------------------------------------------------------------------

t_begin port_accepts
health "tcp: 'localhost:$port'"
run 0
health "tcp: '127.0.0.1:1'"
run 1
t_match "$t_err" '"127.0.0.1:1" is not healthy after 400ms: could not connect: Connection refused'
health 'tcp: localhost'
run 2
t_match "$t_err" '"localhost" is no address such as localhost:8080'

t_begin query_has_its_result
pg_start
psql -XAtqd postgres -c "CREATE TABLE versions AS SELECT 123 AS version; CREATE ROLE app LOGIN PASSWORD '$secret'"
health "sql: SELECT version FROM versions, database: dbname=postgres, result: '123', within: 5s"
run 0
health "sql: SELECT version FROM versions, database: dbname=postgres, result: '124'"
run 1
t_match "$t_err" '"SELECT version FROM versions" is not healthy after 400ms: the query gives "123", wanted "124"'
health "sql: SELECT pg_sleep(10), database: dbname=postgres"
run 1
t_match "$t_err" 'canceling statement due to statement timeout'
health "sql: SELECT 1 FROM none, database: 'env:SHOP_DATABASE', result: '1'"
SHOP_DATABASE="user=app password=$secret dbname=postgres" run 1
t_match "$t_err" 'relation "none" does not exist'
no_secret
health 'sql: SELECT 1'
run 2
t_match "$t_err" 'step "health" needs "database" to ask "sql"'

t_begin a_url_with_a_password_is_written_elsewhere
for bad in "http://me:$secret@127.0.0.1:$port/up" "http://me:$secret/x@127.0.0.1:$port/up" "http://me:$secret x@127.0.0.1:$port/up" "http:/me:$secret@127.0.0.1/up"; do
	health "url: '$bad'"
	t_exit 2 "$HOLDFAST" run "$T_TMP/plan.yaml" --stack shop
	t_match "$t_err" 'parameter "url" of step "health" must be a URL of scheme://.* without user and password: one that has them is written env:NAME or file:PATH'
	no_secret
	plan "- { id: tell, uses: notify, with: { message: m, url: '$bad' } }"
	t_exit 2 "$HOLDFAST" run "$T_TMP/plan.yaml" --stack shop
	no_secret
done
health 'url: env:WHERE'
export WHERE
for WHERE in "http://me:$secret/x@127.0.0.1:$port/up" "http://me:$secret x@127.0.0.1:$port/up" "http:/me:$secret@127.0.0.1/up" "me:$secret@127.0.0.1" "http://"; do
	run 2
	t_match "$t_err" 'error:  the URL (is none|does not begin with http:// or https://)'
	no_secret
done
WHERE="http://me:$secret@127.0.0.1:$port/up"
run 0
no_secret
WHERE="http://me:$secret@127.0.0.1:1/up?token=$secret"
run 1
t_match "$t_err" '"127.0.0.1:1" is not healthy after 400ms: could not reach "http://127.0.0.1:1"'
no_secret
unset WHERE

# --- jobs --------------------------------------------------------------------------------------------------------------------

# job WITHIN [PARAMETERS]
job() {
	plan "- { id: scan, uses: http.job, with: { url: $url/scan, poll_url: '$url/jobs/{job}', interval: 50ms, within: $1, \
		expect: { result.brokenChains: 0 }${2:+, $2} } }"
}
mkdir "$web/www/jobs"

t_begin job_is_started_once_and_asked_for
: >"$web/log"
answer scan '202\n{"jobId":"j 1"}'
answer 'jobs/j%201.1' '200\n{"status":"running"}'
answer 'jobs/j%201.2' '503\n'
answer 'jobs/j%201' '200\n{"status":"completed","result":{"brokenChains":0}}'
job 3s "body: '{\"all\":true}', headers: { Authorization: 'env:SHOP_TOKEN', Idempotency-Key: '\${run.id}' }"
run 0
t_is "$(sort "$web/log" | uniq -c | tr -s ' ')" $' 3 GET /jobs/j%201\n 1 POST /scan {"all":true}'
t_match "$(journal)" '"outputs":\{"state":"completed","job":"j 1","waited_ms":[0-9]+\}'
no_secret

t_begin killed_while_a_job_runs_the_same_job_is_asked_for
: >"$web/log"
answer scan.2 '202\n{"jobId":2}'
answer jobs/2 '200\n{"status":"running"}'
job 3s
start
t_wait 10 asked jobs/2
kill -KILL "$started"
ended
answer jobs/2 '200\n{"status":"completed","result":{"brokenChains":0}}'
t_exit 0 "$HOLDFAST" resume "$(last_run)"
t_is "$(asked scan)" 1

t_begin answer_may_be_the_result
answer scan '200\n{"result":{"brokenChains":0}}'
job 3s
run 0
answer scan '200\n{"result":{"brokenChains":2}}'
run 1
t_match "$t_err" "error:  the job at \"$url/scan\" has ended otherwise than expected: \"result.brokenChains\" is \"2\", wanted \"0\""

t_begin job_that_failed_is_started_anew
: >"$web/log"
answer scan '200\n{"jobId":"j5"}'
answer jobs/j5.1 '200\n{"status":"failed"}'
answer jobs/j5.2 '200\n{"status":"completed","result":{"brokenChains":1}}'
answer jobs/j5.3 '404\n'
answer jobs/j5 '200\n{"status":"completed","result":{"brokenChains":0}}'
job 3s
run 1
t_match "$t_err" "error:  job \"j5\" at \"$url/scan\" has failed: \"status\" is \"failed\""
t_exit 1 "$HOLDFAST" resume "$(last_run)"
t_match "$t_err" '"result.brokenChains" is "1", wanted "0"'
t_exit 1 "$HOLDFAST" resume "$(last_run)"
t_match "$t_err" "error:  could not ask for the job: \"$url/jobs/j5\" answered with status 404"
t_exit 0 "$HOLDFAST" resume "$(last_run)"
t_is "$(asked scan)" 4

t_begin answers_that_do_not_come_in_full
answer scan '200\n{"jobId":"j7"}'
for how in hang drip; do
	answer jobs/j7 "$how"
	job 300ms
	SECONDS=0
	run 1
	t_match "$t_err" "error:  job \"j7\" at \"$url/scan\" is not done after 300ms: could not reach"
	t_is "$((SECONDS < 8))" 1 "$how: not much later"
done
answer scan drip
run 1
t_match "$t_err" 'it has not answered in full within 1[.]?'

t_begin an_id_that_is_none
for id in '""' '".."' '"a\u001b[2Jb"' '{}' 1.5 "\"$(printf 'x%.0s' {1..1100})\""; do
	answer scan "200\\n{\"jobId\":${id//\\/\\\\}}"
	job 300ms
	run 1
	t_match "$t_err" 'error:  member "jobId" in the answer of "[^"]*/scan" is no job'"'s id"
done

t_begin job_that_does_not_end
answer scan '200\n{"jobId":"j6"}'
answer jobs/j6 '200\n{"status":"running"}'
job 300ms
run 1
t_match "$t_err" "error:  job \"j6\" at \"$url/scan\" is not done after 300ms"
t_exit 0 "$HOLDFAST" abandon "$(last_run)"
answer scan '500\n'
job 3s
run 1
t_match "$t_err" "error:  could not start the job: \"$url/scan\" answered with status 500"
