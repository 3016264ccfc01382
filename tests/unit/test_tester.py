"""Which engine the tester uses on network interfaces."""

from __future__ import annotations

import pytest

from labkit.errors import ConfigInvalid
from labkit.probe.cache import ENGINES
from labkit.testers.probe import INTERFACE_ENGINES, interface_engine


def test_engines_on_interfaces_are_named_as_the_probes_executables() -> None:
    assert set(INTERFACE_ENGINES) < set(ENGINES)
    assert [interface_engine(name, option="--labkit-tester") for name in INTERFACE_ENGINES] == [
        "af_xdp",
        "af_packet",
    ]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("packet", "packet is now called af_packet"),
        ("bpf", "bpf is now called xdp, and xdp does not generate frames"),
        ("xdp", "does not generate frames; the engine formerly called xdp is af_xdp"),
        ("dpdk", "shared-memory links"),
        ("warp", "no such engine; expected af_xdp or af_packet"),
    ],
)
def test_what_cannot_generate_on_interfaces_is_refused_with_what_to_use(name: str, said: str) -> None:
    with pytest.raises(ConfigInvalid, match=said) as caught:
        interface_engine(name, option="--labkit-tester")
    assert caught.value.exit_code == 2
