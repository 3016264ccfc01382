"""What the roles promise of a host, each looked at in effect: `labkit doctor --host` and tests/infra ask the same.

It changes nothing on a host. Whatever is found comes with the tag of the role that closes the difference.
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
    replay,
)
from labkit.doctor.host.model import Broken, Kept, NotApplicable, Outcome, Promise

__all__ = ["PROMISES", "Broken", "Kept", "NotApplicable", "Outcome", "Promise"]

PROMISES: tuple[Promise, ...] = (
    *lowlatency_kernel.PROMISES,
    *boot.PROMISES,
    *labkit_host.PROMISES,
    *cpu_isolation.PROMISES,
    *hugepages.PROMISES,
    *dpdk.PROMISES,
    *af_xdp.PROMISES,
    *nic_tuning.PROMISES,
    *replay.PROMISES,
)
"""In the order in which site.yml runs the roles."""
