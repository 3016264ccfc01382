"""Stands for Onload in an archive, and for the kernel that loads its modules: what they do to a host, without packets.

The scripts have the names and the behaviour of Onload's own, as it was recorded of 10.0.0 on Debian 12: what they
write, what they print, and how they fail. The kernel's part is a program that makes what the modules make (/sys/module,
/dev/onload) and answers a registration with the lines that the modules print. What it can't show, such as whether a
socket is accelerated, a real archive does in a guest: tests marked `onload`.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

BUILD = r"""#!/bin/sh
# Options as onload_build has them; modules that say for which kernel they are, and programs.
set -e
cd "$(dirname "$0")/.."
kernel=$(uname -r) sfc=1 programs=1
while [ $# -gt 0 ]; do
    case $1 in
        --no-sfc) sfc= ;;
        --kernelver) kernel=$2; shift ;;
        --kernel) programs= ;;
        *) echo "usage: onload_build [options]" >&2; exit 1 ;;
    esac
    shift
done
if [ -e /srv/stand-in/build-fails ]; then
    echo "make: *** [onload] Error 1"
    echo "onload_build: ERROR: Failed to build driver components." >&2
    exit 1
fi
echo "$kernel $(cat VERSION)" >>/srv/stand-in/builds
rm -rf build
folder=build/x86_64_linux-$kernel/driver/linux
mkdir -p "$folder"
source=$(echo "$(cat VERSION) $kernel" | sha256sum | cut -c1-23 | tr a-f A-F)
for name in sfc_resource sfc_char onload ${sfc:+sfc}; do
    printf 'name=%s\0vermagic=%s SMP mod_unload \0srcversion=%s\0' "$name" "$kernel" "$source" >"$folder/$name.ko"
done
[ -z "$programs" ] || { mkdir -p build/gnu_x86_64/lib/transport/unix
    echo library >build/gnu_x86_64/lib/transport/unix/libcitransport0.so; }
"""

INSTALL = r"""#!/bin/sh
# Not idempotent, as onload_install: what is there already is an error.
set -e
top=$(cd "$(dirname "$0")/.." && pwd)
kernel=$(uname -r) build=1 all=1 words=
while [ $# -gt 0 ]; do
    case $1 in
        --nobuild) build= ;;
        --no-sfc) words="$words --no-sfc" ;;
        --kernelver) kernel=$2; shift ;;
        --newkernel) kernel=$2 all=; words="$words --kernel"; shift ;;
        --allow-unsupported-cpu) echo "onload_install: WARNING: This CPU is not supported by Onload" >&2 ;;
        *) echo "usage: onload_install [options]" >&2; exit 1 ;;
    esac
    shift
done
if [ -n "$all" ] && which onload_uninstall >/dev/null 2>&1; then
    echo "onload_install: ERROR: OpenOnload is already installed." >&2
    echo "onload_install: ERROR: To remove, run: onload_uninstall" >&2
    exit 1
fi
[ -z "$build" ] || "$top/scripts/onload_build" $words --kernelver "$kernel"
[ -d "$top/build" ] || { echo "onload_install: ERROR: build not present.  Not installing." >&2; exit 1; }
echo "onload_install: Installing OpenOnload."
place=/usr/libexec/onload
put() { install -D -m "${3:-644}" "$1" "$2"; echo "$2" >>$place/uninstall_manifest; }
mkdir -p $place
echo $place >>$place/uninstall_manifest
put "$top/scripts/onload_misc/onload_uninstall" /usr/sbin/onload_uninstall 755
if [ -e /srv/stand-in/install-fails ]; then
    echo "onload_install: FAILED: install -D -m 644 onload.ko" >&2
    exit 1
