#!/usr/bin/env bash
# DPDK 22.11.11 (Debian 12), EAL with --no-huge and --no-shconf, which is documented as "no shared files created".
#
# Expected: a program that ended well leaves nothing on the file system.
# Seen: each --file-prefix leaves an empty directory in the runtime directory; rte_eal_cleanup() does not remove it. Who
# gives every process a prefix of its own, as parallel runs must, collects one for each run until the next boot.
#
# Needs root, a Debian 12 archive for apt-get. Everything happens in a mount namespace of its own, with its own /run.
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
mount -t tmpfs tmpfs /run
ip link set lo up
for prefix in first second; do
    "$testpmd" -l 0,1 --no-huge -m 256 --no-shconf --no-pci --no-telemetry --file-prefix="$prefix" -d "$driver" \
        --vdev=net_af_packet0,iface=lo -- -i --total-num-mbufs=4096 <<<quit >&2
    echo "exit code $?"
done
find /run -mindepth 1 -printf '%y %P\n' | sort
INSIDE
seen=$(unshare --net --mount --pid --fork bash inside 2>log) || { tail -20 log; exit 1; }
echo "$seen"
[[ $seen == "exit code 0
exit code 0
d dpdk
d dpdk/first
d dpdk/second" ]]
