"""A host to change: a network namespace with its own /sys and its own notes, in which Ansible's modules run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

ANSIBLE = Path(__file__).parents[2] / "ansible"
DEADLINE_S = 30.0


class Host:
    """A network namespace; every call is a new process in it, as on a host."""

    def __init__(self, folder: Path, *own: str) -> None:
        """`own` are folders that are empty for it, and are written to in `folder`."""
        self.folder = folder
        self.lib = folder / "lib"
        self.lib.mkdir()
        binds = [f"mount --bind {self.lib} /var/lib/labkit"]
        for number, target in enumerate(own):
            (folder / f"own{number}").mkdir()
            binds.append(f"mkdir -p {target}; mount --bind {folder}/own{number} {target}")
        inside = "; ".join([*binds, "mount -t sysfs sysfs /sys", "exec sleep 300"])
        Path("/var/lib/labkit").mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(["unshare", "--net", "--mount", "sh", "-ec", inside])
        self._wait_for_namespace()

    def _wait_for_namespace(self) -> None:
        """The shell becomes sleep when all is mounted."""
        deadline = time.monotonic() + DEADLINE_S
        while Path(f"/proc/{self.process.pid}/comm").read_text() != "sleep\n":
            assert self.process.poll() is None, "the namespace could not be made"
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def end(self) -> None:
        """The namespace goes with its process."""
        self.process.kill()
        self.process.wait()

    def run(self, script: str, check: bool = True) -> str:
        """What shell lines print."""
        enter = ["nsenter", "--target", str(self.process.pid), "--net", "--mount"]
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ANSIBLE / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1",
            "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.minimal",
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
            "LC_ALL": "C.UTF-8",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        done = subprocess.run(
            [*enter, "sh", "-ec", script],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env=environment,
            cwd="/",
        )
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done.stdout

    def module(self, module: str, /, *more: str, **arguments: object) -> dict[str, object]:
        """What one module of labkit.host says."""
        output = self.run(
            f"ansible localhost -m labkit.host.{module} -a '{json.dumps(arguments)}' {' '.join(more)}",
            check=False,
        )
        return json.loads(output.partition("=> ")[2])

    def play(self, roles: list[str], variables: dict[str, object], *more: str, revert: bool = False) -> str:
        """What ansible-playbook prints of these roles, or of their reverts."""
        tasks = [
            {
                "name": role,
                "ansible.builtin.import_role": {"name": role, **({"tasks_from": "revert"} if revert else {})},
            }
            for role in roles
        ]
        book = [{"hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": tasks}]
        return self.book(book, *more)

    def book(self, book: list[dict[str, object]], *more: str) -> str:
        """What ansible-playbook prints of a playbook."""
        file = self.folder / "play.json"
        file.write_text(json.dumps(book))
        return self.run(
            f"ANSIBLE_STDOUT_CALLBACK=default ansible-playbook -i {ANSIBLE}/inventory/local.yml "
            f"-e ansible_python_interpreter={sys.executable} {file} {' '.join(more)}",
            check=False,
        )

    def notes(self, role: str) -> list[dict[str, object]]:
        """What is written down of a role's changes."""
        file = self.lib / f"state/{role}.json"
        return json.loads(file.read_text())["changes"] if file.exists() else []