fi
if [ -n "$all" ]; then
    put "$top/build/gnu_x86_64/lib/transport/unix/libcitransport0.so" /usr/lib/x86_64-linux-gnu/libonload.so 755
    put "$top/scripts/onload_tool" /usr/sbin/onload_tool 755
    put "$top/VERSION" /usr/bin/onload 755
    put "$top/VERSION" /etc/sysconfig/openonload
    put "$top/VERSION" $place/profiles/latency.opf
    echo "# of Onload" >/tmp/of-onload
    put /tmp/of-onload /etc/modprobe.d/onload.conf
    put /tmp/of-onload /etc/depmod.d/onload.conf
    put /tmp/of-onload /usr/lib/udev/rules.d/82-onload.rules
    put /tmp/of-onload /usr/include/onload/extensions.h
    put /tmp/of-onload /usr/local/lib/python3/dist-packages/OpenOnload_utilities-1.0.egg-info/PKG-INFO
    mkdir -p /usr/local/lib/modules-load.d
    put /tmp/of-onload /usr/local/lib/modules-load.d/onload.conf
    rm /tmp/of-onload
    for user in onload_cplane onload_shrub; do
        getent passwd $user >/dev/null || useradd --system --no-create-home --home /run/$user --user-group $user
    done
    getent group onload_users >/dev/null || groupadd --system onload_users
