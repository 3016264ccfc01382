"""The way to a host, as Ansible would take it: address, port, user, key and SSH options of the inventory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

from labkit.doctor.host.ansible_modules import ansible_module
from labkit.doctor.host.desired import Desired, Source, work_out
from labkit.doctor.host.reader import HostReader, RemoteHost
from labkit.machine import scratch

_SSH = (
    "-o BatchMode=yes -o ControlMaster=auto -o ControlPersist=60s -o ControlPath={path} -o ConnectTimeout=60"
)
"""One connection for all commands: on an emulated guest each new one costs seconds."""

_FACTS = {"cpu_isolation_present": "/sys/devices/system/cpu/present"}
"""Variable to the file that a role reads it from."""


@contextmanager
def opened(source: Source) -> Iterator[tuple[HostReader, Desired]]:
    """The host and its desired state. Raises ConfigInvalid for a mistake in that, before the host is reached."""
    with with_facts(source, work_out(source)) as (host, desired):
        yield HostReader(host, name=desired.host), desired


@contextmanager
def with_facts(source: Source, desired: Desired) -> Iterator[tuple[RemoteHost, Desired]]:
    """The host and its desired state. Values that depend on the host are worked out after facts were read from it."""
    with reached(desired) as host:
        reader = HostReader(host, name=desired.host)
        # Facts from single files first; Ansible's own take longer and come last.
        gathered = cache(lambda: work_out(source, facts=facts(reader), gather=True))
        asked = cache(lambda: replace(work_out(source, facts=facts(reader)), more=gathered))
        yield host, replace(desired, more=asked)


def facts(reader: HostReader) -> dict[str, str]:
    """Variables that roles read from the host."""
    files = reader.look(files=tuple(_FACTS.values())).files
    return {name: files[path] for name, path in _FACTS.items() if path in files}


@contextmanager
def reached(desired: Desired) -> Iterator[RemoteHost]:
    """The host. Its SSH connection ends with the context."""
    testinfra = ansible_module("testinfra")
    with scratch.folder("ssh") as folder:
        socket = folder / "ssh"
        variables = dict(desired.connection)
        extra = str(variables.get("ansible_ssh_extra_args") or "")
        if not variables.pop("ansible_host_key_checking", True):
            extra += " -o StrictHostKeyChecking=no"
        variables["ansible_ssh_extra_args"] = f"{extra} {_SSH.format(path=socket)}".strip()
        # What Ansible worked out, for testinfra's own reading of inventories does not know Jinja.
        inventory = folder / "inventory.json"
        inventory.write_text(json.dumps({"all": {"hosts": {desired.host: variables}}}))
        with _programs_beside_python():
            host = testinfra.get_host(f"ansible://{desired.host}", ansible_inventory=str(inventory))
            try:
                yield host
            finally:
                if socket.exists():
                    subprocess.run(
                        ["ssh", "-o", f"ControlPath={socket}", "-O", "exit", desired.host],
                        capture_output=True,
                        check=False,
                        timeout=30,
                    )


@contextmanager
def _programs_beside_python() -> Iterator[None]:
    """For testinfra, which calls `ansible-inventory` by its name alone. It may not be on PATH."""
    before = os.environ.get("PATH", "")
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{before}"
    try:
        yield
    finally:
        os.environ["PATH"] = before
