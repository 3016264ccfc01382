"""A lab of two hosts: its file, the way to a host, its cores, and gates of two machines."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from sample_run import sample_run

from labkit.backends import kernel
from labkit.errors import ConfigInvalid, EnvironmentBroken
from labkit.lab import cores
from labkit.lab.topology import LinkKind, Topology
from labkit.lab.topology_file import parse
from labkit.machine import ssh
from labkit.machine.hosts import SSH_FAILED, SshHost
from labkit.machine.ssh import Destination
from labkit.measure.gate import Gate
from labkit.measure.noise import ONE_MACHINE, CpuTicks, NoiseReading, gates, of_machines
from labkit.record.codec import encode
from labkit.record.readings import as_json, from_json
from labkit.record.run import Run
from labkit.results.answer import answer
from labkit.results.compare import compare
from labkit.results.reference_claims import reference_claims
from labkit.results.report import html, notices
from labkit.session.destinations import destination, of_variables

GOOD = """\
description: two hosts
backends: [kernel, af_xdp]
hosts: {tester: here, dut: alpha}
cores: {tester: 1, dut: 1}
links:
  - name: a
    kind: nic
    tester: {interface: enp1s0f0, ipv4: 198.18.0.1/24}
    dut: {pci: "01:00.0", ipv4: 198.18.0.2/24}
  - name: b
    kind: nic
    tester: {mac: 52:54:00:00:00:01, ipv4: 198.18.1.1/24}
    dut: {interface: enp1s0f1, ipv4: 198.18.1.2/24}
