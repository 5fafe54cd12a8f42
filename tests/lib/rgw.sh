#!/usr/bin/env bash
# A throwaway S3 server: a Ceph cluster of one machine (monitor, one OSD, RADOS gateway) on loopback, of Debian's packages, without
# systemd, in a directory of its own.  It checks signatures and digests as Amazon's does, which stubs do not.
#
# As a library: source this file (after t.sh, which then stops it; alone, it sets its own trap).
#
#	rgw_start                       starts one, or shares the one that S3_ENDPOINT and S3_RGW_DIR name; sets, exported,
#	                                S3_ENDPOINT S3_ENDPOINT_TLS S3_CACERT S3_ACCESS_KEY S3_SECRET_KEY S3_REGION S3_RGW_DIR
#	                                and S3_BUCKET, a bucket of the script's own
#	rgw_bucket NAME [versioned|locked]        makes a bucket
#	rgw_lock NAME GOVERNANCE|COMPLIANCE DAYS  default retention of a bucket made with locked
#	rgw_user NAME                   makes a user without any rights on the owner's buckets
#	rgw_allow BUCKET NAME ACTION…   grants exactly these (s3:GetObject …) on the bucket and its objects; none: takes all away
#	rgw_as NAME                     S3_ACCESS_KEY and S3_SECRET_KEY are now that user's; "owner": the first one's again
#	rgw_s3 METHOD PATH [CURL-ARG…]  one signed request by curl; the status in rgw_status, the body in rgw_body
#	rgw_admin ARG…                  radosgw-admin
#	rgw_gateway [SETTING=VALUE…]    one more gateway to the same data, of the script's own, for faults: sets S3_ENDPOINT and
#	                                S3_ENDPOINT_TLS to it.  A setting is ceph.conf's of [client.…] (spaces as _).
#	rgw_signal STOP|CONT|KILL       to the gateway of rgw_gateway; rgw_restart: after KILL
#	rgw_stop                        ends what this script has started
#
# As a program:
#
#	rgw.sh run COMMAND…     starts a server, runs the command with these variables set, ends the server; a test program may call
#	                        itself by it when S3_ENDPOINT is not set
#	rgw.sh start DIR        starts one that stays; prints the variables.  rgw.sh stop DIR ends and removes it.
#
# Runs as root or as an ordinary user.  Ready after 2 to 15 s; 150 MiB of memory; what is stored takes its size on the disk of TMPDIR.

RGW_SELF=''    # directory of a cluster that this shell started
RGW_BASE=''    # its first port
RGW_GATEWAY='' # name of the gateway that this shell added
RGW_CURL_MAX_S=${RGW_CURL_MAX_S:-20}
rgw_status='' rgw_body=''

rgw_die() {
	printf 'rgw.sh: %s\n' "$*" >&2
	return 1
}

# --- processes ---------------------------------------------------------------------------------------------------------------

