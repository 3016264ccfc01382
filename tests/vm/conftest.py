"""One story in one boot of the lab: stock machine, made ready, proven, used, put back. Files run in their order.

What costs minutes is a fixture of the session: a boot, a run of site.yml. A step is made once, for the
first test that asks for it. With pytest-xdist's second process (-n 2) what needs no DUT runs beside it.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests import real_onload, real_trex
from tests.vm import desired, image
from tests.vm.guest import Guest, GuestFailed, Nic, finish_image, link
from tests.vm.playbook import GROUPS, Playbooks, Provisioned, Say, Stock


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        real_onload.OPTION,
        metavar="FILE",
        help=f"Onload's source archive, for the tests marked onload (also {real_onload.VARIABLE})",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "vm: boots machines with QEMU (tox -e vm)")
    config.addinivalue_line("markers", "trex: needs a TRex server: --labkit-trex-dir, or LABKIT_TREX_DIR")
    config.addinivalue_line(
        "markers", f"onload: needs Onload's source archive: {real_onload.OPTION}, or {real_onload.VARIABLE}"
    )
    config.addinivalue_line("markers", "long: left out by .ci/run, for its time; tox -e vm runs it")


def pytest_itemcollected(item: pytest.Item) -> None:
    if Path(__file__).parent in item.path.parents:
        item.add_marker(pytest.mark.vm)


class Beside(LoadScopeScheduling):
    """One process for the story, another for what has guests of its own (test_0_*.py).

    Marks of xdist_group would say the same, but xdist 3.8 writes them to an attribute that pytest 9.2 no longer has.
    """

    def _split_scope(self, nodeid: str) -> str:
        return "beside" if "/test_0_" in nodeid else "story"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return Beside(config, log)


@pytest.fixture(scope="session")
def say(request: pytest.FixtureRequest) -> Say:
    """Progress on the terminal, also while pytest captures: a step takes minutes."""
    reporter: Any = request.config.pluginmanager.get_plugin("terminalreporter")
    began = time.monotonic()

    def tell(text: str) -> None:
        line = f"[{time.monotonic() - began:5.0f} s] {text}"
        capture: Any = request.config.pluginmanager.get_plugin("capturemanager")
        with capture.global_and_fixture_disabled():
            if hasattr(request.config, "workerinput"):  # a process of xdist's: its reporter has no terminal
                print(f"\n{line}", file=sys.__stderr__, flush=True)
                return
            reporter.ensure_newline()
            reporter.write_line(line)
            sys.stdout.flush()

    return tell


@pytest.fixture(scope="session")
def trex_directory(request: pytest.FixtureRequest) -> Path:
    """Where a real TRex server is."""
    return real_trex.given(request)


@pytest.fixture(scope="session")
def onload_source(request: pytest.FixtureRequest) -> Path:
    """Onload's source archive."""
    return real_onload.given(request)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Logs of consoles and playbooks; pytest keeps those of the last three runs."""
    return tmp_path_factory.mktemp("vm")


@pytest.fixture(scope="session")
def stock_image(say: Say) -> image.Image:
    """The disk of a stock machine. Whoever asks for this lane wants it run: what is missing fails it."""
    return image.stock(finish_image, say=say)


@pytest.fixture(scope="session")
def links() -> Iterator[dict[int, tuple[socket.socket, socket.socket]]]:
    """The data links by slot: the DUT's end, and the tester's."""
    ends = {slot: link() for slot in desired.SLOTS}
    yield ends
    for pair in ends.values():
        for end in pair:
            end.close()


@pytest.fixture(scope="session")
def looped() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The cable from one NIC of the DUT to another."""
    ends = link()
    yield ends
    for end in ends:
        end.close()


