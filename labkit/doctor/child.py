"""The child of `scratch`: makes its own /sys, /run and veth pair, runs the checks, answers each at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TextIO

from labkit.doctor.catalog import CHECKS
from labkit.doctor.model import Unavailable
from labkit.doctor.scratch import FAR, NEAR
from labkit.machine.netlink import NetlinkError, rtnetlink


def _prepare(mtu_bytes: int) -> None:
    """Make the child's own /sys and /run and the veth pair. Raises OSError or pyroute2's NetlinkError."""
    # As in a lab's own namespaces, /run is needed. The others can't be mounted everywhere: a container without root
    # that has parts of /sys masked gets no other one, and not every container has a /dev/shm to hide.
    mounts = (("tmpfs", "/run", True), ("sysfs", "/sys", False), ("tmpfs", "/dev/shm", False))  # noqa: S108
    for kind, where, needed in mounts:
        subprocess.run(["mount", "-t", kind, kind, where], check=needed, capture_output=True, text=True)
    with rtnetlink() as route:
        route.link("add", ifname=NEAR, kind="veth", mtu=mtu_bytes, peer={"ifname": FAR, "mtu": mtu_bytes})
        for name in ("lo", NEAR, FAR):
            route.link("set", index=route.link_lookup(ifname=name)[0], state="up")


def _answer(stream: TextIO, **fields: str | bool | None) -> None:
    stream.write(json.dumps(fields) + "\n")
    stream.flush()


def main(mtu_bytes: int, ids: list[str]) -> int:
    """The child: prepare, then try each check and answer at once."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print on stdout as they like
    broken: str | None = None
    try:
        _prepare(mtu_bytes)
    except subprocess.CalledProcessError as error:
        broken = f"no scratch namespace: {error.stderr.strip()}"
    except (OSError, NetlinkError) as error:
        broken = f"no scratch namespace: veth pair: {error}"
    by_id = {check.id: check for check in CHECKS}
    for name in ids:
        _answer(answers, id=name)
        detail, message, fix = "", broken, None
        if broken is None:
            try:
                detail = by_id[name].attempt()
            except Unavailable as error:
                message, fix = str(error), error.fix
            except OSError as error:
                message = error.strerror or str(error)
        _answer(answers, id=name, detail=detail, error=message, fix=fix, unprepared=broken is not None)
    os._exit(0)  # the EAL leaves threads behind


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
