"""Onload: its settings in a topology, and what proves that it carried the traffic."""

from __future__ import annotations

from pathlib import Path

import pytest

from labkit.backends.command import BACKEND as COMMANDS
from labkit.backends.command import argv
from labkit.backends.onload import BACKEND
from labkit.backends.onload_proof import OnloadReading, Stack, judge, stack
from labkit.errors import ConfigInvalid
from labkit.lab.commands import NAMES
from labkit.lab.topology_file import load, parse
from labkit.machine.onload_interfaces import unregistered

LINKS = "/dev/null\npipe:[1]\nanon_inode:[eventpoll]\nonload:[udp:5:2047]\n"
STACK_LINE = "5: 4242 0 3 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 2100 2101\n"
DUMP = (
    "--------------------- sockets\n----\n"
    "ci_netif_dump_to_logger: stack=5 name=\n  udp_handover_connect: 0\n  tcp_handover_socket: 0\n"
)
SNMP = (
    "Ip: Forwarding DefaultTTL\nIp: 2 64\n"
    "Udp: InDatagrams NoPorts InErrors OutDatagrams\nUdp: {into} 0 0 {out}\nUdpLite: InDatagrams\nUdpLite: 0\n"
)
TCP = (
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    "   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1\n"
    "   1: 0F02000A:0016 0202000A:{port:04X} 01 00000000:00000000 00:00000000 00000000     0        0 2 1\n"
)


def reading(
    *, links: str = LINKS, stacks: str = STACK_LINE, dump: str = DUMP, datagrams: int = 0, tcp: str = ""
) -> OnloadReading:
    snmp = SNMP.format(into=100 + datagrams, out=100 + datagrams)
    return OnloadReading.parse(
        links=links, stacks=stacks, dump=dump, snmp=snmp, tcp=tcp or TCP.format(port=50000)
    )


BEFORE = reading(stacks="5: 4242 0 0 0\n")


def verdict(
    after: OnloadReading, *, kinds: tuple[str, ...] = ("udp",), received: int = 2100
) -> tuple[bool, str]:
    return judge(BEFORE, after, kinds=kinds, received=received, port=7)


def test_a_reading_has_sockets_stacks_and_what_the_kernel_counted() -> None:
    found = reading(links=LINKS + "socket:[77]\nonload:[tcp:6:1]\n")
    assert found.kinds == {"udp": 1, "tcp": 1, "kernel": 1}
    assert found.own_stacks == {5, 6}
    assert found.stacks == (Stack(5, 4242, 2100, 2101),)
    assert found.events == (2100, 2101)
    assert found.handed_over == {}
    assert found.kernel_datagrams == 200
    assert found.kernel_connections == {0x16}


def test_traffic_that_the_stack_carried_is_proven() -> None:
    assert verdict(reading()) == (
        True,
        "1 sockets under Onload, in stack 5: 2100 packets received, 2101 sent; the kernel's UDP counted 0 datagrams",
    )
    assert verdict(reading(links=LINKS.replace("udp", "tcp"), datagrams=5000), kinds=("tcp",))[0]


@pytest.mark.parametrize(
    ("after", "says"),
    [
        (reading(links="socket:[77]\n"), "1 of its sockets are the kernel's"),
        (reading(links=LINKS + "socket:[77]\n"), "1 of its sockets are the kernel's"),
        (reading(links="pipe:[1]\n"), "it has no udp socket of Onload's"),
        (reading(links=LINKS.replace("udp", "tcp")), "it has no udp socket of Onload's"),
        (reading(links=LINKS + "onload:[udp:6:9]\n"), "its sockets are in 2 stacks"),
        (reading(stacks=STACK_LINE + "7: 99 0 1 1\n"), "1 other stacks of Onload's on the host (pid 99)"),
        (reading(stacks=""), "its stack received 0 packets and sent 0"),
        (reading(stacks="5: 4242 0 2100 0\n"), "received 2100 packets and sent 0"),
        (reading(stacks="5: 4242 0 2000 2000\n"), "received 2000 packets and sent 2000"),
        (reading(dump=""), "onload_stackdump does not say"),
        (reading(dump=DUMP.replace("connect: 0", "connect: 1")), "sockets over to the kernel: udp_handover_connect 1"),
        (reading(datagrams=2100), "the kernel's UDP counted 4200 datagrams meanwhile"),
        (reading(tcp=TCP.replace(":0016", ":0007").format(port=50000)), "the kernel itself has a connection at port 7"),
    ],
)  # fmt: skip
def test_what_the_kernel_carried_or_others_share_is_not(after: OnloadReading, says: str) -> None:
    proven, claim = verdict(after)
    assert not proven
    assert says in claim


def test_a_stack_is_read_by_its_last_two_counters() -> None:
    assert stack("0: -1 0 1 2 3 44 45") == Stack(0, -1, 44, 45)


LAB = """
description: a lab with Onload
tier: hardware
hosts: {tester: here, dut: dut}
backends: [kernel, onload]
onload: %s
links:
  - name: eth
    kind: nic
    tester: {interface: eth1, ipv4: 198.18.0.1/24}
    dut: {interface: eth1, ipv4: 198.18.0.2/24}
"""