def boot(guest: Guest) -> None:
    """Wait for its first boot. What needs a guest that does not boot ends with that reason; all else runs."""
    try:
        guest.wait()
    except GuestFailed as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def dut(
    stock_image: image.Image,
    links: dict[int, tuple[socket.socket, socket.socket]],
    looped: tuple[socket.socket, socket.socket],
    folder: Path,
    say: Say,
) -> Iterator[Guest]:
    """The machine that the story is about."""
    nics = [
        Nic(desired.MODELS.get(slot, "virtio-net-pci"), f"52:54:00:00:01:{slot:02x}", slot, ends[0])
        for slot, ends in links.items()
    ]
    nics += [
        Nic("virtio-net-pci", f"52:54:00:00:01:{slot:02x}", slot, end)
        for slot, end in zip(desired.LOOPED_SLOTS, looped, strict=True)
    ]
    compiled = subprocess.run(
        ["iasl", "-p", str(folder / "processors"), str(Path(__file__).with_name("processors.asl"))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert compiled.returncode == 0, compiled.stdout + compiled.stderr
    with Guest(
        "dut",
        stock_image,
        nics=nics,
        cpus=3,
        memory_mib=2048,
        iommu=True,
        nodes=desired.NODES,
        acpi=folder / "processors.aml",
        log=folder / "dut.console",
    ) as guest:
        boot(guest)
        say(
            f"the DUT is up; limits are those of a machine {guest.slower:.1f} times slower than the reference"
        )
        yield guest
        if guest.crashes:
            say(f"the DUT's emulator crashed and was started again: {guest.crashes}")


@pytest.fixture(scope="session")
def tester(
    stock_image: image.Image, links: dict[int, tuple[socket.socket, socket.socket]], folder: Path, say: Say
) -> Iterator[Guest]:
    """The machine at the other end of the links; started when it is wanted."""
    nics = [
        Nic("virtio-net-pci", f"52:54:00:00:02:{slot:02x}", slot, ends[1]) for slot, ends in links.items()
    ]
    with Guest(
        "tester", stock_image, nics=nics, cpus=1, memory_mib=768, log=folder / "tester.console"
    ) as guest:
        boot(guest)
        say("the tester is up")
        yield guest


@pytest.fixture(scope="session")
def playbooks(folder: Path) -> Playbooks:
    """The inventory and our playbooks."""
    return Playbooks(folder)


@pytest.fixture(scope="session")
def stock(dut: Guest, playbooks: Playbooks, say: Say) -> Stock:
    """A snapshot of the DUT before anything of ours touched it."""
    playbooks.host(dut, {})
    snapshot: dict[str, Any] = playbooks.module("dut", "labkit.host.snapshot")["snapshot"]
    say("snapshot of the stock machine taken")
    return Stock(snapshot, dut.run(GROUPS).out, dut.run("uname -r").out.strip())


@pytest.fixture(scope="session")
def site(
    dut: Guest, stock: Stock, playbooks: Playbooks, say: Say, request: pytest.FixtureRequest
) -> Provisioned:
    """The DUT after site.yml, however that ended: in check mode first, where a test is about that, then really."""
    measured = any(item.get_closest_marker("long") for item in request.session.items)
    # Without labkit, whose probe takes minutes to build there, where nothing will be measured.
    of_labkit = ("labkit_host_build", "labkit_host_capabilities", "labkit_host_install")
    # Nor with another kernel, which takes minutes to unpack and to remove there: the one that it has, preempted fully.
    kernel = {} if measured else {"lowlatency_kernel_flavour": "lowlatency"}
    playbooks.host(dut, {**desired.DUT, **dict.fromkeys(of_labkit, measured), **kernel})
    predicted = None
    if any("check_mode" in item.name for item in request.session.items):
        predicted = playbooks.play("site.yml", "--check")
        say(f"check mode took {predicted.took_s:.0f} s; now site.yml ...")
    untouched = dut.run("test ! -e /var/lib/labkit", check=False).code == 0
    played = playbooks.play("site.yml")
    say(f"site.yml took {played.took_s:.0f} s and ended with {played.code}")
    return Provisioned(predicted, untouched, played, realtime=measured)


@pytest.fixture(scope="session")
def provisioned(site: Provisioned) -> Provisioned:
    """The DUT after site.yml succeeded. What needs that ends with the reason, if it did not."""
    if site.played.trouble:
        pytest.fail(f"needs a provisioned DUT: {site.played.trouble}", pytrace=False)
    return site
