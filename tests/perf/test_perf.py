"""The suite that users run: every datapath that this machine has, held to the targets of its topology.

`labkit run` and `tox -e perf` run it; `pytest tests/perf -m dpdk` runs a part of it.
"""

from __future__ import annotations

import pytest

from labkit.fixtures import Measure, TargetCheck


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
