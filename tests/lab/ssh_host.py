"""Two hosts that are network namespaces of this machine: labkit runs in one, and reaches the other by SSH.

No port is opened: ssh's proxy command starts an SSH server for one connection, at the end of a socket pair.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from labkit.probe.cache import built_executables

_HOST = """
mount -t sysfs sysfs /sys
mount -t tmpfs -o mode=755 none /var/lib
ip link set lo up
{more}
exec sleep 900
"""
# A home of its own: nothing is made in the real one.
_HOME = """
mkdir -p /var/lib/home/upper/.ssh /var/lib/home/work
chmod 700 /var/lib/home/upper/.ssh
mount -t overlay overlay -o lowerdir=/root,upperdir=/var/lib/home/upper,workdir=/var/lib/home/work /root
"""
_ALPHA = """
install -m 600 {folder}/key.pub /root/.ssh/authorized_keys
mount -t overlay overlay -o lowerdir={folder}/bin:/usr/sbin /usr/sbin
"""
_CONTROLLER = """
install -m 600 {folder}/config /root/.ssh/config
"""
_SERVER = """
import array, socket, subprocess, sys
ours, theirs = socket.socketpair()
subprocess.Popen(sys.argv[1:], stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL, start_new_session=True)
rights = array.array("i", [ours.fileno()])
socket.socket(fileno=1).sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
"""
_RELAY = """
import os, queue, socket, subprocess, sys, threading, time
ours, theirs = socket.socketpair()
subprocess.Popen(sys.argv[2:], stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL, start_new_session=True)
theirs.close()

def pump(read, write, end):
    under_way = queue.Queue()

    def arrive():
        while True:
            due, data = under_way.get()
            time.sleep(max(due - time.monotonic(), 0))
            if not data:
                return end()
            write(data)

    thread = threading.Thread(target=arrive)
    thread.start()
    while True:
        data = read()
        under_way.put((time.monotonic() + float(sys.argv[1]), data))
        if not data:
            return thread.join()

def back(data):
    while data:
        data = data[os.write(1, data):]

there = (lambda: os.read(0, 1 << 16), ours.sendall, lambda: ours.shutdown(socket.SHUT_WR))
threading.Thread(target=pump, args=there, daemon=True).start()
pump(lambda: ours.recv(1 << 16), back, lambda: os.close(1))
"""
ROUND_TRIP_S = {"near": 0.0, "far": 0.2}
"""Names by which alpha is reached through a relay, which adds this to each round trip."""
DEADLINE_S = 30.0
# What a lab could leave behind on either side.
_STATE = (
    "ip -json address; ip -json neighbour; ip -json -details link; ethtool -k nic0; cd /proc/sys/net; "
    "grep -rs '' ipv4/ip_forward ipv4/icmp_ratelimit ipv[46]/conf/nic[01] ipv[46]/conf/all || true"
)


class Place:
    """A network namespace with its own /sys and /var/lib."""

    def __init__(self, folder: Path, more: str = "") -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            ["unshare", "--net", "--mount", "sh", "-ec", _HOST.format(more=more)], stdin=subprocess.DEVNULL
        )
        deadline = time.monotonic() + DEADLINE_S
        while Path(f"/proc/{self.process.pid}/comm").read_text() != "sleep\n":
            assert self.process.poll() is None, "the namespace could not be made"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        self.enter = ["nsenter", "--target", str(self.process.pid), "--net", "--mount"]

    def run(self, *argv: str) -> str:
        """What a command prints there."""
        return subprocess.run(
            [*self.enter, *argv], check=True, capture_output=True, text=True, timeout=120
        ).stdout

    def state(self) -> str:
        """What a lab could leave behind; counters and times left out."""
        return self.run("sh", "-c", _STATE)

    def processes(self) -> dict[int, str]:
        """By pid, the command lines of what runs there, besides what holds the namespace."""
        netns = Path(f"/proc/{self.process.pid}/ns/net").stat().st_ino
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and entry.name != str(self.process.pid):
                try:
                    inside = (entry / "ns/net").stat().st_ino == netns
                    words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                except OSError:
                    continue
                if inside and words:
                    found[int(entry.name)] = words
        return found

    def kill(self, words: str) -> bool:
        """Kill the programs there with these words in their command line; whether there was one."""
        found = [pid for pid, line in self.processes().items() if words in line]
        for pid in found:
            os.kill(pid, signal.SIGKILL)
        return bool(found)

    def end(self) -> None:
        """The namespace goes with its last process."""
        self.process.kill()
        self.process.wait()


def prepare(folder: Path) -> None:
    """Keys, the programs that ssh talks through, and labkit where a host's PATH finds it."""
    keys = (
        ["dropbearkey", "-t", "ed25519", "-f", str(folder / "server")],
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key")],
    )
    for command in keys:
        subprocess.run(command, check=True, capture_output=True)
    (folder / "server.py").write_text(_SERVER)
    (folder / "relay.py").write_text(_RELAY)
    (folder / "bin").mkdir()
    install(folder)


def install(folder: Path, before: str = "") -> None:
    """Put labkit there."""
    # Only its name is shown in a list of processes.
    # Who logs in there is root and has a cache of its own: what was built here, by sudo for its caller, is not in it.
    built = next(iter(built_executables().values()), None)
    probe = f"LABKIT_PROBE_DIR={built.parents[1]}" if built else ""
    script = (
        f'#!/bin/sh\nPATH={os.environ["PATH"]} {probe} {before} exec {sys.executable} -m labkit.cli "$@"\n'
    )
    (folder / "bin/labkit").write_text(script)
    (folder / "bin/labkit").chmod(0o755)