fi
for module in "$top/build/x86_64_linux-$kernel/driver/linux"/*.ko; do
    put "$module" "/lib/modules/$kernel/extra/$(basename "$module")"
done
echo "onload_install: Install complete."
"""

UNINSTALL = r"""#!/bin/sh
manifest=/usr/libexec/onload/uninstall_manifest
[ -f $manifest ] || { echo "onload_uninstall: ERROR: Uninstall manifest not found at '$manifest'" >&2; exit 1; }
copy=$(mktemp)
mv $manifest "$copy"
echo "onload_uninstall: Removing OpenOnload files..." >&2
while read -r file; do rm -rf "$file"; done <"$copy"
rmdir /usr/include/onload 2>/dev/null
rm "$copy"
"""

TOOL = r"""#!/bin/sh
[ "$1" = unload ] || exit 1
for module in onload sfc_char sfc_resource; do
    [ ! -d /sys/module/$module ] || modprobe -r $module || exit 1
done
"""

MODPROBE = r"""#!/bin/sh
# Loads and unloads what onload_install has installed.
set -e
if [ "$1" = -r ]; then
    if [ -e /srv/stand-in/unload-fails ]; then echo "modprobe: FATAL: Module $2 is in use." >&2; exit 1; fi
    [ "$2" != sfc_resource ] || systemctl stop stand-in-kernel.service || true
    rm -rf "/sys/module/$2"
    [ "$2" != onload ] || rm -f /dev/onload
    echo "unloaded $2" >>/srv/stand-in/kernel
    exit 0
fi
folder=/lib/modules/$(uname -r)/extra
[ -e "$folder/$1.ko" ] || {
    echo "modprobe: FATAL: Module $1 not found in directory /lib/modules/$(uname -r)" >&2
    exit 1
}
[ ! -d /sys/module/onload ] || exit 0
mkdir -p /sys/module/onload /sys/module/sfc_char /sys/module/sfc_resource/parameters /sys/module/sfc_resource/afxdp
tr '\0' '\n' <"$folder/onload.ko" | sed -n s/srcversion=//p >/sys/module/onload/srcversion
echo 1 >/sys/module/sfc_resource/parameters/enable_af_xdp_flow_filters
echo "(null)" >/sys/module/sfc_resource/parameters/bpf_link_helper
for word in $(cat /etc/modprobe.d/*.conf | sed -n 's/^options sfc_resource //p'); do
    echo "${word#*=}" >"/sys/module/sfc_resource/parameters/${word%%=*}"
done
mkfifo /sys/module/sfc_resource/afxdp/register
mknod -m 666 /dev/onload c 1 3
echo "loaded" >>/srv/stand-in/kernel
systemctl reset-failed stand-in-kernel.service 2>/dev/null || true
systemd-run --quiet --collect --unit=stand-in-kernel /usr/bin/python3 /srv/stand-in/kernel.py
"""

KERNEL = r"""
import os, subprocess, time
from pathlib import Path

MODULE = Path("/sys/module/sfc_resource")
RSS = "[sfc efhw] af_xdp_rss: {0} does not support `get_rxfh_{1}_size` operation"

def say(*lines):
    with open("/dev/kmsg", "a") as log:
        for line in lines:
            log.write(f"4,{time.monotonic_ns() // 1000},0,-;{line}\n")

def writer():
    return subprocess.run(["pgrep", "-f", "onload_register.py"], stdout=subprocess.DEVNULL).returncode == 0

def registered(name):
    # As on e1000e, veth and vmxnet3: the query of RSS fails, which is harmless.
    index = Path("/sys/class/net", name, "ifindex").read_text().strip()
    say(RSS.format(name, "indir"), RSS.format(name, "key"), "[sfc efrm] ?: ERROR: hardware init failed rc=-95")
    say(f"[sfc efrm] {name} index=0 ifindex={index}", f"[onload] oo_nic_add: ifindex={index} oo_index=0")

while True:
    with open(MODULE / "afxdp/register") as register:
        name = register.read().strip()
    if not name:
        continue
    how = Path("/srv/stand-in/answers", name)
    how = how.read_text().strip() if how.exists() else "native"
    index = Path("/sys/class/net", name, "ifindex").read_text().strip()
    say(f"[sfc efrm] efrm_nondl_register_device: register {name}", f"[sfc efrm] {name} type=4:X0 ifindex={index}")
    if how == "native":
        registered(name)
    elif how == "silent":
        continue
    elif how == "unsound":
        say("[sfc efrm] ?: ERROR: hardware init failed rc=-1", f"[onload] oo_nic_add: ifindex={index} oo_index=0")
    elif how == "generic":
        say(f"[sfc efhw] xdp_set_link: {name} does not support native XDP, using generic mode")
        if (MODULE / "parameters/bpf_link_helper").read_text().strip() == "(null)":
            say("[sfc efhw] xdp_set_link: bpf_link_helper parameter is not set. Failed to link.")
            say("[sfc efrm] ?: ERROR: hardware init failed rc=-1")
        registered(name)
        time.sleep(1)
        say(*(['Found bpf program "xdpsock" fd=4 id=7 ifindex=0', f"Linking to {name}"] if writer()
              else ["No onload BPF programs were found"]))
"""

HELPER = "int main(void) { return 0; }\n"
MAKEFILE = "bpf-link-helper: bpf-link-helper.c\n\t$(CC) $^ -o $@\n"


def archive(place: Path, *, version: str, says: str | None = None) -> str:
    """Write an archive with it to `place`, whose checksum is returned. `says`: the version in its versions.env."""
    files = {
        "versions.env": f"ONLOAD_VERSION={says or version}\n",
        "VERSION": version,
        "scripts/onload_build": BUILD,
        "scripts/onload_install": INSTALL,
        "scripts/onload_misc/onload_uninstall": UNINSTALL,
        "scripts/onload_tool": TOOL,
        "src/tools/bpf_link_helper/bpf-link-helper.c": HELPER,
        "src/tools/bpf_link_helper/Makefile": MAKEFILE,
    }
    with tarfile.open(place, "w:gz") as packed:
        for name, text in files.items():
            member = tarfile.TarInfo(f"onload-{version}/{name}")
            member.size, member.mode = len(text.encode()), 0o755
            packed.addfile(member, io.BytesIO(text.encode()))
    return hashlib.sha256(place.read_bytes()).hexdigest()


def kernel(folder: Path) -> None:
    """Write what stands for the kernel into a folder, which is to be /srv/stand-in of a host; then comes `SET_UP`."""
    folder.mkdir(exist_ok=True)
    for name, text in (("modprobe", MODPROBE), ("kernel.py", KERNEL)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)


SET_UP = """
mount -t tmpfs -o mode=755 none /sys/module
mv /srv/stand-in/modprobe /usr/sbin/modprobe
touch /dev/kmsg
mkdir -p "/lib/modules/$(uname -r)/build" /srv/stand-in/answers
touch "/lib/modules/$(uname -r)/build/Makefile"
"""
