"""Whether a registration is sound, by the lines of the kernel's log as they were recorded in a guest."""

from __future__ import annotations

import errno
import json
import os
import threading

import pytest
from ansible_collections.labkit.host.plugins.module_utils import onload_register
from ansible_collections.labkit.host.plugins.module_utils.onload_register import Refused, Unsound

BEGIN = ("[sfc efrm] efrm_nondl_register_device: register v0", "[sfc efrm] v0 type=4:X0 ifindex=7")
ADDED = ("[sfc efrm] v0 index=0 ifindex=7", "[onload] oo_nic_add: ifindex=7 oo_index=0")
RSS = (
    "[sfc efhw] af_xdp_rss: v0 does not support `get_rxfh_indir_size` operation",
    "[sfc efhw] af_xdp_rss: v0 does not support `get_rxfh_key_size` operation",
    "[sfc efrm] ?: ERROR: hardware init failed rc=-95",
)
GENERIC = "[sfc efhw] xdp_set_link: v0 does not support native XDP, using generic mode"
NO_HELPER = (
    "[sfc efhw] xdp_set_link: bpf_link_helper parameter is not set. Failed to link.",
    "[sfc efrm] ?: ERROR: hardware init failed rc=-1",
)
LINKED = ('Found bpf program "xdpsock" fd=4 id=7 ifindex=0', "Linking to v0")
TOO_LATE = "No onload BPF programs were found"


def judge(*lines):
    return onload_register.judge(lines, "v0", 7)


@pytest.mark.parametrize(
    "lines",
    [
        (*BEGIN, *ADDED),
        (*BEGIN, *RSS, *ADDED),
        ("XDP request 3 queues but max is 1", *BEGIN, *ADDED),
        (*BEGIN, "[sfc efhw] af_xdp_flush_rx_dma_channel: FIXME AF_XDP", *ADDED),
    ],
)
def test_registration_with_native_xdp_is_sound(lines):
    verdict = judge(*lines)

    assert verdict.sound is True
    assert not verdict.generic


def test_lines_that_the_helper_writes_at_once_are_one_record():
    assert judge(*BEGIN, GENERIC, *ADDED, "\\x0a".join(LINKED)).sound is True


def test_registration_in_generic_mode_is_sound_once_the_program_is_attached():
    waiting, done = judge(*BEGIN, GENERIC, *RSS, *ADDED), judge(*BEGIN, GENERIC, *RSS, *ADDED, *LINKED)

    assert (waiting.sound, waiting.missing) == (None, ("Linking to v0",))
    assert (done.sound, done.generic) == (True, True)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ((*BEGIN, "[sfc efrm] ?: ERROR: hardware init failed rc=-1", *ADDED), "hardware init failed rc=-1"),
        # Harmless only as the answer to the question that some drivers don't answer.
        ((*BEGIN, "[sfc efrm] ?: ERROR: hardware init failed rc=-95", *ADDED), "hardware init failed rc=-95"),
        ((*BEGIN, *RSS, "[sfc efrm] ?: ERROR: hardware init failed rc=-12", *ADDED), "rc=-12"),
        ((*BEGIN, GENERIC, *NO_HELPER, *ADDED), "no bpf-link-helper is set"),
        ((*BEGIN, GENERIC, *ADDED, TOO_LATE), "bpf-link-helper came too late"),
        (
            (*BEGIN, GENERIC, *ADDED, *LINKED, "Failed to link"),
            "the XDP program was not attached: Failed to link",
        ),
        ((*BEGIN, "Couldn't register device 'v0': -12"), "the interface was refused"),
        ((*BEGIN, *ADDED, "BUG: kernel NULL pointer dereference, address: 0"), "the kernel reported a fault"),
    ],
)
def test_registration_that_failed_is_unsound_though_the_kernel_took_it(lines, reason):
    verdict = judge(*lines)

    assert verdict.sound is False
    assert any(reason in one for one in verdict.reasons), verdict.reasons


@pytest.mark.parametrize(
    "lines",
    [
        (),
        BEGIN,
        (BEGIN[0].replace("v0", "v01"), BEGIN[1], *ADDED),
        (BEGIN[0], BEGIN[1].replace("=7", "=71"), *ADDED),
        (*BEGIN, ADDED[1].replace("ifindex=7", "ifindex=71")),
    ],
)
def test_lines_of_another_interface_or_none_decide_nothing(lines):
    assert judge(*lines).sound is None


def test_records_of_the_log_are_read_without_what_belongs_to_them():
    records = b"4,1234,5678,-;[sfc efrm] one; two\n SUBSYSTEM=net\n DEVICE=n7\n6,1235,5679,c;three\n"

    assert onload_register.messages(records) == ["[sfc efrm] one; two", "three"]
    assert onload_register.messages(b"") == []


class Kernel:
    """A root with an interface and a module that is loaded; answers a registration with lines."""

    def __init__(self, root):
        self.root = root
        for folder in ("sys/class/net/v0", "dev", "sys/module/sfc_resource/afxdp", "run/labkit-onload"):
            (root / folder).mkdir(parents=True)
        (root / "sys/class/net/v0/ifindex").write_text("7\n")
        (root / "sys/class/net/v0/flags").write_text("0x1002\n")
        (root / "dev/kmsg").write_text("".join(f"4,1,1,-;{line}\n" for line in (*BEGIN, *NO_HELPER)))
        os.mkfifo(root / onload_register.REGISTER)
        self.asked = []

    def answers(self, *lines):
        def answer():
            self.asked.append((self.root / onload_register.REGISTER).read_text())
            with (self.root / "dev/kmsg").open("a") as log:
                log.writelines(f"4,1,1,-;{line}\n" for line in lines)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        return thread


