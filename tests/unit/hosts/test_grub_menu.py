"""GRUB's menu is read as GRUB reads it, from recorded files.

Debian 12's is of a guest with both its kernels; those of Debian 13 (with a /boot of its own) and Ubuntu 24.04 were made
by the scripts of GRUB 2.12 with these distributions' settings.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.labkit.host.plugins.module_utils.grub_menu import read

DATA = Path(__file__).parent / "data"
DEBIAN_12 = "bcc2f932-348a-4a34-a09a-5ff8b0bfc620"
OTHER = "0f1e2d3c-4b5a-4978-8796-a5b4c3d2e1f0"
RECORDED = {
    "debian12": (DEBIAN_12, "6.1.0-56-amd64", "6.1.0-56-rt-amd64"),
    "debian13": (OTHER, "6.12.94+deb13-amd64", "6.12.94+deb13-rt-amd64"),
    "ubuntu2404": (OTHER, "6.8.0-45-generic", "6.8.0-45-lowlatency"),
}


def menu(name, default="0"):
    text = (DATA / f"grub-{name}.cfg").read_text()
    assert 'set default="0"' in text
    return read(text.replace('set default="0"', f'set default="{default}"'))


@pytest.mark.parametrize("name", RECORDED)
def test_kernel_is_found_in_the_submenu_by_its_ids(name):
    device, *releases = RECORDED[name]

    for release in releases:
        entry = menu(name).of_release(release)
        assert entry.path == f"gnulinux-advanced-{device}>gnulinux-{release}-advanced-{device}"
        assert entry.release == release
        assert entry.initrd.endswith(f"/initrd.img-{release}")
    assert menu(name).of_release("5.10.0-1-amd64") is None


@pytest.mark.parametrize("name", RECORDED)
def test_newest_kernel_is_the_default_until_it_is_pinned(name):
    """What makes the pin needed: GRUB_DEFAULT=0 is whichever kernel was installed last."""
    _, stock, new = RECORDED[name]

    assert menu(name).chosen({}).release == new
    assert menu(name, default=menu(name).of_release(stock).path).chosen({}).release == stock


@pytest.mark.parametrize("name", RECORDED)
def test_recovery_entry_is_never_taken_for_the_kernel(name):
    for entry in menu(name).walk():
        if "-recovery-" in entry.id:
            assert menu(name).of_release(entry.release) is not entry
            assert "single" in entry.arguments


def test_entry_of_another_init_is_never_taken_for_the_kernel():
    """As 10_linux adds them where two are installed, and here in front."""
    text = (DATA / "grub-debian12.cfg").read_text()
    one = "\tmenuentry 'Debian GNU/Linux, with Linux 6.1.0-56-amd64'"
    other = (
        "\tmenuentry 'Debian GNU/Linux, with Linux 6.1.0-56-amd64 (sysvinit)' $menuentry_id_option "
        "'gnulinux-6.1.0-56-amd64-init-sysvinit-1' {\n"
        "\t\tlinux /boot/vmlinuz-6.1.0-56-amd64 root=/dev/vda1 ro quiet init=/lib/sysvinit/init\n\t}\n"
    )
    assert one in text

    assert "init=" not in read(text.replace(one, other + one)).of_release("6.1.0-56-amd64").linux


@pytest.mark.parametrize(
    ("default", "release"),
    [
        ("1>2", "6.1.0-56-amd64"),
        (
            "Advanced options for Debian GNU/Linux>Debian GNU/Linux, with Linux 6.1.0-56-amd64",
            "6.1.0-56-amd64",
        ),
        (f"gnulinux-advanced-{DEBIAN_12}", "6.1.0-56-rt-amd64"),
        ("of-no-entry", "6.1.0-56-rt-amd64"),
        ("7", "6.1.0-56-rt-amd64"),
        (f"1>gnulinux-6.1.0-56-amd64-recovery-{DEBIAN_12}", "6.1.0-56-amd64"),
    ],
)
def test_default_is_found_as_grub_finds_it(default, release):
    assert menu("debian12", default).chosen({}).release == release


def test_saved_default_is_that_of_the_environment():
    saved = menu("debian12", "${saved_entry}")

    assert saved.chosen({"saved_entry": "1>2"}).release == "6.1.0-56-amd64"
    assert saved.chosen({}).release == "6.1.0-56-rt-amd64"


def test_words_that_grub_fills_in_are_no_arguments():
    entry = menu("ubuntu2404").of_release("6.8.0-45-generic")

    assert entry.linux.endswith("ro  quiet splash $vt_handoff")
    assert entry.arguments == [f"root=UUID={OTHER}", "ro", "quiet", "splash"]


def test_preparation_finds_the_disk_and_loads_nothing():
    lines = menu("ubuntu2404").of_release("6.8.0-45-generic").preparation

    assert f"\t\tsearch --no-floppy --fs-uuid --set=root {OTHER}" in lines
    assert not [line for line in lines if line.strip().startswith(("linux", "initrd", "echo"))]


@pytest.mark.parametrize("name", RECORDED)
def test_one_shot_and_custom_entries_are_seen(name):
    text = (DATA / f"grub-{name}.cfg").read_text()

    assert (menu(name).one_shot, menu(name).reads_custom) == (True, True)
    assert not read(text.replace("next_entry", "other")).one_shot
    assert not read(text.replace("custom.cfg", "other.cfg")).reads_custom


def test_entries_of_a_persons_hand_are_read():
    found = read(
        """
function beep { play 480 440 1 }
function load {
  insmod gzio
}
menuentry "It's mine" { chainloader +1 }
menuentry "mine > yours" {
  linux /vmlinuz-6.1 root=/dev/sda1 ro
}
menuentry 'signed' --id signed {
  linux /boot/vmlinuz-6.2.efi.signed root=/dev/sda1 ro
}
"""
    )

    assert [entry.title for entry in found.entries] == ["It's mine", "mine > yours", "signed"]
    assert [entry.path for entry in found.entries] == ["", "", "signed"]  # what cannot be named is not pinned
    assert found.of_release("6.1") is None
    assert found.of_release("6.2").path == "signed"