"""


def read(old: str = "", new: str = "") -> Topology:
    assert old in GOOD
    return parse(GOOD.replace(old, new, 1) if old else GOOD, Path("lab.yml"))


def test_a_file_names_the_host_of_each_role_and_its_nics() -> None:
    lab = read()
    assert lab.hosts == {"tester": "here", "dut": "alpha"}
    assert lab.spans_hosts
    assert lab.forwards
    first, second = lab.links
    assert (first.kind, first.tester.interface, first.dut.pci) == (LinkKind.NIC, "enp1s0f0", "0000:01:00.0")
    assert (first.tester.mac, second.tester.mac) == ("", "52:54:00:00:00:01")
    assert [port.name for link in lab.links for port in (link.tester, link.dut)] == [
        *("a-tester", "a-dut", "b-tester", "b-dut")
    ]
    assert (lab.tester_core, lab.dut_core) == (1, 1)  # of two machines


def test_hosts_that_are_left_out_are_here() -> None:
    lab = read("hosts: {tester: here, dut: alpha}\ncores: {tester: 1, dut: 1}\n", "hosts: {}\n")
    assert lab.hosts == {"tester": "here", "dut": "here"}
    assert not lab.spans_hosts


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("dut: alpha}", "dut: -oProxyCommand=x}", 3, "expected the name of a host"),
        ("{tester: here, dut: alpha}", "{tester: a, dut: a}", 4, "expected two different cores, got 1"),
        ("{interface: enp1s0f0, ", "{", 8, "expected the NIC's interface, mac or pci"),
        ("interface: enp1s0f0", "interface: a/b", 8, "expected the name of an interface"),
        ('"01:00.0"', '"1:0.0"', 9, "expected a PCI address such as 0000:01:00.0"),
        ("    kind: nic", "    kind: nic\n    napi: rps", 8, "a nic link has no 'napi'"),
        ("198.18.0.1/24", "192.0.2.1/24", 8, "set aside for benchmarks"),
        ("interface: enp1s0f0,", "interface: enp1s0f0, name: x,", 8, "unknown key 'name'"),
    ],
)
def test_says_where_it_is_wrong(old: str, new: str, line: int, said: str) -> None:
    with pytest.raises(ConfigInvalid, match=rf"lab\.yml:{line}: ") as error:
        read(old, new)
    assert said in str(error.value)


def test_addresses_of_ones_own_are_for_hardware() -> None:
    text = GOOD.replace("198.18.0.", "192.0.2.")
    assert str(parse(f"tier: hardware\n{text}", Path("lab.yml")).links[0].dut.ipv4) == "192.0.2.2/24"
    with pytest.raises(ConfigInvalid, match="set aside for benchmarks"):
        parse(f"tier: vm\n{text}", Path("lab.yml"))


def test_a_lab_that_labkit_makes_itself_is_here() -> None:
    veth = "{name: t0, mac: 02:00:00:00:00:01, ipv4: 198.18.0.1/24}"
    text = (
        f"description: x\nbackends: [kernel]\nhosts: {{dut: alpha}}\nlinks:\n  - name: a\n    kind: veth\n"
        f"    tester: {veth}\n    dut: {{name: d0, mac: 02:00:00:00:00:02, ipv4: 198.18.0.2/24}}\n"
    )
    with pytest.raises(ConfigInvalid, match=r"lab\.yml:3: hosts: .*veth is on this machine alone"):
        parse(text, Path("lab.yml"))


def test_how_a_host_is_reached() -> None:
    assert destination("here", ()) is None
    alias = destination("alpha", ())
    assert alias is not None
    assert (alias.address, alias.options, alias.labkit) == ("alpha", (), ("labkit",))
    found = of_variables(
        "alpha",
        {
            "ansible_host": "192.0.2.7",
            "ansible_port": 2222,
            "ansible_user": "lab",
            "ansible_ssh_private_key_file": "/keys/a b",
            "ansible_host_key_checking": False,
            "ansible_ssh_common_args": "-o ProxyCommand='ssh -W %h:%p jump'",
        },
        labkit="/opt/labkit/bin/labkit",
    )
    assert found.address == "192.0.2.7"
    assert list(zip(found.options[::2], found.options[1::2], strict=True)) == [
        ("-o", "Port=2222"),
        ("-o", "User=lab"),
        ("-o", "IdentityFile=/keys/a b"),
        ("-o", "StrictHostKeyChecking=no"),
        ("-o", "ProxyCommand=ssh -W %h:%p jump"),
    ]
    assert found.labkit == ("/opt/labkit/bin/labkit",)


def test_a_command_there_is_one_word_for_the_shell_and_goes_through_sudo_unless_one_is_root() -> None:
    root = SshHost(name="alpha", ssh=("ssh", "alpha"), root=True)
    user = SshHost(name="alpha", ssh=("ssh", "alpha"), root=False)
    assert root.argv(["/a b", "$x"])[-1] == "exec setpriv --pdeathsig KILL -- '/a b' '$x'"
    assert user.argv(["x"], cleans_up=True)[-1] == "exec sudo -n -- x"
    assert "connection to alpha was lost" in root.ended(SSH_FAILED)
    assert root.ended(3) == "ended with exit code 3"


def test_the_only_role_on_a_machine_takes_an_isolated_core_and_leaves_the_rest() -> None:
    assert cores.choose_one(None, range(4), apart=()) == (3, (0, 1, 2))
    assert cores.choose_one(None, range(4), apart=(1, 2)) == (2, (0, 3))
    assert cores.choose_one(1, range(4), apart=(1, 2)) == (1, (0, 3))
    assert cores.choose_one(None, (0,), apart=()) == (0, (0,))
    with pytest.raises(ConfigInvalid, match="core 7 is not available"):
        cores.choose_one(7, range(4), apart=())


def gate(state: str) -> Gate:
    return Gate(name="steal", state=state, value=state, limit="", why="")


def test_the_worst_machine_decides_and_each_is_named() -> None:
    found = of_machines({"here": gate("ok"), "alpha": gate("invalid"), "beta": gate("warn")})
    assert (found.state, found.value) == ("invalid", "here: ok; alpha: invalid; beta: warn")
    assert of_machines({ONE_MACHINE: gate("warn")}) == gate("warn")


def test_each_machine_is_judged_by_its_own_readings() -> None:
    """Core 1 of both: one is undisturbed, the other loses half of its time to a hypervisor."""

    def reading(role: str, steal: int, total: int) -> NoiseReading:
        return NoiseReading(
            cpus={1: CpuTicks(steal=steal, total=total)}, clocksource="tsc", allowed_cores={role: (1,)}
        )

    def judged(steal: int) -> dict[str, Gate]:
        found = gates(
            before={"here": reading("tester", 0, 100), "alpha": reading("dut", 0, 100)},
            after={"here": reading("tester", 0, 300), "alpha": reading("dut", steal, 300)},
            intended_cores={"here": {"tester": 1}, "alpha": {"dut": 1}},
            deciding=(),
            proven=True,
            claim="x",
        )
        return {one.name: one for one in found}

    assert {name for name, one in judged(0).items() if one.state == "invalid"} == set()
    assert judged(0)["affinity"].value == "here: tester on 1; alpha: dut on 1"
    stolen = judged(100)["steal"]
    assert (stolen.state, stolen.value) == ("invalid", "here: 0.00% on CPU 1; alpha: 50.00% on CPU 1")


def test_a_reading_is_the_same_after_its_way_over_the_wire() -> None:
    reading = NoiseReading(
        cpus={3: CpuTicks(steal=1, total=9, user=2)},
        clocksource="tsc",
        allowed_cores={"dut": (3,)},
        own_user={3: 7},
    )
    assert from_json(as_json(reading)) == reading


def test_a_nics_mtu_leaves_ipv6_its_addresses() -> None:
    assert read("    kind: nic", "    kind: nic\n    mtu: 1280 B").links[0].mtu_bytes == 1280
    with pytest.raises(ConfigInvalid, match="expected an MTU from 1280 B"):
        read("    kind: nic", "    kind: nic\n    mtu: 1000 B")


def test_the_kernel_answers_on_one_nic_and_forwards_between_two() -> None:
    reflecting = parse(GOOD[: GOOD.index("  - name: b")], Path("lab.yml"))
    echo, *over_tcp = kernel.BACKEND.modes(reflecting)
    (forwarding,) = kernel.BACKEND.modes(read())
    assert "UDP echo" in echo.description
    assert [(mode.name, mode.tcp) for mode in over_tcp] == [
        ("tcp", "echo"),
        ("tcp_stream", "sink"),
        ("tcp_busy_poll", "echo"),
    ]
    assert "forwarding" in forwarding.description


def test_a_destination_that_cannot_be_reached_is_checked_by_a_command_that_can_be_pasted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A proxy command has blanks."""
    monkeypatch.setattr(ssh.subprocess, "Popen", Refused)
    to = Destination(name="a", address="a", options=("-o", "ProxyCommand=nc -x p %h %p"))
    with pytest.raises(EnvironmentBroken, match="a cannot be reached: refused") as error, ssh.connected(to):
        pass
    assert error.value.hint == "check it by: ssh -o 'ProxyCommand=nc -x p %h %p' a true"


