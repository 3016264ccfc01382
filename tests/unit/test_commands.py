"""The key `commands` of a topology: programs of the user's own, and every mistake by its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from labkit.backends.command import BACKEND, argv
from labkit.errors import ConfigInvalid
from labkit.lab.commands import NAMES
from labkit.lab.topology import Topology
from labkit.lab.topology_file import parse

LINK = """
  - name: veth{0}
    kind: veth
    mtu: 1500 B
    tester: {{name: tester{0}, mac: "02:00:00:00:{0}0:01", ipv4: 198.18.{0}.1/24}}
    dut: {{name: dut{0}, mac: "02:00:00:00:{0}0:02", ipv4: 198.18.{0}.2/24}}
"""


def lab(folder: Path, commands: str, *, links: int = 1, backends: str = "[kernel, command]") -> Topology:
    text = f"description: x\nbackends: {backends}\n{commands}\nlinks:" + "".join(
        LINK.format(number) for number in range(links)
    )
    return parse(text, folder / "lab.yml")


def test_a_program_is_a_mode_of_the_backend_and_measured_in_quick_runs(tmp_path: Path) -> None:
    (tmp_path / "echo").touch()
    topology = lab(
        tmp_path, "commands:\n  fast: {argv: [./echo]}\n  moves: {argv: [bridge], answers: frames}"
    )

    fast, moves = BACKEND.modes(topology)

    assert (fast.name, moves.name) == ("fast", "moves")
    assert fast.always
    assert (fast.own_mac, moves.own_mac) == (True, False)
    assert [one.proof for one in topology.commands] == ["udp_socket", "packet_socket"]


def test_a_command_line_has_core_folder_environment_wrapper_and_variables(tmp_path: Path) -> None:
    (tmp_path / "echo").touch()
    text = (
        "commands:\n  echo:\n    argv: [./echo, $LABKIT_ADDRESS, 'p=${LABKIT_PORT}x', $HOME]\n"
        "    wrapper: [chrt, -f, '10']\n    preload: ./x.so\n    proof: udp_socket\n    environment: {A: $LABKIT_PORT}"
    )
    (tmp_path / "x.so").touch()
    (command,) = lab(tmp_path, text).commands
    values = {
        **dict.fromkeys(NAMES, ""),
        "LABKIT_ADDRESS": "198.18.0.2",
        "LABKIT_PORT": "7",
        "LABKIT_CORE": "3",
    }

    words = argv(command, values)

    assert words[:6] == ["taskset", "-c", "3", "env", "-C", str(tmp_path)]
    assert {"A=7", f"LD_PRELOAD={tmp_path / 'x.so'}", "LABKIT_PORT=7"} < set(words)
    assert words.index("10") < words.index("env", 5), "what is preloaded is for the program alone"
    assert words[-4:] == [str(tmp_path / "echo"), "198.18.0.2", "p=7x", "$HOME"]


@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        ("", "lab.yml:2: backends: the backend command needs the key commands"),
        ("commands: {}", "lab.yml:3: commands: expected a mapping of names to programs"),
        ("commands: {Echo: {argv: [echo]}}", "commands.Echo: expected a name of up to 20 of a-z, 0-9 and _"),
        ("commands: {echo: {args: [echo]}}", "commands.echo.args: unknown key 'args'"),
        (
            "commands: {echo: {argv: []}}",
            "commands.echo.argv: expected a program and its arguments, got an empty",
        ),
        ("commands: {echo: {argv: [./gone]}}", "commands.echo.argv[0]: no such file: "),
        (
            "commands: {echo: {argv: [a, $LABKIT_PROT]}}",
            "commands.echo.argv[1]: unknown variable $LABKIT_PROT",
        ),
        (
            "commands: {echo: {argv: [a], answers: tpc}}",
            "commands.echo.answers: expected one of udp, tcp, frames",
        ),
        ("commands: {echo: {argv: [a], proof: magic}}", "commands.echo.proof: expected one of udp_socket"),
        (
            "commands: {echo: {argv: [a], ready: {prints: x, after: 1 s}}}",
            "ready: expected prints or after, got both",
        ),
        (
            "commands: {echo: {argv: [a], ready: {after: 0 s}}}",
            "ready.after: expected more than 0 s and up to 600 s",
        ),
        ("commands: {echo: {argv: [a], environment: {LABKIT_PORT: '9'}}}", "labkit itself sets these"),
        ("commands: {echo: {argv: [a], environment: {LD_PRELOAD: x}}}", "has a key of its own"),
        ("commands: {echo: {argv: [a], environment: {A: $LABKIT_PROT}}}", "unknown variable $LABKIT_PROT"),
        ("commands: {echo: {argv: [a], preload: x.so, proof: xdp}}", "expected the path of one library"),
        ("commands: {echo: {argv: [a], preload: /no/x.so, proof: xdp}}", "no such file: /no/x.so"),
        ("commands: {echo: {argv: [a], preload: /etc/passwd}}", "say what proves it"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, commands: str, expected: str) -> None:
    with pytest.raises(ConfigInvalid) as raised:
        lab(tmp_path, commands)
    assert expected in raised.value.message


@pytest.mark.parametrize("answers", ["udp", "tcp"])
def test_a_program_that_answers_over_sockets_needs_one_link_with_interfaces(
    tmp_path: Path, answers: str
) -> None:
    with pytest.raises(ConfigInvalid, match=f"{answers.upper()} needs one link with interfaces"):
        lab(tmp_path, f"commands: {{echo: {{argv: [a], answers: {answers}}}}}", links=2)


def test_a_program_that_answers_tcp_is_measured_over_connections_and_proven_by_its_sockets(
    tmp_path: Path,
) -> None:
    topology = lab(tmp_path, "commands: {echo: {argv: [a], answers: tcp}, other: {argv: [a]}}")
    assert [one.proof for one in topology.commands] == ["tcp_socket", "udp_socket"]
    assert [mode.tcp for mode in BACKEND.modes(topology)] == ["echo", ""]
    assert all(mode.own_mac for mode in BACKEND.modes(topology))
    assert lab(tmp_path, "commands: {echo: {argv: [a], answers: frames}}", links=2).commands


def test_programs_that_no_backend_measures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="only the backend command measures them"):
        lab(tmp_path, "commands: {echo: {argv: [a]}}", backends="[kernel]")
