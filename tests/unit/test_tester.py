"""Which engine the tester uses on network interfaces."""

from __future__ import annotations

import pytest

from labkit.errors import ConfigInvalid
from labkit.lab.topology_file import load
from labkit.probe.cache import ENGINES
from labkit.progress import Silent
from labkit.session.datapaths import enumerate_datapaths
from labkit.session.session import Session
from labkit.session.settings import Settings
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


@pytest.mark.parametrize("option", ["--tester", "--labkit-tester"])
def test_an_engine_that_does_not_fit_is_left_out_by_the_option_that_chose_it(option: str) -> None:
    settings = Settings(store=False, tester_engine="af_packet", tester_option=option)
    (xdp,) = [d for d in enumerate_datapaths([load("veth")]) if d.backend.name == "xdp"]
    with Session(settings, progress=Silent()) as session:
        (reason,) = session.lacking(xdp)
    assert reason.endswith(f"(fix: leave {option} out)")
