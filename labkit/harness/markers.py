"""The markers that labkit registers, with the lines that `pytest --markers` shows."""

from __future__ import annotations

import pytest

from labkit.harness.collecting import LOWLATENCY

KINDS = {
    "throughput": "measures NDR, PDR and MRR",
    "latency": "measures round-trip times at given loads",
    "loss": "measures the frame loss rate over the load (RFC 2544 26.3)",
    "burst": "measures back-to-back frames (RFC 9004)",
    "slow": "takes minutes: more frame sizes, longer trials; `labkit run` selects these with --slow only",
}


def register(config: pytest.Config) -> None:
    """Register all markers: one per backend, one per kind of measurement, and those with arguments.

    Raises UsageError for a backend that does not load.
    """
    from labkit.backends import registry

    lines = []
    for name in registry.names():
        try:
            lines.append(f"{name}: labkit: {registry.load(name).description}")
        except (ImportError, AttributeError) as error:
            raise pytest.UsageError(f"labkit backend {name!r} does not load: {error}") from error
    lines.append(
        f"{LOWLATENCY}: labkit: measures wake-up latency of the host itself (cyclictest; oslat, hwlatdetect and rtla "
        "where they run), and the UDP round trip beside it"
    )
    lines += [f"{kind}: labkit: {description}" for kind, description in KINDS.items()]
    lines += [
        "datapaths(frames=('64',), modes='all'|'default'): labkit: run the test once for every datapath of the "
        "chosen topologies, and for each of these frame sizes",
        "on(topology=..., mode='', frame='64'): labkit: where a test marked with a backend is measured",
    ]
    for line in lines:
        config.addinivalue_line("markers", line)
