#!/usr/bin/env bash
# DPDK 22.11.11 (Debian 12), net_af_packet with its defaults: a frame with two VLAN tags is forwarded with another type of
# tag than it had.
#
# Expected: testpmd, which forwards frames and changes nothing but MAC addresses, sends a frame of QinQ on with its outer
# tag of 802.1ad (0x88a8), or takes the tag off where that was asked for (it was not).
# Seen: the outer tag comes back as one of 802.1Q (0x8100), with the same id. The kernel hands the outer tag on beside the
# frame, with its type; the driver puts a tag back that is always of 802.1Q. A provider bridge behind it drops the frame.
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

cat >exchange.py <<'PYTHON'
import socket, struct

sent = bytes.fromhex("020000000002020000000001" "88a80005" "81000006" "88b5") + bytes(46)
port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
port.setsockopt(263, 8, 1)  # SOL_PACKET, PACKET_AUXDATA: the outer tag, which the kernel takes off what it receives
port.bind(("near", 0))
port.settimeout(1)
for _ in range(60):  # until testpmd forwards
    port.send(sent)
    try:
        while True:
            frame, more, _, address = port.recvmsg(2048, 64)
            if address[2] == 4 or b"\x88\xb5" not in frame:  # our own, on its way out; others
                continue
            *_, tag, kind = struct.unpack("=IIIHHHH", more[0][2][:20])
            print(f"sent:     88a8 5, 8100 6\nreceived: {kind:04x} {tag & 4095}, {frame[12:14].hex()} {frame[15]}")
            raise SystemExit
    except TimeoutError:
        pass
raise SystemExit("nothing came back")
PYTHON
cat >inside <<'INSIDE'
set -euo pipefail
mount -t tmpfs tmpfs /run # of this namespace alone: what DPDK leaves there is gone with it
ip link add name near type veth peer name far
sysctl -qw net.ipv6.conf.near.disable_ipv6=1 net.ipv6.conf.far.disable_ipv6=1
ip link set near up
ip link set far up
mkfifo commands
"$testpmd" -l 0,1 --no-huge -m 256 --no-pci --no-telemetry -d "$driver" --vdev=net_af_packet0,iface=far -- \
    -i --forward-mode=macswap --auto-start --total-num-mbufs=4096 <commands >testpmd.log 2>&1 &
exec 3>commands
python3 exchange.py
echo quit >&3
wait
INSIDE
unshare --net --mount --pid --fork bash inside >log || { tail -n 20 log testpmd.log; exit 1; }
cat log
[[ $(tail -n 1 log) == "received: 8100 5, 8100 6" ]]
