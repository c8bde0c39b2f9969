#!/usr/bin/env bash
# Ceph on one machine, for tests: a monitor, a manager, an OSD, and gateways that speak S3. All on
# loopback; it needs neither root nor systemd, and has no secrets (testkey, testsecret).
#
#   ceph-dev.sh start DIR [memstore|bluestore] [GATEWAYS]   starts it, and leaves it running
#   ceph-dev.sh run   DIR [memstore|bluestore] [GATEWAYS]   says "ready"; stops it when its input ends
#   ceph-dev.sh stop  DIR
#   ceph-dev.sh kill  DIR DAEMON                            with SIGKILL: client.gw1, osd.0, ...
#   ceph-dev.sh again DIR DAEMON                            starts one that was killed
#
# The gateways have the ports from RGW_PORT on (18000), the monitor has MON_PORT (13300). With
# memstore nothing outlives the OSD.
set -euo pipefail
command=$1
D=$(realpath -m "$2")
C=$D/ceph.conf
export CEPH_CONF=$C

# Of one name, or all: whoever was started with this configuration.
daemons() {
    local name=${1-} pid
    # Not as arguments, or they would be found themselves.
    for pid in $(grep -lszFx -f <(echo "$C") /proc/[0-9]*/cmdline | cut -d/ -f3); do
        if [ -z "$name" ] || grep -qszFx -f <(echo "$name") "/proc/$pid/cmdline"; then
            echo "$pid"
        fi
    done
}

# A process that nobody has reaped yet is gone with the last of its threads.
gone() {
    local threads=(/proc/"$1"/task/*)
    [ ! -e "/proc/$1" ] ||
        { [ "${#threads[@]}" = 1 ] && grep -qs '^State:.Z' "/proc/$1/status"; }
}

end() {
    local pids pid
    while pids=$(daemons "${1-}") && [ -n "$pids" ]; do
        for pid in $pids; do kill -9 "$pid" 2>/dev/null || true; done
        for pid in $pids; do until gone "$pid"; do sleep 0.01; done; done
    done
}

usage() {
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

quietly() { "$@" >>"$D/log/start.log" 2>&1; }

daemon() {
    case $1 in
        mon.* | mgr.* | osd.*) quietly "ceph-${1%%.*}" -n "$1" -c "$C" ;;
        client.gw*)
            quietly radosgw -n "$1" -c "$C"
            local url
            url=http://$(sed -n "/^\[$1\]/,/^\$/s/.*endpoint=\([^ ]*\).*/\1/p" "$C")/
            for _ in $(seq 600); do
                if curl -sf -o /dev/null "$url"; then return; fi
                sleep 0.1
            done
            echo "$1 does not answer" >>"$D/log/start.log"
            return 1
            ;;
    esac
}

failed() {
    end
    tail -n 20 "$D/log/start.log" >&2
}

start() {
    local store=${1:-memstore} gateways=${2:-1} port=${RGW_PORT:-18000} mon=${MON_PORT:-13300}
    local fsid osd n
    # Ceph takes any name, for that of its default.
    case $store in memstore | bluestore) ;; *) usage ;; esac
    mkdir -p "$D"/{mon,mgr,osd,rgw,run,log}
    fsid=$(cat /proc/sys/kernel/random/uuid)
    cat >"$C" <<CONF
[global]
fsid = $fsid
mon host = v2:127.0.0.1:$mon/0
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind msgr1 = false
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
run dir = $D/run
log file = $D/log/\$name.log
admin socket = $D/run/\$name.asok
pid file = $D/run/\$name.pid
crash dir = $D/log
mon data = $D/mon
mon data avail crit = 0
paxos propose interval = 0.05
paxos min wait = 0.01
mgr data = $D/mgr
osd data = $D/osd
osd objectstore = $store
osd memory target = 939524096
bluestore block size = 10737418240
memstore device bytes = 4294967296
rgw data = $D/rgw
rgw dynamic resharding = false

CONF
    for n in $(seq "$gateways"); do
        cat >>"$C" <<CONF
[client.gw$n]
ms mon client mode = crc
auth client required = none
rgw frontends = beast endpoint=127.0.0.1:$((port + n - 1)) tcp_nodelay=1
rgw thread pool size = 64

CONF
    done

    trap failed EXIT
    trap 'exit 1' INT TERM HUP
    quietly monmaptool --create --addv a "[v2:127.0.0.1:$mon]" --fsid "$fsid" "$D/monmap"
    quietly ceph-mon -n mon.a -c "$C" --mkfs --monmap "$D/monmap"
    daemon mon.a
    daemon mgr.x
    osd=$(cat /proc/sys/kernel/random/uuid)
    quietly ceph --connect-timeout 20 osd new "$osd"
    quietly ceph-osd -n osd.0 -c "$C" --mkfs --osd-uuid "$osd"
    daemon osd.0
    for n in $(seq "$gateways"); do daemon "client.gw$n"; done
    quietly radosgw-admin user create --uid=test --display-name=test \
        --access-key=testkey --secret-key=testsecret
    trap end EXIT
}

case $command in
    start)
        start "${@:3}"
        trap - EXIT
        ;;
    run)
        start "${@:3}"
        echo ready
        while read -r _; do :; done
        ;;
    stop) end ;;
    kill) end "$3" ;;
    again) daemon "$3" ;;
    *) usage ;;
esac