# When a process was started, in the kernel's ticks: with it a pid means one process only.
rgw_started() {
	local stat
	{ stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 1
	read -ra stat <<<"${stat##*) }"
	[[ ${stat[0]:-X} != [ZX] ]] && printf '%s\n' "${stat[19]}"
}

# rgw_alive DIR NAME
rgw_alive() {
	local pid start
	read -r pid start 2>/dev/null <"$1/run/$2.proc" && [ "$(rgw_started "$pid")" = "$start" ]
}

rgw_pid() {
	local pid
	read -r pid _ <"$1/run/$2.proc" && printf '%s\n' "$pid"
}

# rgw_spawn DIR NAME COMMAND…: in the background.  Unless the server is to stay, it dies with this shell, however that ends.
rgw_spawn() {
	local dir=$1 name=$2 pid
	shift 2
	[ -n "${RGW_STAYS:-}" ] || set -- setpriv --pdeathsig KILL "$@"
	setsid "$@" </dev/null >"$dir/log/$name.out" 2>&1 &
	pid=$!
	disown "$pid"
	printf '%s %s\n' "$pid" "$(rgw_started "$pid")" >"$dir/run/$name.proc"
}

# rgw_end DIR NAME SECONDS: TERM, and KILL after that time
rgw_end() {
	local pid i
	rgw_alive "$1" "$2" || return 0
	pid=$(rgw_pid "$1" "$2")
	kill -CONT "$pid" 2>/dev/null
	kill -TERM "$pid" 2>/dev/null
	for ((i = 0; i < $3 * 20; i++)); do
		rgw_alive "$1" "$2" || return 0
		sleep 0.05
	done
	kill -KILL "$pid" 2>/dev/null
}

# rgw_until DIR NAME SECONDS COMMAND…: until it succeeds, as long as the process lives
rgw_until() {
	local dir=$1 name=$2 until=$((SECONDS + $3))
	shift 3
	until "$@"; do
		if ! rgw_alive "$dir" "$name" || [ "$SECONDS" -ge "$until" ]; then
			tail -n 20 "$dir/log/$name.out" "$dir/log/"*."$name.log" >&2 2>/dev/null
			rgw_die "$name did not become ready: $*"
			return 1
		fi
		sleep 0.05
	done
}

# --- ports -------------------------------------------------------------------------------------------------------------------

rgw_listens() {
	grep -qiE "^ *[0-9]+: [0-9A-F]+:$(printf %04X "$1") [0-9A-F]+:[0-9A-F]+ 0A " /proc/net/tcp /proc/net/tcp6
}

# Prints the first of COUNT free ports, below the range the kernel takes for connections.
rgw_ports() {
	local count=$1 base i try
	for ((try = 0; try < 200; try++)); do
		base=$((10240 + RANDOM % 21000))
		for ((i = 0; i < count; i++)); do
			! rgw_listens $((base + i)) || continue 2
		done
		printf '%s\n' "$base"
		return 0
	done
	rgw_die "found no $count free ports in a row"
}

# --- the cluster -------------------------------------------------------------------------------------------------------------

rgw_conf() {
	local dir=$1 base=$2
	cat <<CONF
[global]
fsid = $(</proc/sys/kernel/random/uuid)
mon host = v2:127.0.0.1:$((base + 2))
mon initial members = a
auth cluster required = none
auth service required = none
auth client required = none
auth allow insecure global id reclaim = true
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind msgr1 = false
ms bind ipv6 = false
ms mon client mode = crc
ms bind port min = $((base + 3))
ms bind port max = $((base + 19))
run dir = $dir/run
admin socket = $dir/run/\$name.asok
pid file =
log file = $dir/log/\$name.log
log to stderr = false
mon cluster log file = $dir/log/cluster.log
crash dir = $dir/log
keyring = $dir/no-keyring
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd crush initial weight = 1
mon allow pool size one = true
mon warn on pool no redundancy = false
mon max pg per osd = 1000
mon data avail crit = 1
mon data avail warn = 2
mon osd full ratio = .97
mon osd nearfull ratio = .95
mon osd backfillfull ratio = .96
paxos propose interval = 0.02
paxos min wait = 0.01
[mon]
mon data = $dir/mon
mon cluster log to file = false
[osd]
osd data = $dir/osd
osd objectstore = bluestore
osd memory target = 939524096
bluestore block size = $((16 << 30))
bluestore block create = true
bluestore fsck on mount = false
bdev aio poll ms = 10
osd max object size = 134217728
osd class dir = $(printf '%s\n' /usr/lib/*/rados-classes | head -n 1)
osd client watch timeout = 3
osd class load list = *
osd class default list = *
[client]
rgw data = $dir/rgw
rgw dns name = localhost
rgw enable usage log = false
rgw enable ops log = false
rgw gc obj min wait = 5
rgw gc processor period = 10
rgw gc processor max time = 10
rgw thread pool size = 64
rgw crypt require ssl = false
rgw relaxed region enforcement = true
rgw override bucket index max shards = 1
rgw dynamic resharding = false
rgw run sync thread = false
rgw exit timeout secs = 5
CONF
}

rgw_ceph() {
	timeout 30 ceph -c "$1/ceph.conf" --connect-timeout 20 "${@:2}"
}

rgw_osd_is_up() {
	grep -q 'booting -> active' "$1/log/osd.0.log" 2>/dev/null
}

# rgw_spawn_gateway DIR NAME PORT: plain on that port, TLS on the next.  Without tcp_nodelay every small answer takes 44 ms.
rgw_spawn_gateway() {
	rgw_spawn "$1" "$2" radosgw -c "$1/ceph.conf" -n "client.$2" --rgw-frontends \
		"beast tcp_nodelay=1 endpoint=127.0.0.1:$3 ssl_endpoint=127.0.0.1:$(($3 + 1)) ssl_certificate=$1/tls.pem" -f
}

# What must be there before the gateway: keys, monitor, OSD, and the owner, whose making creates the pools.
rgw_prepare() {
	local dir=$1 base=$2 osd
	rgw_conf "$dir" "$base" >"$dir/ceph.conf" &&
		openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=127.0.0.1 \
			-addext 'subjectAltName=IP:127.0.0.1,DNS:localhost' -keyout "$dir/tls.key" -out "$dir/tls.crt" 2>/dev/null &&
		cat "$dir/tls.crt" "$dir/tls.key" >"$dir/tls.pem" &&
		monmaptool --create --fsid "$(sed -n 's/^fsid = //p' "$dir/ceph.conf")" --addv a "[v2:127.0.0.1:$((base + 2))]" \
			"$dir/monmap" &&
		ceph-mon -c "$dir/ceph.conf" --mkfs -i a --monmap "$dir/monmap" || return 1
	rgw_spawn "$dir" mon ceph-mon -c "$dir/ceph.conf" -i a -f
	rgw_until "$dir" mon 60 rgw_listens $((base + 2)) || return 1
	osd=$(</proc/sys/kernel/random/uuid)
	rgw_ceph "$dir" osd new "$osd" 0 && ceph-osd -c "$dir/ceph.conf" -i 0 --mkfs --osd-uuid "$osd" || return 1
	rgw_spawn "$dir" osd ceph-osd -c "$dir/ceph.conf" -i 0 -f
	rgw_until "$dir" osd 60 rgw_osd_is_up "$dir" || return 1 # pools made before cost 5 s
	timeout 120 radosgw-admin -c "$dir/ceph.conf" user create --uid=owner --display-name=owner \
		--access-key="$S3_ACCESS_KEY" --secret-key="$S3_SECRET_KEY"
}

rgw_bring_up() {
	local dir=$1 base
	base=$(rgw_ports 20) && mkdir -p "$dir"/{run,log,mon,osd,rgw} || return 1
	dir=$(cd "$dir" && pwd -P)
	[ ${#dir} -le 80 ] || rgw_die "\"$dir\" is too long for the daemons' sockets" || return 1
	export S3_ENDPOINT=http://127.0.0.1:$base S3_ENDPOINT_TLS=https://127.0.0.1:$((base + 1)) S3_CACERT=$dir/tls.crt
	export S3_ACCESS_KEY=OWNERACCESSKEY000001 S3_SECRET_KEY=ownersecretkey/with+odd=chars0123456789 S3_REGION=us-east-1
	export S3_RGW_DIR=$dir
	RGW_BASE=$base
	if ! rgw_prepare "$dir" "$base" >"$dir/log/prepare.out" 2>&1; then
		tail -n 20 "$dir/log/prepare.out" >&2
		rgw_die "the cluster in \"$dir\" did not start"
		return 1
	fi
	rgw_spawn_gateway "$dir" rgw "$base"
	rgw_until "$dir" rgw 60 rgw_answers
}

# A request that needs the gateway, the user and the data's pools.
rgw_answers() {
	rgw_s3 PUT /ready 2>/dev/null && [[ $rgw_status == 200 || $rgw_status == 409 ]]
}

rgw_end_cluster() {
	local proc name
	for proc in "$1"/run/*.proc; do
		name=${proc##*/}
		name=${name%.proc}
		[ "$name" = mon ] || [ "$name" = osd ] || ! [ -e "$proc" ] || rgw_end "$1" "$name" 5
	done
	rgw_end "$1" osd 20
	rgw_end "$1" mon 10
	rm -rf --one-file-system -- "$1"
}

rgw_stop() {
	[ -z "$RGW_GATEWAY" ] || rgw_end "$S3_RGW_DIR" "$RGW_GATEWAY" 2
	RGW_GATEWAY=''
	[ -z "$RGW_SELF" ] || rgw_end_cluster "$RGW_SELF"
	RGW_SELF=''
}

rgw_start() {
	if declare -F t_defer >/dev/null; then
		t_defer rgw_stop
	else
		trap rgw_stop EXIT
		trap 'exit 130' INT
		trap 'exit 143' TERM
	fi
	if [ -z "${S3_ENDPOINT:-}" ] || [ -z "${S3_RGW_DIR:-}" ]; then
		command -v radosgw >/dev/null || rgw_die "radosgw is missing; run scripts/bootstrap" || return 1
		RGW_SELF=$(mktemp -d "${TMPDIR:-/tmp}/hfrgw.XXXXXX") || return 1
		rgw_bring_up "$RGW_SELF" || return 1
	fi
	RGW_OWNER_KEY=$S3_ACCESS_KEY RGW_OWNER_SECRET=$S3_SECRET_KEY
	export S3_BUCKET=hft-$$-$RANDOM$RANDOM
	rgw_bucket "$S3_BUCKET"
}

# --- one more gateway --------------------------------------------------------------------------------------------------------

rgw_gateway() {
	local setting
	RGW_GATEWAY=rgw-$$
	{
		printf '[client.%s]\n' "$RGW_GATEWAY"
		for setting; do
			printf '%s = %s\n' "${setting%%=*}" "${setting#*=}"
		done
	} >>"$S3_RGW_DIR/ceph.conf"
	RGW_BASE=$(rgw_ports 2) || return 1
	export S3_ENDPOINT=http://127.0.0.1:$RGW_BASE S3_ENDPOINT_TLS=https://127.0.0.1:$((RGW_BASE + 1))
	rgw_restart
}

rgw_signal() {
	local pid i
	pid=$(rgw_pid "$S3_RGW_DIR" "$RGW_GATEWAY") && kill "-$1" "$pid" || return 1
	[ "$1" = KILL ] || return 0
	for ((i = 0; i < 200; i++)); do
		rgw_alive "$S3_RGW_DIR" "$RGW_GATEWAY" || return 0
		sleep 0.05
	done
	rgw_die "the gateway outlived KILL"
}

rgw_restart() {
	rgw_spawn_gateway "$S3_RGW_DIR" "$RGW_GATEWAY" "$RGW_BASE"
	rgw_until "$S3_RGW_DIR" "$RGW_GATEWAY" 60 rgw_answers
}

# --- what tests do with it ---------------------------------------------------------------------------------------------------

rgw_admin() {
	timeout 60 radosgw-admin -c "$S3_RGW_DIR/ceph.conf" "$@"
}

rgw_s3() {
	local method=$1 path=$2 file
	shift 2
	file=$(mktemp "${TMPDIR:-/tmp}/hfrgw-body.XXXXXX") || return 1
	rgw_status=$(curl -sS -o "$file" -w '%{http_code}' --noproxy '*' --cacert "$S3_CACERT" -m "$RGW_CURL_MAX_S" -X "$method" \
		--aws-sigv4 "aws:amz:$S3_REGION:s3" --user "$S3_ACCESS_KEY:$S3_SECRET_KEY" \
		-H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' "$@" "$S3_ENDPOINT$path") || rgw_status=000
	rgw_body=$(tr -d '\0' <"$file")
	rm -f -- "$file"
	[ "$rgw_status" != 000 ]
}

# rgw_want LABEL: the last request succeeded
rgw_want() {
	[[ $rgw_status == 2* ]] || rgw_die "$1: status $rgw_status: $rgw_body"
}

rgw_bucket() {
	local headers=()
	[ "${2:-}" != locked ] || headers=(-H 'x-amz-bucket-object-lock-enabled: true')
	rgw_s3 PUT "/$1" "${headers[@]}"
	rgw_want "bucket $1" || return 1
	[ "${2:-}" != versioned ] || {
		rgw_s3 PUT "/$1?versioning=" --data-binary \
			'<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>Enabled</Status></VersioningConfiguration>'
		rgw_want "versioning of $1"
	}
}

rgw_lock() {
	rgw_s3 PUT "/$1?object-lock=" --data-binary "<ObjectLockConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>$2</Mode><Days>$3</Days></DefaultRetention></Rule></ObjectLockConfiguration>"
	rgw_want "object lock of $1"
}

rgw_user() {
	rgw_admin user create --uid="$1" --display-name="$1" --access-key="KEY$1" --secret-key="secret/of+$1" >/dev/null
}

rgw_allow() {
	local bucket=$1 user=$2 actions
	shift 2
	if [ $# -eq 0 ]; then
		rgw_s3 DELETE "/$bucket?policy="
		rgw_want "policy of $bucket"
		return
	fi
	actions=$(printf '"%s",' "$@")
	rgw_s3 PUT "/$bucket?policy=" --data-binary "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":{\"AWS\":[\"arn:aws:iam:::user/$user\"]},\"Action\":[${actions%,}],\"Resource\":[\"arn:aws:s3:::$bucket\",\"arn:aws:s3:::$bucket/*\"]}]}"
	rgw_want "policy of $bucket"
}

rgw_as() {
	if [ "$1" = owner ]; then
		export S3_ACCESS_KEY=$RGW_OWNER_KEY S3_SECRET_KEY=$RGW_OWNER_SECRET
	else
		export S3_ACCESS_KEY=KEY$1 S3_SECRET_KEY=secret/of+$1
	fi
}

rgw_main() {
	local name child status=0
	case ${1:-} in
	run)
		shift
		rgw_start || return 1
		"$@" <&0 & # behind us, so that a signal reaches us while it runs
		child=$!
		trap 'kill -TERM "$child"; wait "$child"; exit 130' INT
		trap 'kill -TERM "$child"; wait "$child"; exit 143' TERM
		wait "$child" || status=$?
		return "$status"
		;;
	start)
		[ $# -eq 2 ] && [ ! -e "$2/ceph.conf" ] || rgw_die "usage: rgw.sh start DIR (new or empty)" || return 2
		RGW_STAYS=1
		unset S3_ENDPOINT
		rgw_bring_up "$2" && rgw_bucket testbucket || return 1
		S3_BUCKET=testbucket
		for name in S3_ENDPOINT S3_ENDPOINT_TLS S3_CACERT S3_ACCESS_KEY S3_SECRET_KEY S3_REGION S3_RGW_DIR S3_BUCKET; do
			printf 'export %s=%q\n' "$name" "${!name}"
		done
		;;
	stop)
		[ $# -eq 2 ] && [ -e "$2/ceph.conf" ] || rgw_die "usage: rgw.sh stop DIR" || return 2
		rgw_end_cluster "$(cd "$2" && pwd -P)"
		;;
	*)
		rgw_die "usage: rgw.sh run COMMAND… | start DIR | stop DIR"
		return 2
		;;
	esac
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
	set -u
	rgw_main "$@"
	exit $?
fi
