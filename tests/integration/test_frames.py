"""Frame templates: sizes, checksums, mix; what is out of range is refused."""

from __future__ import annotations

import subprocess
import sys


def test_scapy_is_imported_only_when_frames_are_built():
    code = (
        "import sys; from labkit.testers import frames\n"
        "frames.FrameSpec(size='imix').order; sys.exit('scapy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
