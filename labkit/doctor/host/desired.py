"""The desired state of a host: its variables in the inventory over the roles' defaults, worked out by Ansible itself.

The same variables that the roles read, with the same precedence and validated against the same specifications; there
is no second description of a host.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from labkit.doctor.host.ansible_modules import ansible_module
from labkit.errors import ConfigInvalid, ToolFailed
from labkit.machine import fix, scratch
from labkit.machine.roles import PLAYBOOK, folder
from labkit.yamlfile import parse_yaml

LOCAL_ROLES = frozenset({"labkit_host", "af_xdp", "dpdk", "hugepages"})
"""Those that apply-local runs (local.yml)."""
TIMEOUT_S = 120.0
"""For Ansible on a busy machine; it takes about a second."""


@dataclass(frozen=True, slots=True)
class Desired:
    """The variables of one host, in the types of the roles' specifications."""

    host: str
    values: Mapping[str, Any]
    unknown: Mapping[str, str]
    """Those that can't be worked out, with the reason."""
    connection: Mapping[str, Any]
    """Variables ansible_* that say how the host is reached."""
    fix_command: str
    """Command that provisions it; `{tag}` stands for the role's."""
    fix_others: str | None = None
    """The same of the roles that `fix_command` does not run; None: it runs all."""
    more: Callable[[], Desired] | None = None
    """Works it out again, with more that is read from the host first."""

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 (the type of the specification)
        """Value of a variable. Raises ConfigInvalid for one that can't be worked out."""
        if name in self.unknown and self.more is not None:
            return self.more()[name]
        if name not in self.values:
            why = self.unknown.get(name, "no role has a default for it")
            raise ConfigInvalid(f"{self.host}: {name} can't be worked out: {why}")
        return self.values[name]

    def text(self, name: str) -> str:
        """A value as text."""
        return str(self[name])

    def fix(self, role: str) -> str:
        """The command that fixes a failed check of this role."""
        others = None if role in LOCAL_ROLES else self.fix_others
        return (others or self.fix_command).replace("{tag}", role)


@dataclass(frozen=True, slots=True)
class Source:
    """Where the desired state of a host is written."""

    host: str
    name: str
    """The inventory or file, for messages."""
    options: tuple[str, ...]
    """Of ansible-playbook."""
    fix_command: str
    """See `Desired.fix_command`."""
    fix_others: str | None = None
    """See `Desired.fix_others`."""


def of_inventory(host: str, *inventories: str | Path) -> Source:
    """Ansible inventories, of which a later one overrides an earlier one. Raises ConfigInvalid where one is missing."""
    for inventory in inventories:
        # As Ansible has it, a list of hosts is written with a comma.
        if "," in str(inventory):
            continue
        try:
            there = Path(inventory).exists()
        except OSError as error:  # a folder that is closed, a name that is too long
            raise ConfigInvalid(f"{inventory}: cannot be read: {error.strerror}") from error
        if not there:
            raise ConfigInvalid(
                f"{inventory}: no such inventory", hint="give an Ansible inventory: -i INVENTORY"
            )
    program = fix.program("ansible-playbook")
    shown = " ".join(f"-i {_relative_inventory(inventory)}" for inventory in inventories)
    fix_command = f"{program} {shown} {_shown(PLAYBOOK)} --limit {host} --tags {{tag}}"
    return Source(host, " and ".join(map(str, inventories)), tuple(_options(inventories)), fix_command)


def _options(inventories: Sequence[str | Path]) -> Iterator[str]:
    for inventory in inventories:
        yield from ("-i", str(inventory))


def _relative_inventory(inventory: str | Path) -> str:
    return shlex.quote(str(inventory)) if "," in str(inventory) else _relative(Path(inventory))


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a program of Ansible's. Raises TimeoutExpired."""
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,  # one that does not block, as processes of pytest-xdist have it, is refused
        capture_output=True,
        text=True,
        env=_environment(),
        check=False,
        timeout=TIMEOUT_S,
    )


def hosts(*inventories: str) -> list[str]:
    """All hosts of inventories. Raises ConfigInvalid where there are none."""
    command = [_beside("ansible-inventory"), *_options(inventories), "--list"]
    done = _run(command)
    groups = json.loads(done.stdout) if done.returncode == 0 else {}
    found = {host for group in groups.values() for host in group.get("hosts", ())}
    if not found:
        raise ConfigInvalid(f"{' and '.join(inventories)}: no hosts in it {done.stderr.strip()}".strip())
    return sorted(found)


