"""Attempts at the probe: each of its programs opens a port on the scratch pair and reports its version."""

from __future__ import annotations

import json
import os
import subprocess

from labkit.doctor.model import Unavailable
from labkit.doctor.scratch import AS_ROOT, FAR, NEAR
from labkit.doctor.sockets import mtu_too_large
from labkit.doctor.syscalls import attach_native, load_xdp_pass
from labkit.errors import EnvironmentBroken, LabkitError

_DEADLINE_S = 10.0

_OPEN: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "socket": ({"bind": "127.0.0.1", "port": 7}, {}),
    "af_packet": ({"interface": FAR}, {}),
    "af_xdp": ({"interface": FAR, "queue": 0}, {"bind": "copy", "attach": "native"}),
    "dpdk": ({"vdev": "net_memif0,role=server,socket=/run/probe.sock,socket-abstract=no"}, {"huge": False}),
    "xdp": ({"interface": NEAR}, {"attach": "native"}),
}
"""A port and options by which each engine is opened."""


def opens(engine: str) -> str:
    """Start `labkit-probe-ENGINE`, open a port, end it."""
    from labkit.probe import build

    try:
        program = build.engine_path(engine)
    except EnvironmentBroken as error:
        raise Unavailable(error.message, fix=error.hint) from None
    port, options = _OPEN[engine]
    command = {"id": 1, "cmd": "open", "core": None, "ports": [port], "options": options}
    try:
        done = subprocess.run(
            [str(program)],
            input=json.dumps(command) + "\n",
            capture_output=True,
            text=True,
            timeout=_DEADLINE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{program.name}: no answer within {_DEADLINE_S:g} s") from None
    answers = done.stdout.splitlines()
    if not answers:
        lines = done.stderr.strip().splitlines() or ["no output"]
        raise Unavailable(f"{program.name}: exit code {done.returncode}: {lines[-1]}")
    answer = json.loads(answers[0])
    if not answer["ok"] and " MTU " in answer["error"]["message"]:
        raise mtu_too_large()
    if not answer["ok"]:
        # What the system refused needs more privileges, not another build.
        refused = answer["error"]["code"] == "refused"
        raise Unavailable(f"{program.name}: {answer['error']['message']}", fix=AS_ROOT if refused else None)
    result = answer["result"]
    return f"{program.name} {result['version']} opened a port"


_FRAMES = 100
_FRAME: dict[str, object] = {
    # 60 bytes: Ethernet, IPv4 from 198.18.0.1 to 198.18.0.2 with its checksum, UDP to the discard port, signature.
    "data": "0200000000020200000000010800"
    "4500002e000000004011ee97c6120001c6120002"
    "27100009001a0000" + "00" * 18,
    "signature_offset": 42,
    "checksum_offset": -1,
}


def generates_in_kernel() -> str:
    """The engine xdp makes frames in the kernel, and a veth takes every one."""
    from labkit.machine.hosts import LocalHost
    from labkit.probe.client import Probe

    port, options = _OPEN["xdp"]
    program = load_xdp_pass()
    try:
        attached = attach_native(program, FAR)  # gives that end the NAPI that such frames need
        try:
            with Probe("xdp", LocalHost(), core=None, ports=[port], options=options, name="doctor") as probe:
                probe.command("frames", templates=[_FRAME], order=[0], flows=1, fields=[])
                trial = probe.command("generate", load_pps=None, count=_FRAMES, tag=1, **{"return": False})
        except EnvironmentBroken as error:
            raise Unavailable(error.message, fix=error.hint) from None
        except LabkitError as error:
            raise Unavailable(error.message) from None
        finally:
            os.close(attached)
    finally:
        os.close(program)
    if trial["sent"] != _FRAMES:
        raise Unavailable(f"a veth took {trial['sent']} of {_FRAMES} frames that were made in the kernel")
    return f"a veth took {_FRAMES} frames made by a BPF program (live-frames mode)"
