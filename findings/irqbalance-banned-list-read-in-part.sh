#!/usr/bin/env bash
# irqbalance 1.9.2 (Debian 12): IRQBALANCE_BANNED_CPULIST is read in part, without a word.
#
# Expected: "1, 3" bans CPUs 1 and 3, or is refused; "1-3 # note" bans 1 to 3, or is refused; "1,,2" bans 1 and 2.
# Seen: "1, 3" bans CPU 1 alone, "1-3 # note" bans nothing, "1,,2" bans CPU 0 as well. No message, exit code 0: cores that
# were to be kept free of interrupts get them.
#
# Needs a Debian 12 archive for apt-get. Runs irqbalance once for each value, as a user who may change no interrupt.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
cd "$work"
apt-get -qq download irqbalance=1.9.2-1 libnuma1 libncursesw6 libglib2.0-0 libcap-ng0 2>/dev/null
for package in ./*.deb; do dpkg -x "$package" root; done
export LD_LIBRARY_PATH=$work/root/usr/lib/x86_64-linux-gnu:$work/root/lib/x86_64-linux-gnu

as_nobody=()
if [[ $(id -u) -eq 0 ]]; then
    as_nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)
fi

# The mask of banned CPUs in hexadecimal, as irqbalance itself prints it.
banned() {
    IRQBALANCE_BANNED_CPULIST=$1 timeout 20 "${as_nobody[@]}" root/usr/sbin/irqbalance --oneshot --debug 2>&1 |
        sed -n 's/^Banned CPUs: *//p' | head -n 1 | tr -d , | sed 's/^0*//;s/^$/none/'
}

failed=0
check() {
    local value=$1 expected=$2 seen
    seen=$(banned "$value")
    printf '%-12s banned: %s\n' "\"$value\"" "$seen"
    if [[ $seen != "$expected" ]]; then
        echo "  no longer as described: $expected was seen"
        failed=1
    fi
}

check "1,3" a
check "1, 3" 2
check "1-3 # note" none
check "1,,2" 7
exit "$failed"
