"""The list of checks, in the order of the table."""

from __future__ import annotations

from functools import partial

from labkit.doctor import dpdk, lowlatency, machine, onload, probe, scratch, sockets, vfio
from labkit.doctor.model import Check
from labkit.machine import fix

_VETH = ("kernel", "af_packet", "xdp", "af_xdp")
_ALL = (*_VETH, "dpdk")
_ROOT = fix.again_as_root
_DPDK = partial(fix.packages, "libdpdk-dev", "dpdk-dev")

CHECKS: tuple[Check, ...] = (
    Check(
        id="namespaces",
        title="network namespaces",
        required_for=_VETH,
        attempt=machine.namespaces,
        fix=scratch.fix_of_none,
    ),
    Check(id="kernel", title="kernel UDP sockets", required_for=("kernel",), attempt=sockets.udp, fix=_ROOT),
    Check(
        id="af_packet",
        title="AF_PACKET sockets",
        required_for=("af_packet",),
        attempt=sockets.packet,
        fix=_ROOT,
    ),
    Check(id="bpf", title="BPF programs", required_for=("xdp", "af_xdp"), attempt=sockets.bpf, fix=_ROOT),
    Check(
        id="xdp_native",
        title="native XDP on veth",
        required_for=("xdp", "af_xdp"),
        attempt=sockets.xdp_native,
        mtu_matters=True,
        fix=_ROOT,
    ),
    Check(
        id="af_xdp",
        title="AF_XDP, copy mode",
        required_for=("xdp", "af_xdp"),  # xdp: its tester sends through it
        attempt=sockets.af_xdp_copy,
        fix=_ROOT,
    ),
    Check(
        id="af_xdp_zerocopy",
        title="AF_XDP, zero-copy mode",
        required_for=(),
        attempt=sockets.af_xdp_zerocopy,
        fix=lambda: (
            "none on veth: zero-copy needs a NIC whose driver supports it (i40e, ice, ixgbe, igc, mlx5)"
        ),
    ),
    Check(
        id="busy_poll",
        title="preferred busy polling",
        required_for=(),
        attempt=sockets.busy_poll,
        fix=_ROOT,
    ),
    Check(
        id="memlock",
        title="locked memory for AF_XDP",
        required_for=("af_xdp",),
        attempt=sockets.memlock,
        fix=fix.lockable_memory,
    ),
    Check(id="dpdk", title="DPDK", required_for=("dpdk",), attempt=dpdk.eal, fix=_DPDK),
    Check(id="dpdk_memif", title="DPDK driver memif", required_for=("dpdk",), attempt=dpdk.memif, fix=_DPDK),
    Check(
        id="dpdk_vhost",
        title="DPDK drivers vhost, virtio_user",
        required_for=("dpdk",),
        attempt=dpdk.vhost,
        fix=_DPDK,
    ),
    Check(
        id="dpdk_af_packet",
        title="DPDK driver af_packet",
        required_for=(),
        attempt=dpdk.af_packet,
        fix=_DPDK,
    ),
    Check(id="dpdk_af_xdp", title="DPDK driver af_xdp", required_for=(), attempt=dpdk.af_xdp, fix=_DPDK),
    Check(
        id="vfio_pci",
        title="NICs for DPDK (vfio-pci)",
        required_for=(),
        attempt=vfio.vfio_pci,
        fix=vfio.fix,
    ),
    Check(id="onload", title="Onload", required_for=("onload",), attempt=onload.loaded, fix=onload.fix),
    Check(
        id="hugepages",
        title="2 MB hugepages",
        required_for=(),
        attempt=machine.hugepages,
        fix=partial(fix.as_root, "sysctl -w vm.nr_hugepages=512"),
    ),
    *(
        Check(
            id=f"probe_{engine}",
            title=f"probe engine {engine}",
            required_for=backends,
            attempt=partial(probe.opens, engine),
            mtu_matters=engine in ("xdp", "af_xdp"),
            fix=partial(fix.labkit, "build", root=False),
        )
        for engine, backends in (
            ("socket", ("kernel",)),
            ("af_packet", ("af_packet",)),
            ("xdp", ("xdp",)),
            ("af_xdp", ("xdp", "af_xdp")),
            ("dpdk", ("dpdk",)),
        )
    ),
    Check(
        id="live_frames",
        title="frames made in the kernel",
        required_for=(),
        attempt=probe.generates_in_kernel,
        mtu_matters=True,
        fix=lambda: "none without Linux 5.18 or newer, and root: there the tester sends through AF_XDP",
    ),
    Check(
        id="cores",
        title="CPU cores",
        required_for=_ALL,
        attempt=machine.cores,
        fix=lambda: "give this machine or container two cores or more (taskset, cpuset)",
    ),
    Check(
        id="clock",
        title="clock source",
        required_for=(),
        attempt=machine.clock,
        fix=partial(fix.as_root, "dmesg | grep -i clocksource"),
    ),
    Check(
        id="cyclictest",
        title="wake-up latency (cyclictest)",
        required_for=("lowlatency",),
        attempt=lowlatency.cyclictest_runs,
        fix=_ROOT,
    ),
    Check(
        id="oslat",
        title="OS jitter (oslat)",
        required_for=(),
        attempt=lowlatency.oslat_runs,
        fix=_ROOT,
    ),
    Check(
        id="hwlatdetect",
        title="hardware latency (hwlatdetect)",
        required_for=(),
        attempt=lowlatency.hwlat,
        fix=_ROOT,
    ),
    Check(
        id="timerlat",
        title="wake-up latency traced by the kernel (rtla)",
        required_for=(),
        attempt=lowlatency.timerlat,
        fix=_ROOT,
    ),
    Check(
        id="user_namespaces",
        title="user namespaces (to run without root)",
        required_for=(),
        attempt=machine.user_namespaces,
        fix=machine.fix_of_user_namespaces,
    ),
    Check(
        id="bpffs",
        title="BPF file system",
        required_for=(),
        attempt=machine.bpffs,
        fix=partial(fix.as_root, "mount -t bpf bpf /sys/fs/bpf"),
    ),
    Check(
        id="python_packages",
        title="Python packages",
        required_for=_ALL,
        attempt=machine.python_packages,
        fix=lambda: fix.python_packages(*fix.requirements()),
    ),
    Check(
        id="ansible",
        title="Ansible (provisions hosts)",
        required_for=(),
        attempt=machine.ansible,
        fix=partial(fix.packages_of, "ansible"),
    ),
    Check(
        id="benchmark_tools",
        title="benchmark tools",
        required_for=(),
        attempt=machine.benchmark_tools,
        fix=partial(fix.packages, "iperf3", "sockperf", "dpdk-dev"),
    ),
)
