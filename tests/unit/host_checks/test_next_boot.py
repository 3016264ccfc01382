"""What the next boot takes, read from a host's files by GRUB's rules and the kernel's."""

from __future__ import annotations

import pytest
from cases import CASES
from fakes import desired

from labkit.doctor.host import HOST_CHECKS, Failed, Passed
from labkit.errors import ToolFailed

CHECK = {check.id: check.check for check in HOST_CHECKS}
CASE = CASES["boot.default"]
MENU = CASE.passing.commands["menu"]
DEFAULT = 'set default="gnulinux-advanced-1>gnulinux-6.1.0-56-rt-advanced-1"'
SOURCE = "if [ -f $prefix/custom.cfg ]; then\n  source $prefix/custom.cfg\nfi\n"
MINE = "menuentry 'Mine' --id mine {\n  linux /boot/vmlinuz-6.99 root=UUID=1 ro\n}\n"
POSSIBLE = {"/sys/devices/system/cpu/possible": "0-3\n"}


def default(menu, custom="", **files):
    reader = CASE.passing.but(commands={"menu": menu, "custom": custom}, files=files)
    return CHECK["boot.default"](reader, desired(**CASE.wanted))


@pytest.mark.parametrize("written", ["1> 0", "1", " 1", "1x", "0x1>0", "gnulinux-advanced-1> 0"])
def test_default_is_read_as_grub_reads_it(written):
    assert isinstance(default(MENU.replace(DEFAULT, f'set default="{written}"')), Passed)


@pytest.mark.parametrize("written", ["0", "gnulinux-simple-1", "-1", "7"])
def test_other_entry_is_reported(written):
    outcome = default(MENU.replace(DEFAULT, f'set default="{written}"'))

    assert isinstance(outcome, Failed)
    assert outcome.found == "it starts 6.1.0-44-amd64"


def test_default_in_custom_cfg_is_found():
    outcome = default(MENU.replace(DEFAULT, 'set default="mine"') + SOURCE, MINE)

    assert isinstance(outcome, Failed)
    assert outcome.found == "it starts 6.99"


def test_default_that_is_decided_at_each_boot_is_not_guessed():
    with pytest.raises(ToolFailed, match="decided at each boot"):
        default(f"{MENU}if keystatus --shift; then\n set default=0\nfi\n")


@pytest.mark.parametrize("line", ["isolcpus=domain,1-N nohz-full=1,2-N", "isolcpus=1-3 nohz_full=1-3:1/1"])
def test_lists_are_read_as_the_kernel_reads_them(line):
    reader = CASE.passing.but(files={"/proc/cmdline": f"BOOT_IMAGE=/vmlinuz {line}", **POSSIBLE})

    assert isinstance(CHECK["boot.arguments"](reader, desired(**CASE.wanted)), Passed)


def test_last_core_that_is_another_one_is_reported():
    files = {"/proc/cmdline": "isolcpus=1-N nohz_full=1-N", "/sys/devices/system/cpu/possible": "0-7\n"}

    assert isinstance(CHECK["boot.arguments"](CASE.passing.but(files=files), desired(**CASE.wanted)), Failed)


def test_what_tuned_gives_is_reported_by_its_name():
    files = {
        "/proc/cmdline": "isolcpus=2 isolcpus=1-3 nohz_full=1-3",
        "/etc/tuned/active_profile": "realtime\n",
        "/etc/tuned/bootcmdline": 'TUNED_BOOT_CMDLINE="isolcpus=2 skew_tick=1"\n',
    }

    outcome = CHECK["boot.arguments"](CASE.passing.but(files=files), desired(**CASE.wanted))

    assert isinstance(outcome, Failed)
    assert outcome.found.endswith("; tuned (profile realtime) gives isolcpus=2")
