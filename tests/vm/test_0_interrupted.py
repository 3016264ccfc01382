"""Whatever ends the tests ends the machines that they started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.alive import runs
from tests.vm import accelerator, image, limits
from tests.vm.guest import Guest

pytestmark = pytest.mark.long


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


def processes_that_name(text: str) -> list[str]:
    """Command lines with this in them, but for our own."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in command and int(process.name) != os.getpid():
            found.append(command)
    return found


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

    assert wait_until(lambda: not runs(machine), 10), "QEMU outlived who started it"
    assert sorted(path.name for path in image.cache().rglob("*")) == before
    assert list(tmp_path.iterdir()) == []
    assert_image_is_free()


def test_ctrl_c_while_a_playbook_runs_leaves_nothing(
    stock_image: image.Image, tmp_path_factory: pytest.TempPathFactory, say
):
    """Steps: run a test of this lane as in a terminal, Ctrl-C when Ansible is at the machine. Verify: all are gone."""
    folder = tmp_path_factory.mktemp("c")  # short: sockets below it have paths of their own
    before = sorted(path.name for path in image.cache().rglob("*"))
    output = folder / "output"
    with output.open("w") as stream:
        process = subprocess.Popen(
            [
                *("env", "--default-signal=INT", sys.executable, "-m", "pytest", f"--basetemp={folder}/in"),
                *("-p", "no:cacheprovider", "-n", "2"),
                *("tests/vm/test_1_refused.py", "-k", "every_mistake"),
            ],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "TMPDIR": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        # Whichever of the two workers has it.
        logs = folder / "in"
        assert wait_until(
            lambda: any("TASK [" in log.read_text() for log in logs.glob("popen-gw*/vm0/01-site.yml.log")),
            limits.FIRST_BOOT_S,
        ), output.read_text()
        time.sleep(2)
        running = processes_that_name(f"{folder}/in")
        os.killpg(process.pid, signal.SIGINT)
        process.wait(60)
    finally:
        process.kill()

    assert any("qemu-system" in command for command in running), running
    assert any("ansible-playbook" in command for command in running), running
    say(f"{len(running)} processes were running when Ctrl-C came")
    assert wait_until(lambda: not processes_that_name(f"{folder}/in"), 20), processes_that_name(
        f"{folder}/in"
    )
    assert [path for path in folder.rglob("*") if path.is_socket()] == []
    assert sorted(path.name for path in image.cache().rglob("*")) == before
    assert "KeyboardInterrupt" in output.read_text()
    assert_image_is_free()


def test_a_machine_whose_emulator_crashed_is_switched_on_again(stock_image: image.Image, tmp_path: Path):
    """QEMU before 8.1.1 may crash when an emulated guest resets. Its port and what it has on its disk stay."""
    with Guest("crashing", stock_image, memory_mib=1024, log=tmp_path / "console") as guest:
        boot, port = guest.wait(), guest.port
        guest.run("echo kept >/root/file; sync")

        guest.crash()

        assert guest.wait(other_than=boot) != boot
        assert guest.run("cat /root/file").out == "kept\n"
        assert (guest.port, guest.crashes) == (port, 1)


def assert_image_is_free() -> None:
    """The lock went with its holder: the image is to be had at once."""
    began = time.monotonic()
    image.stock(lambda _: pytest.fail("the image was built again"))
    assert time.monotonic() - began < 5
