"""The host checks: whether a host is as the roles provision it. `labkit doctor --host` and tests/infra run them.

They read the values in effect and change nothing. A failure comes with the command that fixes it.
"""

from __future__ import annotations

from labkit.doctor.host import (
    af_xdp,
    boot,
    cpu_isolation,
    dpdk,
    hugepages,
    labkit_host,
    lowlatency_kernel,
    nic_tuning,
    openonload,
    replay,
    trex,
)
from labkit.doctor.host.model import Failed, HostCheck, NotApplicable, Outcome, Passed

__all__ = ["HOST_CHECKS", "Failed", "HostCheck", "NotApplicable", "Outcome", "Passed"]

HOST_CHECKS: tuple[HostCheck, ...] = (
    *lowlatency_kernel.HOST_CHECKS,
    *boot.HOST_CHECKS,
    *labkit_host.HOST_CHECKS,
    *cpu_isolation.HOST_CHECKS,
    *hugepages.HOST_CHECKS,
    *dpdk.HOST_CHECKS,
    *af_xdp.HOST_CHECKS,
    *nic_tuning.HOST_CHECKS,
    *openonload.HOST_CHECKS,
    *trex.HOST_CHECKS,
    *replay.HOST_CHECKS,
)
"""In the order in which site.yml runs the roles."""
