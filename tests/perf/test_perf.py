"""The suite that users run: every datapath that this machine has, held to the targets of its topology.

`labkit run` and `tox -e perf` run it; `pytest tests/perf -m dpdk` runs a part of it.
"""

from __future__ import annotations

import pytest

from labkit.fixtures import HostMeasure, Measure, TargetCheck

# The host first, each tool the floor under the next: what the hardware takes no kernel can give back, what a wake-up
# takes no datapath that sleeps.


@pytest.mark.lowlatency
def test_hardware_gaps(measure: HostMeasure, target: TargetCheck) -> None:
    """Gaps that hardware and firmware make, with nobody to blame in the kernel."""
    target.declared(measure.hardware())


@pytest.mark.lowlatency
def test_wakeup(measure: HostMeasure, target: TargetCheck) -> None:
    """How late a thread of high priority wakes up."""
    target.declared(measure.wakeup())


@pytest.mark.lowlatency
@pytest.mark.slow
def test_wakeup_as_the_kernel_sees_it(measure: HostMeasure, target: TargetCheck) -> None:
    """The same by the kernel's own tracer."""
    target.declared(measure.timerlat())


@pytest.mark.lowlatency
def test_busy_loop(measure: HostMeasure, target: TargetCheck) -> None:
    """How long a polling thread is kept from running."""
    target.declared(measure.busy_loop())


@pytest.mark.lowlatency
@pytest.mark.latency
@pytest.mark.kernel
def test_round_trip_beside_the_wakeup(measure: Measure, target: TargetCheck) -> None:
    """UDP round trips through the same kernel: what a packet makes of its wake-ups, and what is left of the rate."""
    target.declared(measure.latency())


@pytest.mark.throughput
@pytest.mark.datapaths
def test_throughput(measure: Measure, target: TargetCheck) -> None:
    """NDR, PDR and MRR of 64-byte frames hold the declared invariants and ratios."""
    target.declared(measure.mrr(), measure.throughput())


@pytest.mark.latency
@pytest.mark.datapaths
def test_latency(measure: Measure, target: TargetCheck) -> None:
    """Round trips of 64-byte frames, unloaded and at shares of PDR."""
    target.declared(measure.latency())


@pytest.mark.latency
@pytest.mark.slow
@pytest.mark.datapaths(modes="default")
def test_predictability(measure: Measure, target: TargetCheck) -> None:
    """The spread of the round trips beside the kernel's, in rounds in random order; also beside a noisy neighbour."""
    target.declared(measure.predictability(neighbour="stream"))


@pytest.mark.loss
@pytest.mark.datapaths(modes="default")
def test_loss_curve(measure: Measure, target: TargetCheck) -> None:
    """Loss falls to nothing as the load falls."""
    target.declared(measure.loss_curve())


@pytest.mark.burst
@pytest.mark.slow
@pytest.mark.datapaths(modes="default")
def test_back_to_back(measure: Measure, target: TargetCheck) -> None:
    """The longest burst that comes back whole."""
    target.declared(measure.back_to_back())


@pytest.mark.throughput
@pytest.mark.slow
@pytest.mark.datapaths(frames=("512", "1518", "imix"), modes="default")
def test_throughput_of_larger_frames(measure: Measure, target: TargetCheck) -> None:
    """NDR, PDR and MRR of other frame sizes."""
    target.declared(measure.mrr(), measure.throughput())
