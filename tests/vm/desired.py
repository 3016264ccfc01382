"""What the DUT shall be: variables that every role is concerned by, for a guest with three cores."""

from __future__ import annotations

from typing import Any

ISOLATED = 2
"""The core that is kept free. Emulated guests would crawl with one core for all the rest."""
SLOTS = FORWARDING_SLOT, XDP_SLOT, TUNED_SLOT, PLAIN_SLOT = 0x10, 0x11, 0x12, 0x14
"""Slots of the DUT's data interfaces: bound to vfio-pci, for AF_XDP, for rings and coalescing, for no role."""
LOOPED_SLOTS = 0x15, 0x16
"""Of two more that have a cable from one to the other."""
MODELS = {TUNED_SLOT: "e1000e", PLAIN_SLOT: "vmxnet3"}
"""Of those that are no virtio NICs."""
SPREAD_SLOT = 0x13
"""Of an interface with several queues, which another guest has."""
FORWARDING_PCI = f"0000:00:{FORWARDING_SLOT:02x}.0"
XDP_NAME = f"enp0s{XDP_SLOT}"
TUNED_NAME = f"enp0s{TUNED_SLOT}"
SPREAD_NAME = f"enp0s{SPREAD_SLOT}"
NODES = ("0-1", "2")
"""Cores of the NUMA nodes."""
HUGEPAGES = (48, 80)
"""On each of them."""

KERNEL: dict[str, Any] = {
    "lowlatency_kernel_flavour": "rt",
    # On an emulated CPU this is the difference between three and fifteen minutes.
    "lowlatency_kernel_initramfs_modules": "dep",
    "lowlatency_kernel_initramfs_compress": "lz4",
}
DUT: dict[str, Any] = {
    **KERNEL,
    "cpu_isolation_cpus": str(ISOLATED),
    "cpu_isolation_rt_runtime_us": "-1",
    "cpu_isolation_timer_migration": "0",
    "cpu_isolation_governor": "performance",
    "cpu_isolation_max_cstate": "1",
    "hugepages_count": "0",
    "hugepages_group": "labkit",
    "hugepages_pools": [
        {"size_kib": 2048, "count": count, "node": node, "scope": "boot"}
        for node, count in enumerate(HUGEPAGES)
    ],
    "hugepages_mounts": [{"path": "/dev/hugepages-labkit", "size_kib": 2048, "mode": "0770"}],
    "dpdk_packages": ["dpdk", "dpdk-dev"],
    "dpdk_iommu": "on",
    "dpdk_group": "labkit",
    "dpdk_memlock_kib": "unlimited",
    "dpdk_devices": [{"pci": FORWARDING_PCI, "driver": "vfio-pci"}],
    # Without the compiler for BPF, which is large: the probe's engines for XDP are not built in the guest.
    "af_xdp_packages": ["libxdp-dev", "pkg-config", "xdp-tools"],
    "af_xdp_interfaces": [
        {"name": XDP_NAME, "queues": 1, "napi_defer_hard_irqs": 2, "gro_flush_timeout_ns": 20000}
    ],
    "af_xdp_memlock_kib": "unlimited",
    "nic_tuning_interfaces": [
        {
            "name": TUNED_NAME,
            "rings": {"rx": 512},
            "coalescing": {"rx-usecs": 20},
            "features": {"gro": "off"},
            "pause": {"autoneg": False, "rx": False, "tx": False},
        }
    ],
    "labkit_host_user": "tester",
    "labkit_host_group": "labkit",
    "labkit_host_sudo": True,
    "labkit_host_build": True,
    "labkit_host_capabilities": True,
    "labkit_host_install": True,
}
TESTER: dict[str, Any] = {
    "labkit_host_build": True,
    "labkit_host_install": True,
}
"""Of the machine at the other end: labkit and its probe, nothing else."""

GENERIC: dict[str, Any] = {
    "af_xdp_packages": [],
    "af_xdp_busy_read_us": "50",
    "nic_tuning_interfaces": [{"name": SPREAD_NAME, "rss": {"indirection": "weight 1 3"}}],
}
"""Of another host, on the kernel that it came with: what only that can, and a spread over queues, which the driver of
that NIC knows of as long as it is up."""
