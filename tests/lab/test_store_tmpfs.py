"""A disk that is really full: a tmpfs of a few pages in a mount namespace of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.beside,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounts a tmpfs: needs root; run with sudo"),
]

PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from sample_run import sample_run
from labkit.errors import EnvironmentBroken
from labkit.record.store import RunStore, load
run = sample_run()
added = 0
try:
    with RunStore.create(Path(sys.argv[1]), command=["labkit"], quick=True, seed=1) as store:
        while True:
            store.add_measurement(run.measurements[added % len(run.measurements)])
            added += 1
except EnvironmentBroken as e:
    print(e)
    back = load(store.folder)
    assert "No space left on device" in str(e), e
    assert "kept too" in str(e), e
    assert len(back.measurements) == added + 1, (len(back.measurements), added)
    assert back.state == "interrupted"
    # What fits is put in place whole, what doesn't is not there at all.
    assert not [p for p in store.folder.iterdir() if p.name not in ("records.jsonl", "results.json")]
    assert added > 5
    print("kept", added + 1)
"""


@pytest.mark.parametrize("size_kib", [4200, 5000, 8000])
def test_a_full_file_system_loses_no_finished_result(tmp_path, size_kib):
    unit = Path(__file__).parents[1] / "unit"
    script = f'mount -t tmpfs -o size={size_kib}k none "$1" && exec "$2" -c "$3" "$1" "$4"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", str(tmp_path), sys.executable, PROGRAM, str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "kept" in done.stdout
    assert not list(tmp_path.iterdir())