def of_file(host: str, file: Path) -> Source:
    """A YAML file of variables, for a host that is localhost or [USER@]ADDRESS[:PORT]. Raises ConfigInvalid."""
    try:
        root = parse_yaml(file.read_text(encoding="utf-8"), file)
    except OSError as error:
        raise ConfigInvalid(
            f"{file}: {error.strerror}", hint="give a YAML file of variables: --desired FILE"
        ) from None
    if not isinstance(root.value, dict):
        root.fail("expected a mapping of variables")
    variables = _address(host)
    name = str(variables.get("ansible_host", host))
    options = ("-i", f"{name},", "-e", json.dumps(variables), "-e", f"@{file}")
    program = fix.program("ansible-playbook")
    if host == "localhost":
        what = f"-e @{_relative(file)}"
        fix_command = f"{_shown('apply-local')} {what} --tags {{tag}}"
        others = f"{program} -i {_shown('inventory/local.yml')} {what} {_shown(PLAYBOOK)} --tags {{tag}}"
        return Source(name, str(file), options, fix_command, others)
    way = "".join(f" -e {key}={value}" for key, value in variables.items() if key != "ansible_host")
    fix_command = f"{program} -i {name},{way} -e @{_relative(file)} {_shown(PLAYBOOK)} --tags {{tag}}"
    return Source(name, str(file), options, fix_command)


def _shown(playbook: str) -> str:
    return _relative(folder() / playbook)


def _relative(path: Path) -> str:
    """Relative to the current folder, quoted for a shell."""
    return shlex.quote(os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path))


def _address(host: str) -> dict[str, object]:
    if host == "localhost":
        return {"ansible_connection": "local"}
    try:
        parts = urlsplit(f"//{host}")
        found = {"ansible_host": parts.hostname, "ansible_user": parts.username, "ansible_port": parts.port}
    except ValueError as error:
        raise ConfigInvalid(
            f"host {host!r}: {error}", hint="expected localhost or [USER@]ADDRESS[:PORT]"
        ) from None
    if not found["ansible_host"]:
        raise ConfigInvalid(
            f"host {host!r}: no address in it", hint="expected localhost or [USER@]ADDRESS[:PORT]"
        )
    return {name: value for name, value in found.items() if value is not None}


def work_out(source: Source, *, facts: Mapping[str, str] | None = None, gather: bool = False) -> Desired:
    """The desired state, with the facts that roles read from the host first, and with `gather` Ansible's own.

    Raises ConfigInvalid for mistakes in it.
    """
    ansible_module("ansible")  # its error has the command that installs it
    answer = _ask(source, facts or {}, gather)
    if answer["host"] != source.host:
        raise _no_such_host(source)
    if answer["problems"]:
        raise ConfigInvalid("\n  ".join([f"{source.name}: {source.host}", *answer["problems"]]))
    return Desired(
        source.host,
        answer["values"],
        answer["unknown"],
        answer["connection"],
        source.fix_command,
        fix_others=source.fix_others,
    )


def _ask(source: Source, facts: Mapping[str, str], gather: bool) -> dict[str, Any]:
    """What the collection's action plugin `desired` writes."""
    with scratch.folder("desired") as place:
        playbook, answer = place / "play.json", place / "answer.json"
        options = {"roles_path": str(folder() / "roles"), "answer": str(answer), "facts": dict(facts)}
        task = {"name": "Write the desired state of the host", "labkit.host.desired": options}
        # Not by gather_facts: a fact cache may be out of date.
        setup = {"name": "Gather facts", "ansible.builtin.setup": {"gather_subset": ["!all", "min"]}}
        tasks = [setup, task] if gather else [task]
        play = {"name": "Work out the desired state", "hosts": "all", "gather_facts": False, "tasks": tasks}
        playbook.write_text(json.dumps([play]))
        command = [_beside("ansible-playbook"), *source.options, "--limit", source.host, str(playbook)]
        try:
            done = _run(command)
        except subprocess.TimeoutExpired:
            raise ToolFailed(
                f"ansible-playbook did not work out {source.name} in {TIMEOUT_S:.0f} s"
            ) from None
        if done.returncode == 0 and answer.exists():
            found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
            return found
    output = f"{done.stdout}\n{done.stderr}".strip()
    if "no hosts to target" in output:
        raise _no_such_host(source)
    errors = "\n".join(re.findall(r"^.*(?:ERROR|WARNING|fatal).*(?:\n.+){0,12}", output, re.MULTILINE))
    raise ConfigInvalid(f"{source.name}: Ansible can't work it out:\n{errors or output}")


def _environment() -> dict[str, str]:
    theirs = os.environ.get(
        "ANSIBLE_COLLECTIONS_PATH", "~/.ansible/collections:/usr/share/ansible/collections"
    )
    return {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": f"{folder() / 'collections'}:{theirs}",
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1",
        "ANSIBLE_NOCOLOR": "1",
        "LC_ALL": "C.UTF-8",  # Ansible refuses one that is not UTF-8
    }


def _beside(program: str) -> str:
    """The program of the Python that runs labkit, which need not be on PATH."""
    beside = Path(sys.executable).with_name(program)
    return str(beside) if beside.exists() else program


def _no_such_host(source: Source) -> ConfigInvalid:
    return ConfigInvalid(
        f"{source.host!r} is no host of {source.name}",
        hint=f"its hosts: {fix.program('ansible-inventory')} {shlex.join(source.options)} --graph",
    )
