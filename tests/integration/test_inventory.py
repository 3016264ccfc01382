"""Inventories, as Ansible itself reads them for labkit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

READ = """
import sys
from labkit.doctor.host.desired import hosts, of_inventory, work_out

print(hosts(sys.argv[1]))
print(work_out(of_inventory("alpha", sys.argv[1])).connection["ansible_host"])
"""


def test_an_inventory_is_read_also_where_the_standard_input_does_not_block(tmp_path: Path) -> None:
    """As a process of pytest-xdist has it."""
    inventory = tmp_path / "hosts.yml"
    inventory.write_text("all: {hosts: {alpha: {ansible_host: 192.0.2.1}}}\n")
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    done = subprocess.run(
        [sys.executable, "-c", READ, str(inventory)],
        stdin=reading,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    os.close(reading)
    os.close(writing)
    assert done.stdout.splitlines() == ["['alpha']", "192.0.2.1"], done.stderr