@pytest.fixture
def kernel(tmp_path):
    return Kernel(tmp_path)


def register(kernel, **more):
    return onload_register.register("v0", kernel.root, **{"log_s": 5.0, "writer_s": 0.0, **more})


def test_only_what_the_log_has_from_then_on_counts(kernel):
    kernel.answers(*BEGIN, *RSS, *ADDED)

    verdict = register(kernel)

    assert verdict.sound
    assert kernel.asked == ["v0\n"]


def test_unsound_registration_raises_with_the_line_of_the_log(kernel):
    kernel.answers(*BEGIN, *NO_HELPER)

    with pytest.raises(Unsound, match="hardware init failed rc=-1"):
        register(kernel)


def test_registration_of_which_the_log_says_nothing_is_not_taken_for_sound(kernel):
    kernel.answers(*BEGIN)

    with pytest.raises(Unsound, match="the kernel's log does not have: oo_nic_add: ifindex=7"):
        register(kernel, log_s=0.2)


@pytest.mark.parametrize(
    ("number", "kind", "expected"),
    [
        (errno.EALREADY, Refused, "v0 is registered already, not by labkit"),
        (errno.ENOENT, Refused, "v0: there is no such interface in this network namespace"),
        (errno.ENOMEM, Unsound, "Cannot allocate memory"),
    ],
)
def test_kernel_that_says_no_is_reported(kernel, monkeypatch, number, kind, expected):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    kernel.answers()
    monkeypatch.setattr(os, "write", refuse)

    with pytest.raises(kind, match=expected):
        register(kernel)


def note(kernel, name, **more):
    found = {"interface": name, "module": onload_register.module_id(kernel.root), "generic": False, **more}
    (kernel.root / onload_register.NOTES / f"{name}.json").write_text(json.dumps(found))


def test_registrations_since_an_earlier_load_of_the_module_do_not_count(kernel):
    note(kernel, "v0")
    note(kernel, "v1", module=1)
    note(kernel, "v2", generic=True)
    (kernel.root / onload_register.NOTES / "v3.json").write_text("half")

    assert onload_register.registered(kernel.root) == {"v0": False, "v2": True}


def test_nothing_is_registered_where_the_module_is_not_loaded(tmp_path):
    assert onload_register.module_id(tmp_path) is None
    assert onload_register.registered(tmp_path) == {}


def test_loopback_is_refused_before_anything_is_written(kernel, capsys):
    (kernel.root / "sys/class/net/v0/flags").write_text("0x9\n")

    assert onload_register.main(["onload_register.py", "v0"], kernel.root) == 1

    assert "v0 is a loopback interface" in capsys.readouterr().err
    assert kernel.asked == []


def test_interface_that_is_registered_is_not_registered_again(kernel, capsys):
    note(kernel, "v0")

    assert onload_register.main(["onload_register.py", "v0"], kernel.root) == 0

    assert capsys.readouterr().out == "v0 is registered\n"
    assert kernel.asked == []


def test_sound_registration_is_noted(kernel, capsys):
    kernel.answers(*BEGIN, *ADDED)

    assert onload_register.main(["onload_register.py", "v0"], kernel.root) == 0

    assert onload_register.registered(kernel.root) == {"v0": False}
    assert "with native XDP" in capsys.readouterr().out
    assert not list(kernel.root.glob("run/labkit-onload/*.pending"))


def test_unsound_registration_unloads_all_and_leaves_no_note(kernel, capsys, monkeypatch):
    ran = []
    monkeypatch.setattr(onload_register, "_program", lambda *command: ran.append(command) or unloaded(kernel))
    note(kernel, "v1")
    kernel.answers(*BEGIN, *NO_HELPER)

    assert onload_register.main(["onload_register.py", "v0"], kernel.root) == 1

    assert ran == [("onload_tool", "unload", "--onload-only")]
    assert "v0 was not registered soundly, and Onload was unloaded" in capsys.readouterr().err
    assert list((kernel.root / onload_register.NOTES).iterdir()) == []


def test_nic_without_native_xdp_that_is_not_the_first_would_get_the_program_of_another(kernel):
    note(kernel, "v1")
    kernel.answers(*BEGIN, GENERIC, *RSS, *ADDED, *LINKED)

    with pytest.raises(Unsound, match="bpf-link-helper attached the XDP program of v1 to it"):
        register(kernel)


def test_nic_without_native_xdp_is_sound_where_it_is_the_first(kernel):
    kernel.answers(*BEGIN, GENERIC, *RSS, *ADDED, *LINKED)

    assert register(kernel).generic


def test_module_that_can_not_be_unloaded_is_reported_loudly(kernel, capsys, monkeypatch):
    monkeypatch.setattr(onload_register, "_program", lambda *command: None)
    kernel.answers(*BEGIN, *NO_HELPER)

    assert onload_register.main(["onload_register.py", "v0"], kernel.root) == 1

    assert capsys.readouterr().err.startswith("UNSOUND AND STILL LOADED")


def unloaded(kernel):
    (kernel.root / onload_register.REGISTER).unlink()
    (kernel.root / onload_register.REGISTER).parent.rmdir()
    (kernel.root / onload_register.MODULE).rmdir()
