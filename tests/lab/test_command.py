"""Programs of the user's own as the DUT: they run, are proven, are named where they fail, and leave nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from tests.lab.ssh_host import TwoHosts
from tests.lab.two_hosts import NEEDS_SSH_SERVER, eventually

pytestmark = pytest.mark.beside
EXAMPLES = Path(__file__).parents[2] / "examples"
LINK = """
  - name: veth{0}
    kind: veth
    mtu: 1500 B
    tester: {{name: tester{0}, mac: "02:00:00:00:{0}0:01", ipv4: 198.18.{0}.1/24, ipv6: "2001:2:0:{0}::1/64"}}
    dut: {{name: dut{0}, mac: "02:00:00:00:{0}0:02", ipv4: 198.18.{0}.2/24, ipv6: "2001:2:0:{0}::2/64"}}
"""
ECHO = str(EXAMPLES / "echo_udp.py")
WRONG = """
import os, socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((os.environ["LABKIT_ADDRESS"], int(os.environ["LABKIT_PORT"])))
while True:
    data, sender = server.recvfrom(2048)
    server.sendto({answer}, sender)
"""
BRIDGE = """
import os, socket
ends = []
for name in ("LABKIT_INTERFACE", "LABKIT_INTERFACE_2"):
    if os.environ[name]:
        one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        one.bind((os.environ[name], 0))
        ends.append(one)
while True:
    data, sender = ends[0].recvfrom(2048)
    if sender[2] != socket.PACKET_OUTGOING:
        ends[-1].send(data[6:12] + data[0:6] + data[12:] if len(ends) == 1 else data)
