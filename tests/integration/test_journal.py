"""The journal: what is on disk, whatever happens."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from labkit.machine.journal import Journal
from labkit.machine.process import identify


def test_two_processes_write_whole_lines(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from labkit.machine.journal import Journal\n"
        "j = Journal(Path(sys.argv[1]))\n"
        "for i in range(40): j.begin(lab=sys.argv[2], tunable={'kind': 'x'}, old='0', new=str(i))\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name]) for name in "ab"]
    assert [writer.wait(30) for writer in writers] == [0, 0]
    state = Journal(tmp_path).read()
    assert state.unreadable == ()
    assert {name: sum(e.lab == name for e in state.entries) for name in "ab"} == {"a": 40, "b": 40}


def test_a_process_is_killed_once() -> None:
    child = subprocess.Popen(["sleep", "60"])
    it = identify(child.pid)
    wrong = replace(it, start_ticks=it.start_ticks - 1)
    assert not wrong.kill()
    assert it.alive
    assert it.kill()
    assert not it.alive
    child.wait()
    assert not it.kill()
