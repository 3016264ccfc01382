"""Programs of the user's own as the DUT: they run, are proven, are named where they fail, and leave nothing."""

from __future__ import annotations

import json
import os
import re
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
ECHO_TCP = str(EXAMPLES / "echo_tcp.py")
WRONG_TCP = """
import os, socket, sys
server = socket.create_server((os.environ["LABKIT_ADDRESS"], int(os.environ["LABKIT_PORT"])))
while True:
    one, _ = server.accept()
    while data := one.recv(65536):
        {answer}
"""
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
    assert found["trial"]["received"] > 0.5 * found["trial"]["sent"] > 0
    assert found["proof"]["proven"], found["proof"]
    assert found["proof"]["evidence"]["in_datagrams"] >= found["trial"]["received"]
    assert found["proof"]["evidence"]["program"]["sha256"].keys() >= {ECHO}
    assert not left(ECHO)


@pytest.mark.parametrize("more", [("--flows", "3"), ("--ipv6", "--frame", "1000")])
def test_the_example_over_tcp_answers_and_is_proven(tmp_path: Path, more: tuple[str, ...]) -> None:
    path = write(tmp_path, {"echo": {"argv": [sys.executable, ECHO_TCP], "answers": "tcp"}})

    done = trial(path, "--json", *more)

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["trial"]["received"] > 0.5 * found["trial"]["sent"] > 0
    assert found["trial"]["corrupt"] == 0
    assert found["proof"]["proven"], found["proof"]
    assert found["proof"]["evidence"]["connections"] == found["trial"]["tcp"]["tester"]["connections"]
    assert found["trial"]["tcp"].keys() == {"tester"}
    assert not left(ECHO_TCP)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            "one.sendall(data.replace(bytes(9), b'x' * 9))",
            "answers wrongly: of 20 frames 0 came back as they were",
        ),
        ("pass", "answers nothing: none of 20 frames came back"),
        ("one.sendall(bytes(len(data)))", "no message begins where one must"),
        ("one.close(); break", r"connection 1 of 1 to 198\.18\.0\.2:7"),
        ("sys.exit('gone')", "ended.*gone"),
    ],
)
def test_a_program_that_answers_wrongly_over_tcp_is_named(tmp_path: Path, answer: str, words: str) -> None:
    argv = script(tmp_path, WRONG_TCP.format(answer=answer))

    done = trial(write(tmp_path, {"mine": {"argv": argv, "answers": "tcp"}}))

    assert done.returncode == 4, done.stdout + done.stderr
    assert re.search(words, done.stderr, re.DOTALL), done.stderr


def test_the_example_in_c_answers(tmp_path: Path) -> None:
    program = tmp_path / "echo_udp"
    subprocess.run(
        ["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, EXAMPLES / "echo_udp.c"], check=True
    )
    argv = ["./echo_udp", "$LABKIT_ADDRESS", "$LABKIT_PORT"]

    done = trial(write(tmp_path, {"c": {"argv": argv, "ready": {"prints": "ready"}}}), "--json")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["trial"]["received"] > 100


@pytest.mark.parametrize("links", [1, 2])
def test_a_program_that_moves_frames_is_proven_by_its_packet_socket(tmp_path: Path, links: int) -> None:
    argv = script(tmp_path, BRIDGE)

    done = trial(write(tmp_path, {"bridge": {"argv": argv, "answers": "frames"}}, links=links), "--json")

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["trial"]["received"] > 100
    assert found["proof"]["proven"]
    assert found["proof"]["evidence"]["packet_sockets"] == ["dut0", "dut1"][:links]


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
            "not ready in 1 s: it has no UDP socket at 198.18.0.2, port 7; it printed: hm",
        ),
        (
            WRONG.format(answer="b'x' + data[1:]"),
            {},
            "frames 0 came back as they were sent, and ",
        ),
        (WRONG.format(answer="b''"), {}, "answers"),
        (
            WRONG.replace("server.sendto({answer}, sender)", "pass"),
            {},
            "answers nothing: none of ",
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


@pytest.mark.parametrize(
    "answer",
    ["data[:18]", "data[:18] + b'x' * (len(data) - 18)", "data[:-1]", "data[:-1] + bytes([data[-1] ^ 1])"],
)
def test_answers_that_are_cut_short_or_changed_behind_the_signature_are_wrong(
    tmp_path: Path, answer: str
) -> None:
    argv = script(tmp_path, WRONG.format(answer=answer))

    done = trial(write(tmp_path, {"mine": {"argv": argv}}), "--frame", "512")

    assert done.returncode == 4, done.stdout
    assert re.search(r"answers wrongly: of \d+ frames 0 came back as they were sent", done.stderr), (
        done.stderr
    )


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = trial(write(tmp_path, {"mine": {"argv": ["no-such-program-of-ours"]}}))

    assert done.returncode == 4
    assert "the program mine on dut ended with exit code 127" in done.stderr
    assert "no-such-program-of-ours" in done.stderr


def test_a_socket_at_another_address_proves_nothing(tmp_path: Path) -> None:
    """A packet socket answers; the socket is at loopback, where datagrams go to and fro."""
    decoy = """
import threading
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.bind(("127.0.0.1", 7))
def talk():
    other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    while True:
        other.sendto(b"x", ("127.0.0.1", 7))
        one.sendto(b"x", one.recvfrom(9)[1])
        time.sleep(0.001)
threading.Thread(target=talk, daemon=True).start()
"""
    imports, rest = BRIDGE.strip().split("\n", 1)
    argv = script(tmp_path, f"{imports}, time\n{decoy}{rest}")
    own = {"argv": argv, "answers": "frames", "proof": "udp_socket", "ready": {"after": "300 ms"}}

    found = json.loads(trial(write(tmp_path, {"mine": own}), "--json").stdout)

    assert found["trial"]["received"] > 100
    assert not found["proof"]["proven"]
    assert "no UDP socket" in found["proof"]["claim"]


def test_a_preloaded_library_that_is_not_loaded_is_named(tmp_path: Path) -> None:
    static = tmp_path / "echo_static"
    made = subprocess.run(["cc", "-O2", "-static", "-o", static, EXAMPLES / "echo_udp.c"], check=False)
    if made.returncode:
        pytest.skip("no static C library here")
    library = tmp_path / "shim.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-o", library, "/dev/null"], check=True)
    argv = ["./echo_static", "$LABKIT_ADDRESS", "$LABKIT_PORT"]
    own = {"argv": argv, "preload": "./shim.so", "proof": "udp_socket"}

    done = trial(write(tmp_path, {"mine": own}))

    assert done.returncode == 4
    assert "shim.so is not loaded into it (preload)" in done.stderr
    own["argv"] = [sys.executable, ECHO]
    found = json.loads(trial(write(tmp_path, {"mine": own}), "--json").stdout)
    assert found["proof"]["proven"], found["proof"]
    assert found["proof"]["evidence"]["program"]["sha256"].keys() >= {str(library)}