"""


def write(folder: Path, commands: dict[str, Any], *, links: int = 1) -> Path:
    path = folder / "own.yml"
    head = f"description: x\nbackends: [kernel, command]\ncommands: {json.dumps(commands)}\nlinks:"
    path.write_text(head + "".join(LINK.format(number) for number in range(links)))
    return path


def script(folder: Path, text: str, name: str = "program.py") -> list[str]:
    (folder / name).write_text(textwrap.dedent(text))
    return [sys.executable, str(folder / name)]


def trial(path: Path, *more: str, load: str = "1 kpps") -> subprocess.CompletedProcess[str]:
    words = ["trial", "--backend", "command", "--topology", str(path), "--load", load, "--duration", "300 ms"]
    return subprocess.run(
        [sys.executable, "-m", "labkit.cli", *words, *more],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def left(words: str) -> str:
    return subprocess.run(["pgrep", "-af", words], capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize("more", [(), ("--ipv6", "--frame", "84")])
def test_the_example_in_python_answers_and_is_proven(tmp_path: Path, more: tuple[str, ...]) -> None:
    path = write(tmp_path, {"echo": {"argv": [sys.executable, ECHO]}})

    done = trial(path, "--json", *more)

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["trial"]["received"] == found["trial"]["sent"] == 300
    assert found["proof"]["proven"], found["proof"]
    assert found["proof"]["evidence"]["in_datagrams"] >= 300
    assert not left(ECHO)


def test_the_example_in_c_answers(tmp_path: Path) -> None:
    program = tmp_path / "echo_udp"
    subprocess.run(
        ["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, EXAMPLES / "echo_udp.c"], check=True
    )
    argv = ["./echo_udp", "$LABKIT_ADDRESS", "$LABKIT_PORT"]

    done = trial(write(tmp_path, {"c": {"argv": argv, "ready": {"prints": "ready"}}}), "--json")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["trial"]["received"] == 300


@pytest.mark.parametrize("links", [1, 2])
def test_a_program_that_moves_frames_is_proven_by_its_packet_socket(tmp_path: Path, links: int) -> None:
    argv = script(tmp_path, BRIDGE)

    done = trial(write(tmp_path, {"bridge": {"argv": argv, "answers": "frames"}}, links=links), "--json")

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["trial"]["received"] == 300
    assert found["proof"]["proven"]
    assert f"{links} packet sockets" in found["proof"]["claim"]


@pytest.mark.parametrize(
    ("text", "more", "expected"),
    [
        (
            "import sys; print('no licence'); sys.exit(3)",
            {},
            "ended with exit code 3; it printed: no licence",
        ),
        ("import os; os.kill(os.getpid(), 9)", {}, "was killed by SIGKILL"),
        (
            "print('hm', flush=True)\nwhile 1: pass",
            {"ready": {"within": "1 s"}},
            "was not ready in 1 s; it printed: hm",
        ),
        (
            WRONG.format(answer="b'x' + data[1:]"),
            {},
            "answers wrongly: of 20 frames 0 came back as they were sent",
        ),
        (WRONG.format(answer="b''"), {}, "answers"),
        (
            WRONG.replace("server.sendto({answer}, sender)", "pass"),
            {},
            "answers nothing: none of 20 frames came back",
        ),
    ],
)
def test_a_program_that_fails_is_named(
    tmp_path: Path, text: str, more: dict[str, Any], expected: str
) -> None:
    argv = script(tmp_path, text)

    done = trial(write(tmp_path, {"mine": {"argv": argv, **more}}))

    assert done.returncode == 4, done.stderr
    assert "the program mine on dut" in done.stderr
    assert expected in done.stderr
    assert not left(str(tmp_path / "program.py"))


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = trial(write(tmp_path, {"mine": {"argv": ["no-such-program-of-ours"]}}))

    assert done.returncode == 4
    assert "the program mine on dut ended with exit code 127" in done.stderr
    assert "no-such-program-of-ours" in done.stderr


def test_a_path_that_is_not_the_one_meant_is_not_proven(tmp_path: Path) -> None:
    argv = script(tmp_path, BRIDGE)
    refuses = ["sh", "-c", "echo pid $LABKIT_PID is not accelerated; exit 1"]
    proofs = {"udp_socket": "no UDP socket", "xdp": "XDP programs on no interface"}
    for proof, claim in proofs.items():
        own = {"argv": argv, "answers": "frames", "proof": proof, "ready": {"after": "300 ms"}}
        found = json.loads(trial(write(tmp_path, {"mine": own}), "--json").stdout)
        assert not found["proof"]["proven"]
        assert claim in found["proof"]["claim"]
    own = {"argv": argv, "answers": "frames", "proof": refuses, "ready": {"after": "300 ms"}}
    found = json.loads(trial(write(tmp_path, {"mine": own}), "--json").stdout)
    assert not found["proof"]["proven"]
    assert found["proof"]["claim"].endswith("is not accelerated")


def test_what_a_program_has_started_ends_with_a_lab_that_is_killed(tmp_path: Path) -> None:
    sign = f"sleep 98{os.getpid()}"
    path = write(tmp_path, {"mine": {"argv": ["sh", "-c", f"{sign} & {sys.executable} {ECHO}"]}})
    words = [sys.executable, "-m", "labkit.cli", "trial", "--backend", "command", "--topology", str(path)]
    with subprocess.Popen(
        [*words, "--duration", "60 s", "--load", "10 pps"], stderr=subprocess.DEVNULL
    ) as process:
        assert eventually(lambda: bool(left(sign)) and bool(left(ECHO)))
        time.sleep(0.5)
        process.kill()
    assert eventually(lambda: not left(sign) and not left(ECHO))


def test_a_run_keeps_what_programs_print_and_shows_them_beside_the_kernel(tmp_path: Path) -> None:
    shutil.copy(ECHO, tmp_path)
    path = write(tmp_path, {"echo": {"argv": [sys.executable, "./echo_udp.py"]}})
    run = ["run", "--quick", "--topology", str(path), "--results", str(tmp_path / "results"), "--retry", "0"]
    own = ["--allow-invalid", "-m", "command", "--", "-k", "throughput"]

    done = subprocess.run(
        [sys.executable, "-m", "labkit.cli", *run, *own],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )

    (folder,) = (one for one in (tmp_path / "results").iterdir() if one.is_dir() and not one.is_symlink())
    assert "ready\n" in (folder / "own-echo.log").read_text(), done.stdout[-3000:] + done.stderr[-3000:]
    rows = {
        one["key"]["backend"] for one in json.loads((folder / "results.json").read_text())["measurements"]
    }
    assert "command" in rows


def test_a_stopped_process_group_is_ended(tmp_path: Path) -> None:
    """It can't answer SIGTERM, and is killed."""
    path = write(tmp_path, {"mine": {"argv": [sys.executable, ECHO]}})
    words = [sys.executable, "-m", "labkit.cli", "trial", "--backend", "command", "--topology", str(path)]
    with subprocess.Popen(
        [*words, "--duration", "60 s", "--load", "10 pps"], stderr=subprocess.DEVNULL
    ) as process:
        assert eventually(lambda: bool(left(ECHO)))
        time.sleep(0.5)
        pid = int(left(ECHO).split()[0])
        os.kill(pid, signal.SIGSTOP)
        process.send_signal(signal.SIGINT)
    assert eventually(lambda: not left(ECHO))


@NEEDS_SSH_SERVER
def test_a_program_on_another_host_answers_and_ends_with_the_connection(two: TwoHosts) -> None:
    lab = json.loads(two.topology.read_text())
    program = {"echo": {"argv": [sys.executable, ECHO]}}
    two.topology.write_text(json.dumps({**lab, "backends": ["command"], "commands": program}))
    before = (two.here.state(), two.alpha.state())
    done = two.trial("--backend", "command", "--json", "--duration", "300 ms", "--load", "1 kpps")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["trial"]["received"] > 100
    assert found["proof"]["proven"]
    assert not two.alpha.processes()

    with subprocess.Popen(
        two.argv("trial", "--backend", "command", "--duration", "60 s", "--load", "100 pps"),
        stderr=subprocess.DEVNULL,
    ) as process:
        assert eventually(lambda: any(ECHO in line for line in two.alpha.processes().values()))
        process.kill()
    assert eventually(lambda: not two.alpha.processes())
    assert (two.here.state(), two.alpha.state()) == before


@NEEDS_SSH_SERVER
def test_a_program_on_another_host_has_an_absolute_path(two: TwoHosts) -> None:
    lab = json.loads(two.topology.read_text())
    two.topology.write_text(
        json.dumps({**lab, "backends": ["command"], "commands": {"echo": {"argv": ["./echo"]}}})
    )
    done = two.trial("--backend", "command")
    assert done.returncode == 2
    assert "expected an absolute path, got './echo': the program is on another host" in done.stderr
