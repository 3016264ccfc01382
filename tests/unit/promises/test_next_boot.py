"""What the next boot takes, told from a host's files by GRUB's rule and the kernel's."""

from __future__ import annotations

import pytest
from cases import CASES
from fakes import desired

from labkit.doctor.host import PROMISES, Broken, Kept
from labkit.errors import ToolFailed

CHECK = {promise.id: promise.check for promise in PROMISES}
CASE = CASES["boot.default"]
MENU = CASE.kept.commands["menu"]
DEFAULT = 'set default="gnulinux-advanced-1>gnulinux-6.1.0-56-rt-advanced-1"'
SOURCE = "if [ -f $prefix/custom.cfg ]; then\n  source $prefix/custom.cfg\nfi\n"
MINE = "menuentry 'Mine' --id mine {\n  linux /boot/vmlinuz-6.99 root=UUID=1 ro\n}\n"
POSSIBLE = {"/sys/devices/system/cpu/possible": "0-3\n"}


def default(menu, custom="", **files):
    reader = CASE.kept.but(commands={"menu": menu, "custom": custom}, files=files)
    return CHECK["boot.default"](reader, desired(**CASE.wanted))


@pytest.mark.parametrize("written", ["1> 0", "1", " 1", "1x", "0x1>0", "gnulinux-advanced-1> 0"])
def test_default_is_read_as_grub_reads_it(written):
    assert isinstance(default(MENU.replace(DEFAULT, f'set default="{written}"')), Kept)


@pytest.mark.parametrize("written", ["0", "gnulinux-simple-1", "-1", "7"])
def test_other_entry_is_told(written):
    outcome = default(MENU.replace(DEFAULT, f'set default="{written}"'))

    assert isinstance(outcome, Broken)
    assert outcome.found == "it takes 6.1.0-44-amd64"


def test_default_in_custom_cfg_is_found():
    outcome = default(MENU.replace(DEFAULT, 'set default="mine"') + SOURCE, MINE)

    assert isinstance(outcome, Broken)
    assert outcome.found == "it takes 6.99"


def test_default_that_is_decided_at_each_boot_is_not_guessed():
    with pytest.raises(ToolFailed, match="decided at each boot"):
        default(f"{MENU}if keystatus --shift; then\n set default=0\nfi\n")


@pytest.mark.parametrize("line", ["isolcpus=domain,1-N nohz-full=1,2-N", "isolcpus=1-3 nohz_full=1-3:1/1"])
def test_lists_are_read_as_the_kernel_reads_them(line):
    reader = CASE.kept.but(files={"/proc/cmdline": f"BOOT_IMAGE=/vmlinuz {line}", **POSSIBLE})

    assert isinstance(CHECK["boot.arguments"](reader, desired(**CASE.wanted)), Kept)


def test_last_core_that_is_another_one_is_told():
    files = {"/proc/cmdline": "isolcpus=1-N nohz_full=1-N", "/sys/devices/system/cpu/possible": "0-7\n"}

    assert isinstance(CHECK["boot.arguments"](CASE.kept.but(files=files), desired(**CASE.wanted)), Broken)


def test_what_tuned_gives_is_told_by_its_name():
    files = {
        "/proc/cmdline": "isolcpus=2 isolcpus=1-3 nohz_full=1-3",
        "/etc/tuned/active_profile": "realtime\n",
        "/etc/tuned/bootcmdline": 'TUNED_BOOT_CMDLINE="isolcpus=2 skew_tick=1"\n',
    }

    outcome = CHECK["boot.arguments"](CASE.kept.but(files=files), desired(**CASE.wanted))

    assert isinstance(outcome, Broken)
    assert outcome.found.endswith("; tuned (profile realtime) gives isolcpus=2")