def test_settings_become_a_wrapper_that_never_falls_back() -> None:
    lab = parse(LAB % '{profile: "throughput", environment: {EF_POLL_USEC: "20000"}}', Path("lab.yml"))
    assert " ".join(lab.onload.wrapper) == "env EF_POLL_USEC=20000 EF_NO_FAIL=0 onload -p throughput"
    assert [mode.name for mode in BACKEND.modes(lab)] == ["", "tcp", "tcp_stream"]
    assert BACKEND.modes(load("veth")) == ()
    plain = parse(LAB.replace("onload: %s\n", ""), Path("lab.yml"))
    assert " ".join(plain.onload.wrapper) == "env EF_NO_FAIL=0 onload -p latency"


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("{profile: --app}", "expected a profile of Onload's"),
        ("{profile: 'a b'}", "expected a profile of Onload's"),
        ("{environment: {PATH: /tmp}}", r"expected a variable of Onload \(EF_...\), got 'PATH'"),
        ("{environment: {EF_NO_FAIL: '1'}}", "labkit itself sets it to 0"),
        ("{environment: {EF_POLL_USEC: [100]}}", "expected text"),
        ("{environment: EF_POLL_USEC}", "expected a mapping"),
        ("{profil: latency}", "profil"),
    ],
)
def test_settings_that_are_wrong_are_refused_with_their_line(written: str, says: str) -> None:
    with pytest.raises(ConfigInvalid, match=f"lab.yml:6: .*{says}"):
        parse(LAB % written, Path("lab.yml"))


def test_settings_that_nothing_uses_are_refused() -> None:
    lab = (LAB % "{profile: latency}").replace("[kernel, onload]", "[kernel]")
    with pytest.raises(ConfigInvalid, match="the key onload is for the backend onload"):
        parse(lab, Path("lab.yml"))


def test_an_interface_that_the_role_did_not_register_is_named(tmp_path: Path) -> None:
    module = tmp_path / "sys/module/sfc_resource"
    module.mkdir(parents=True)
    notes = tmp_path / "run/labkit-onload"
    notes.mkdir(parents=True)
    load_number = module.stat().st_ino
    note = '{"interface": "eth1", "module": %d, "generic": false}'
    (notes / "eth1.json").write_text(note % load_number)
    assert unregistered(["eth1"], tmp_path) == ""
    assert "eth2 is not registered" in unregistered(["eth1", "eth2"], tmp_path)
    (notes / "eth1.json").write_text(note % (load_number + 1))
    assert "eth1 is not registered" in unregistered(["eth1"], tmp_path), "before the last load of the module"
    driver = tmp_path / "sys/class/net/sfc0/device/driver"
    driver.parent.mkdir(parents=True)
    driver.symlink_to(tmp_path / "sys/bus/pci/drivers/sfc")
    assert unregistered(["sfc0"], tmp_path) == "", "Onload drives it itself"


PROGRAM = LAB.replace("[kernel, onload]", "[kernel, command]").replace("onload: %s", "commands: {echo: %s}")


def test_a_program_of_ones_own_runs_under_onload_and_is_proven_by_it() -> None:
    lab = parse(PROGRAM % "{argv: [echo], onload: true, answers: tcp}", Path("lab.yml"))
    (command,) = lab.commands
    assert (command.onload, command.proof) == (True, "onload")
    (mode,) = COMMANDS.modes(lab)
    assert {"onload", "onload_interface"} <= set(mode.requires)
    values = {**dict.fromkeys(NAMES, ""), "LABKIT_CORE": "3"}
    words = " ".join(argv(command, values, lab.onload.wrapper))
    assert words.index("EF_NO_FAIL=0 onload -p latency") < words.index(" echo")
    plain = parse(PROGRAM % "{argv: [echo], onload: false}", Path("lab.yml"))
    assert (plain.commands[0].onload, plain.commands[0].proof) == (False, "udp_socket")


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("{argv: [echo], onload: true, answers: frames}", "Onload carries UDP and TCP, not frames"),
        ("{argv: [echo], onload: true, preload: /x.so, proof: onload}", "has Onload's library first"),
        ("{argv: [echo], onload: true, proof: udp_socket}", "udp_socket proves nothing of a program that runs under"),
        ("{argv: [echo], proof: onload}", "onload proves nothing of a program that does not run under"),
        ("{argv: [echo], onload: fast}", "onload"),
    ],
)  # fmt: skip
def test_a_program_that_can_not_run_under_onload_is_refused(written: str, says: str) -> None:
    with pytest.raises(ConfigInvalid, match=says):
        parse(PROGRAM % written, Path("lab.yml"))


def test_a_lab_that_makes_its_interfaces_has_none_of_onload() -> None:
    text = (load("veth").source).read_text()
    text = text.replace("backends:", "commands: {echo: {argv: [echo], onload: true}}\nbackends:", 1)
    with pytest.raises(ConfigInvalid, match="Onload never lets go of an interface"):
        parse(text, load("veth").source, alone=True)
