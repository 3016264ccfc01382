"""What a snapshot of a host leaves out, each with the reason: it differs between two boots that nobody touched."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class Excluded:
    """Names that are not compared."""

    what: str
    """Shell patterns, separated by blanks; "*" also fits "/"."""
    why: str

    def has(self, name: str) -> bool:
        """Whether one of the patterns fits."""
        return any(fnmatchcase(name, pattern) for pattern in self.what.split())


FILES = (
    Excluded(
        "/etc/passwd- /etc/shadow- /etc/group- /etc/gshadow- /etc/subuid- /etc/subgid- */.pwd.lock",
        "what the tools for accounts leave behind: the file before their last change, and their lock",
    ),
    Excluded(
        "/etc/ld.so.cache /etc/udev/hwdb.bin /etc/apparmor.d/cache/* /etc/apparmor/earlypolicy/*",
        "caches, made of other files that are compared or belong to packages",
    ),
    Excluded(
        "/etc/resolv.conf /etc/adjtime /etc/fake-hwclock.data /etc/machine-info /etc/mtab",
        "written by DHCP clients, clocks and the kernel while a host runs",
    ),
    Excluded(
        "/etc/xml/catalog /etc/xml/catalog.old",
        "a list that packages' scripts keep; the order of its entries is the order in which they came",
    ),
    Excluded("*/__pycache__ */__pycache__/*", "written by whichever Python reads a module first"),
)
CONTENTS = (
    Excluded(
        "/boot/initrd* /boot/initramfs*",
        "built anew whenever a package asks for it; its bytes hold the time. That it is there is compared",
    ),
)
SYSCTLS = (
    Excluded(
        "kernel.random.* kernel.ns_last_pid kernel.pty.nr kernel.tainted "
        "kernel.perf_event_max_sample_rate kernel.perf_cpu_time_max_percent fs.dentry-state fs.file-nr "
        "fs.inode-* fs.aio-nr fs.quota.* net.netfilter.nf_conntrack_count net.core.netdev_rss_key "
        "kernel.cad_pid kernel.sched_domain.*",
        "counters, random values and what the kernel adapts by itself",
    ),
    Excluded(
        "fs.file-max fs.epoll.max_user_watches fs.inotify.max_user_watches fs.fanotify.max_user_marks "
        "kernel.threads-max user.max_* "
        "kernel.shmall net.ipv4.tcp_mem net.ipv4.udp_mem net.ipv4.tcp_max_orphans net.sctp.* "
        "net.ipv4.tcp_max_tw_buckets net.ipv4.tcp_max_syn_backlog vm.min_free_kbytes "
        "vm.user_reserve_kbytes vm.admin_reserve_kbytes vm.lowmem_reserve_ratio net.*.neigh.*.gc_* "
        "net.ipv4.tcp_rmem net.ipv4.tcp_wmem",
        "worked out at boot from the memory that is free then",
    ),
    Excluded(
        "fs.binfmt_misc.* sunrpc.* fs.nfs.* fs.lease-break-time dev.* net.netfilter.* net.nf_* "
        "net.ipv4.tcp_available_congestion_control net.ipv4.tcp_allowed_congestion_control",
        "there only while certain modules are loaded",
    ),
    Excluded(
        "kernel.osrelease kernel.version kernel.bootloader* kernel.hostname kernel.domainname",
        "elsewhere in the snapshot, or given by who runs it",
    ),
)
MOUNTS = (
    Excluded(
        "/run/* /tmp /tmp/* /proc/sys/fs/binfmt_misc /var/lib/docker/* /var/lib/containers/* /media/*",
        "made and unmade by sessions, automounts and containers",
    ),
)
UNITS = (
    Excluded(
        "session-* user@* user-runtime-dir@* run-* ssh@* sshd@* systemd-fsck@* *.mount *.scope *.slice "
        "*.device *.target *.swap dev-* getty@* serial-getty@*",
        "instances that come and go with logins, disks and consoles (mounts are compared as such)",
    ),
)
NOT_LOOKED_AT = (
    ("/var but /var/lib/labkit", "logs, caches, and what package managers and services keep of their own"),
    ("/usr but /usr/local", "belongs to packages, whose versions are compared"),
    (
        "/home, /root, /tmp, /run, /srv, /opt but /opt/trex and /opt/openonload",
        "not written by any role; /run and /tmp do not outlive a boot",
    ),
    (
        "loaded modules",
        "come and go with devices and what asks for them; modules.d and modprobe.d are files of /etc",
    ),
    ("affinity of single interrupts", "irqbalance moves them; their numbers change with each boot"),
    (
        "addresses, routes, and whether an interface is up",
        "the host's own network configuration makes them at boot",
    ),
    ("whether a static unit is active", "runs when another one or a message on the bus asks for it"),
    ("times and owners' numbers of files", "times say when, not what; owners are compared by name"),
)
"""What is left out as a whole, and why."""


def excluded() -> list[dict[str, str]]:
    """All of it, to be reported."""
    found = [{"what": what, "why": why} for what, why in NOT_LOOKED_AT]
    areas = (
        ("file", FILES),
        ("content of", CONTENTS),
        ("sysctl", SYSCTLS),
        ("mount", MOUNTS),
        ("unit", UNITS),
    )
    for area, table in areas:
        found += [{"what": f"{area} {one.what}", "why": one.why} for one in table]
    return found


def left_out(name: str, table: tuple[Excluded, ...]) -> bool:
    """Whether it is in the table."""
    return any(one.has(name) for one in table)
