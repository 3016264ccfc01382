"""Whatever ends the tests ends the machines that they started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.vm import accelerator, image


def machines_below(pid: int) -> list[int]:
    """QEMUs whose parent is that process."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            status, command = (process / "status").read_text(), (process / "cmdline").read_text()
        except OSError:
            continue
        if f"\nPPid:\t{pid}\n" in status and "qemu-system" in command:
            found.append(int(process.name))
    return found


def wait_until(condition, timeout_s: float = 60) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_machine_lock_or_file_is_left(stock_image: image.Image, tmp_path: Path, how: signal.Signals):
    before = sorted(path.name for path in image.cache().rglob("*"))
    # The attempt at KVM is a QEMU as well: it's not the one that is looked for.
    decided = "kvm" if accelerator.is_kvm(stock_image.kernel) else "tcg"
    environment = {**os.environ, "TMPDIR": str(tmp_path), "LABKIT_VM_ACCEL": decided}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.vm"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert wait_until(lambda: machines_below(process.pid)), "no machine was started"
        [machine] = machines_below(process.pid)
        time.sleep(1)
        process.send_signal(how)
        process.wait(30)
    finally:
        process.kill()

    assert wait_until(lambda: not Path(f"/proc/{machine}").exists(), 10), "QEMU outlived who started it"
    assert sorted(path.name for path in image.cache().rglob("*")) == before
    assert list(tmp_path.iterdir()) == []
    # The lock went with its holder: the image is to be had at once.
    began = time.monotonic()
    image.stock(lambda _: pytest.fail("the image was built again"))
    assert time.monotonic() - began < 5