def test_what_one_program_leaves_on_the_interfaces_is_gone_for_the_next(tmp_path: Path) -> None:
    leaves = "ip link add br0 type bridge; ip link set dut0 master br0; exec"
    commands = {
        "leaver": {"argv": ["sh", "-c", f"{leaves} {sys.executable} {ECHO}"], "ready": {"prints": "ready"}},
        "looker": {
            "argv": [sys.executable, ECHO],
            "proof": ["sh", "-c", "ip -json link show dut0 | grep -v master && echo clean"],
        },
    }
    path = write(tmp_path, commands)
    code = """
import sys
from labkit.lab.topology_file import load
from labkit.progress import Silent
from labkit.session.datapaths import enumerate_datapaths
from labkit.session.session import Session
from labkit.session.settings import Settings
from labkit.testers.frames import frame_spec
with Session(Settings(store=False), progress=Silent()) as session:
    for datapath in [d for d in enumerate_datapaths([load(sys.argv[1])]) if d.backend.name == "command"]:
        try:
            print(session.one_trial(datapath, frame_spec(64), load_pps=1000.0, duration_s=0.2)[1].claim)
        except Exception as error:
            print(error)
"""
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].endswith("clean") or '"ifname":"dut0"' in done.stdout.splitlines()[-1]
    assert "master" not in done.stdout


@pytest.mark.parametrize("how", ["timeout 98{0} {1}", "setsid {1}", "(setsid {1} &); sleep 98{0}"])
def test_what_has_left_the_process_group_ends_as_well(tmp_path: Path, how: str) -> None:
    words = how.format(os.getpid(), f"{sys.executable} {ECHO}")
    path = write(tmp_path, {"mine": {"argv": ["sh", "-c", words]}})

    done = trial(path, "--json")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["proof"]["proven"]
    assert not left(ECHO)
    assert not left(f"98{os.getpid()}")


def test_endless_output_without_a_line_is_not_kept_in_memory(tmp_path: Path) -> None:
    argv = ["bash", "-c", f"(tr '\\0' x </dev/zero) & exec {sys.executable} {ECHO}"]
    words = [sys.executable, "-m", "labkit.cli", "trial", "--backend", "command"]
    words += [
        "--topology",
        str(write(tmp_path, {"mine": {"argv": argv}})),
        "--load",
        "100 pps",
        "--duration",
        "3 s",
    ]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        most_kib = 0
        while process.poll() is None:
            status = Path(f"/proc/{process.pid}/status").read_text()
            most_kib = max(
                most_kib, *(int(line.split()[1]) for line in status.splitlines() if "VmRSS" in line), 0
            )
            time.sleep(0.1)
    assert process.returncode == 0
    assert 0 < most_kib < 400_000


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