def host(folder: Path) -> Place:
    """A host that is reached by SSH."""
    return Place(folder, _HOME + _ALPHA.format(folder=folder))


def controller(folder: Path) -> Place:
    """A host that reaches others, as the file `config` in the folder says."""
    return Place(folder, _HOME + _CONTROLLER.format(folder=folder))


def server(place: Place) -> str:
    """The command that ssh talks through: a server there for one connection."""
    return shlex.join([sys.executable, str(place.folder / "server.py"), *_start(place)])


def _start(place: Place) -> list[str]:
    return [*place.enter, _program("dropbear"), "-i", "-s", "-r", str(place.folder / "server")]


def ssh_config(place: Place, *names: str) -> str:
    """How ssh reaches it, by each of these names."""
    return "".join(
        f"Host {name}\n User root\n IdentityFile {place.folder}/key\n StrictHostKeyChecking no\n LogLevel ERROR\n"
        f" UserKnownHostsFile /dev/null\n ProxyUseFdpass yes\n ProxyCommand {server(place)}\n"
        for name in names
    )


def cable(one: Place, other: Place) -> None:
    """A veth pair between their interfaces nic0."""
    ends = [str(place.process.pid) for place in (one, other)]
    subprocess.run(
        [
            *("ip", "link", "add", "nic0", "netns", ends[0], "type", "veth"),
            *("peer", "name", "nic0", "netns", ends[1]),
        ],
        check=True,
    )
    use("nic0", one, other)


def use(interface: str, *places: Place) -> None:
    """Have it up once on these hosts, as one that has been in use: the kernel keeps its queue discipline."""
    for place in places:
        place.run("sh", "-ec", f"ip link set {interface} up; sleep 0.1; ip link set {interface} down")


def lab_on_nics(**hosts: str) -> dict[str, Any]:
    """A lab file: these hosts (`tester` and `dut`), and a cable between their interfaces nic0."""
    ports = {
        role: {"interface": "nic0", "ipv4": f"198.18.0.{n}/24", "ipv6": f"2001:2::{n}/64"}
        for role, n in (("tester", 1), ("dut", 2))
    }
    return {
        "description": "two hosts and a cable",
        "backends": ["kernel", "af_packet", "xdp", "af_xdp"],
        "hosts": hosts,
        "links": [{"name": "cable", "kind": "nic", **ports}],
    }


class TwoHosts:
    """Labkit runs on `here` and reaches `alpha` by SSH; a veth pair is the cable between their interfaces nic0."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        prepare(folder)
        self.alpha = host(folder)
        (folder / "config").write_text(
            ssh_config(self.alpha, "alpha")
            + "".join(
                f"Host {name}\n User root\n IdentityFile {folder}/key\n StrictHostKeyChecking no\n LogLevel ERROR\n"
                f" UserKnownHostsFile /dev/null\n ProxyCommand {self.relay(trip_s / 2)}\n"
                for name, trip_s in ROUND_TRIP_S.items()
            )
        )
        self.here = controller(folder)
        cable(self.here, self.alpha)
        self.inventory = folder / "inventory.json"
        self.topology = folder / "two.yml"
        self.write_topology()

    def use(self, interface: str) -> None:
        """See `use`."""
        use(interface, self.here, self.alpha)

    def install(self, before: str = "") -> None:
        """See `install`."""
        install(self.folder, before)

    def relay(self, late_s: float) -> str:
        """The same, with a delay each way."""
        return shlex.join([sys.executable, str(self.folder / "relay.py"), str(late_s), *_start(self.alpha)])

    def write_inventory(self, **more: str) -> None:
        """The way to alpha as Ansible knows it, under another name."""
        options = ["UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "ProxyUseFdpass=yes"]
        words = ["-F", "none", *(word for option in options for word in ("-o", option))]
        variables = {
            "ansible_host": "alpha.invalid",
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self.folder / "key"),
            "ansible_host_key_checking": False,
            "ansible_ssh_common_args": shlex.join([*words, "-o", f"ProxyCommand={server(self.alpha)}"]),
            **more,
        }
        self.inventory.write_text(json.dumps({"all": {"hosts": {"beta": variables}}}))

    def write_topology(self, **hosts: str) -> None:
        """Tester here, DUT on alpha, unless it is said otherwise."""
        lab = lab_on_nics(**{"tester": "here", "dut": "alpha", **hosts})
        self.topology.write_text(json.dumps(lab, indent=1))

    def argv(self, *arguments: str) -> list[str]:
        """labkit in the controller's namespace."""
        labkit = [*self.here.enter, sys.executable, "-m", "labkit.cli"]
        return [*labkit, *arguments, "--topology", str(self.topology)]

    def trial(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`labkit trial` there."""
        return subprocess.run(
            self.argv("trial", *arguments), capture_output=True, text=True, check=False, timeout=120
        )

    def end(self) -> None:
        """Both namespaces go, and all in them."""
        self.here.end()
        self.alpha.end()


def _program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    assert found, f"{name} is not installed"
    return found


def kill(process: subprocess.Popen[str]) -> None:
    """As a crash does it."""
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
