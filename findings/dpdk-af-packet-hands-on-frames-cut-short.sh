#!/usr/bin/env bash
# DPDK 22.11.11 (Debian 12), net_af_packet with its defaults: a frame that is larger than its ring's slots is handed on cut
# short, as if it were complete.
#
# Expected: a frame of 3000 bytes on an interface with an MTU of 9000 is received whole, or dropped and counted.
# Seen: it is received, counted as good, and 1982 bytes long. No error, no counter, nothing in the log.
# A generator that counts frames and not bytes sees no loss.
#
# Needs root, a Debian 12 archive for apt-get, python3. Everything happens in a network namespace of its own.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mapfile -t lacking < <(
    apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances \
        dpdk=22.11.11-0+deb12u1 | grep -E '^[a-z]' | sort -u |
        while read -r name; do dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q '^install ok installed' || echo "$name"; done |
        grep -E '^(dpdk|lib)' | grep -vE ':|^libc6$'
)
chmod 777 "$work"
apt-get -qq download "${lacking[@]/#dpdk/dpdk=22.11.11-0+deb12u1}" 2>/dev/null
for package in ./*.deb; do dpkg -x "$package" root; done
libraries=$work/root/usr/lib/x86_64-linux-gnu
export LD_LIBRARY_PATH=$libraries:$work/root/lib/x86_64-linux-gnu
export driver=$libraries/dpdk/pmds-23.0/librte_net_af_packet.so
[[ -e $driver ]] || driver=/usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_af_packet.so
export testpmd=$work/root/usr/bin/dpdk-testpmd
[[ -x $testpmd ]] || testpmd=$(command -v dpdk-testpmd)

cat >inside <<'INSIDE'
set -euo pipefail
mount -t tmpfs tmpfs /run # of this namespace alone: what DPDK leaves there is gone with it
ip link add name near type veth peer name far
ip link set near mtu 9000 up
ip link set far mtu 9000 up
send() {
    python3 -c "
import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(('near', 0))
s.send(bytes.fromhex('ffffffffffff02000000000188b5') + bytes($1 - 14))"
}
{
    sleep 10 # until testpmd forwards
    send 1000
    send 3000
    sleep 1
    echo "show port stats 0"
    echo quit
} | "$testpmd" -l 0,1 --no-huge -m 256 --no-pci --no-telemetry -d "$driver" --vdev=net_af_packet0,iface=far -- \
    -i --cmdline-file=commands --total-num-mbufs=4096 2>&1
INSIDE
printf 'set fwd rxonly\nset verbose 1\nstart\n' >commands
unshare --net --mount --pid --fork bash inside >log || { tail -20 log; exit 1; }
lengths=$(grep -oE 'type=0x88b5 - length=[0-9]+' log | grep -oE '[0-9]+$' | paste -sd ' ')
printf 'sent:     1000 3000\nreceived: %s\n' "$lengths"
grep -E 'RX-packets|RX-errors' log | sed 's/  */ /g'
[[ $lengths == "1000 1982" ]]