class Refused:
    """An ssh that ends at once."""

    returncode = 255

    def __init__(self, *_: object, **__: object) -> None:
        self.stderr = io.StringIO("refused\n")

    def poll(self) -> int:
        return self.returncode

    def kill(self) -> None:
        """It has ended."""

    def wait(self) -> int:
        return self.returncode


def with_other(run: Run, **facts: object) -> Run:
    """The run with another machine, alpha, which is as the first one but for these facts."""
    assert run.environment is not None
    alpha = {**encode(run.environment), **facts}
    return replace(run, environment=replace(run.environment, hosts={"alpha": alpha}))


def test_the_report_says_whose_facts_are_at_the_top_and_which_machine_is_virtual() -> None:
    run = with_other(sample_run(), virtualisation={"guest": True, "hypervisor": "kvm", "container": None})
    assert "alpha took part, too" in dict(notices(run))["Several machines"]
    assert "Several machines" not in dict(notices(sample_run()))
    assert "alpha: a virtual machine" in answer(run).trust
    assert "alpha.kernel.release" in html(run)


def test_a_claim_about_a_kernel_is_not_made_of_the_controllers_where_the_dut_is_elsewhere() -> None:
    own = next(c for c in reference_claims(sample_run()) if "low-latency" in c.statement).measured
    other = next(
        c for c in reference_claims(with_other(sample_run())) if "low-latency" in c.statement
    ).measured
    assert "kernel unknown" not in own
    assert "kernel unknown" in other


def test_runs_with_the_dut_on_two_different_machines_are_not_compared() -> None:
    one, two = (with_other(sample_run(), host=one) for one in ("aa", "bb"))
    compare(one, one)
    with pytest.raises(ConfigInvalid, match=r"of two hosts: alpha: machine id \(hashed\): aa and bb"):
        compare(one, two)
