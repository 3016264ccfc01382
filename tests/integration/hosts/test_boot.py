"""Kernel and command line: pinned, tried once, confirmed; and whatever breaks in between, the old kernel comes back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.labkit.host.plugins.module_utils import (
    boot,
    boot_commands,
    boot_look,
    boot_revert,
    boot_trial,
    boot_undo,
    grub_defaults,
    undo,
)
from ansible_collections.labkit.host.plugins.module_utils.boot_look import BootRefused, Wanted
from ansible_collections.labkit.host.plugins.module_utils.state import State
from boot_host import ISOLATED, REAL_TIME, RT, STOCK, Host

ARGUMENTS = Wanted(arguments=ISOLATED)


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


@pytest.fixture
def step(host, monkeypatch):
    """Calls one step on that host."""
    for kind, restore in ((boot_undo.KIND, boot_undo.restore), (boot_trial.KIND, boot_trial.restore)):
        monkeypatch.setitem(
            undo.KINDS, kind, lambda change, root, restore=restore: restore(change, root, host.run)
        )

    def call(name, *arguments, **options):
        module = {"look": boot_look, "revert": boot_revert}.get(name, boot)
        if name == "try_once":
            options = {"panic_s": 10, "confirm_s": 900, **options}
        return getattr(module, name)(*arguments, run=host.run, root=host.root, **options)

    return call


def needed(step, wanted):
    return step("look", wanted).needed


def content(host):
    """What is on the host's disk, less what a reboot changes."""
    return {
        str(path.relative_to(host.root)): path.read_text()
        for path in host.root.rglob("*")
        if path.is_file() and not str(path.relative_to(host.root)).startswith(("proc/", "sys/"))
    }


def made_real_time(host, step):
    step("pin")
    host.add_kernel(RT)
    assert step("try_once", REAL_TIME)
    host.boot()
    assert step("confirm", REAL_TIME)


def test_new_kernel_and_arguments_are_tried_and_then_the_default(host, step):
    step("pin")
    host.add_kernel(RT)
    assert host.boot() == STOCK, "a kernel that is merely installed is not booted"

    assert needed(step, REAL_TIME) == "trial"
    assert step("try_once", REAL_TIME)
    assert host.boot() == RT
    assert needed(step, REAL_TIME) == "confirm"
    assert step("confirm", REAL_TIME)

    assert needed(step, REAL_TIME) == "nothing"
    assert not step("pin")
    assert not step("try_once", REAL_TIME)
    assert not step("confirm", REAL_TIME)
    assert host.boot() == RT
    assert host.text("proc/cmdline").split()[-2:] == list(ISOLATED)
    assert needed(step, REAL_TIME) == "nothing"


def test_trial_is_booted_once_and_never_again(host, step):
    step("pin")
    host.add_kernel(RT)
    step("try_once", REAL_TIME)

    assert host.boot() == RT
    assert host.boot() == STOCK


def test_kernel_that_panics_is_reported_and_the_old_default_untouched(host, step):
    step("pin")
    host.add_kernel(RT)
    before = content(host)
    host.broken.add(RT)
    step("try_once", REAL_TIME)

    assert host.boot() == STOCK
    with pytest.raises(
        boot.TrialFailed, match="did not come up, or was not reached: the host is back by itself on kernel"
    ):
        step("confirm", REAL_TIME)

    assert content(host) == before
    assert host.boot() == STOCK


def test_host_that_was_never_rebooted_is_not_said_to_have_tried(host, step):
    """The reboot itself failed, also where this boot was an earlier trial."""
    step("try_once", ARGUMENTS)
    host.boot()
    step("confirm", ARGUMENTS)
    before = content(host)
    step("try_once", Wanted())

    with pytest.raises(boot.TrialFailed, match="this host never rebooted"):
        step("confirm", Wanted())

    assert content(host) == before


def test_kernel_that_cannot_be_loaded_gives_way_to_the_old_one_at_once(host, step):
    step("pin")
    host.add_kernel(RT)
    step("try_once", REAL_TIME)
    (host.root / f"boot/vmlinuz-{RT}").unlink()

    assert host.boot() == STOCK
    assert "labkit.trial" not in host.text("proc/cmdline")


def test_kernel_that_boots_and_is_not_what_was_wanted_is_reported_and_not_confirmed(host, step):
    wanted = Wanted(flavour="lowlatency", arguments=("preempt=full",))
    step("try_once", wanted)
    host.boot()
    host.write("sys/kernel/debug/sched/preempt", "none (voluntary) full\n")

    with pytest.raises(
        boot.TrialFailed, match="booted on trial, and it is not what was requested: preemption is voluntary"
    ):
        step("confirm", wanted)
    assert not host.unit_runs
    host.boot()
    assert "preempt" not in host.text("proc/cmdline")


def test_command_line_alone_is_tried_too(host, step):
    assert step("try_once", ARGUMENTS)
    host.boot()
    step("confirm", ARGUMENTS)

    assert grub_defaults.pinned(host.root) is None
    assert host.text("etc/default/grub.d/90-labkit.cfg").splitlines()[1:] == [
        f'GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT {one}"' for one in ISOLATED
    ]
    assert needed(step, ARGUMENTS) == "nothing"


def test_arguments_that_are_wanted_no_more_go_by_a_trial(host, step):
    step("try_once", ARGUMENTS)
    host.boot()
    step("confirm", ARGUMENTS)

    assert needed(step, Wanted()) == "trial"
    step("try_once", Wanted())
    host.boot()
    step("confirm", Wanted())

    assert "isolcpus" not in host.text("proc/cmdline")
    assert not (host.root / "etc/default/grub.d/90-labkit.cfg").exists()
    assert needed(step, Wanted()) == "nothing"


def test_other_arguments_stand_where_the_old_ones_did(host, step):
    step("try_once", ARGUMENTS)
    host.boot()
    step("confirm", ARGUMENTS)
    other = Wanted(arguments=("isolcpus=managed_irq,domain,1", "nohz_full=0"))

    step("try_once", other)
    host.boot()

    assert host.text("proc/cmdline").count("isolcpus") == 1
    assert "nohz_full=1" not in host.text("proc/cmdline")
    step("confirm", other)
    assert needed(step, other) == "nothing"


def test_words_of_the_trial_are_not_taken_for_the_users(host, step):
    """The trial gives panic=, rd.shell= and systemd.wants= itself, and last."""
    wanted = Wanted(arguments=("panic=5", "rd.shell=1", "systemd.wants=theirs.service"))

    step("try_once", wanted)
    host.boot()
    line = host.text("proc/cmdline").split()
    assert line[-5] == "panic=10"
    assert line[-3:-1] == ["rd.shell=0", "rd.emergency=reboot"]
    step("confirm", wanted)

    assert needed(step, wanted) == "nothing"


def test_user_line_that_has_them_already_needs_nothing_of_ours(host, step):
    host.write("etc/default/grub", f'GRUB_CMDLINE_LINUX_DEFAULT="{" ".join(ISOLATED)}"\n')
    host.run(["update-grub"])
    host.boot()
    before = content(host)

    assert needed(step, ARGUMENTS) == "nothing"
    assert not step("confirm", ARGUMENTS)
    assert content(host) == before


def test_users_own_list_of_other_cores_is_refused_before_anything(host, step):
    host.write("etc/default/grub.d/99-user.cfg", 'GRUB_CMDLINE_LINUX="isolcpus=2"\n')
    host.run(["update-grub"])
    before = content(host)

    for name in ("look", "try_once"):
        with pytest.raises(
            BootRefused, match=r"isolcpus=2 is there beside .*Take it out of /etc/default/grub"
        ):
            step(name, ARGUMENTS)
    assert content(host) == before


def test_kernel_that_isolates_other_cores_than_its_words_say_is_not_confirmed(host, step):
    step("try_once", ARGUMENTS)
    host.boot()
    host.write("sys/devices/system/cpu/isolated", "\n")

    with pytest.raises(boot.TrialFailed, match="is there, but the kernel isolates none"):
        step("confirm", ARGUMENTS)


def test_unit_that_would_reboot_is_stopped_before_grub_cfg_is_made(host, step, monkeypatch):
    step("try_once", ARGUMENTS)
    host.boot()
    assert host.unit_runs
    update, ran = host._update_grub, []
    monkeypatch.setattr(host, "_update_grub", lambda: (ran.append(host.unit_runs), update())[1])

    step("confirm", ARGUMENTS)

    assert ran == [False]


def test_files_that_update_grub_has_not_seen_are_found(host, step):
    """A run was killed between the file and update-grub, and no trial waits."""
    step("try_once", ARGUMENTS)
    host.boot()
    step("confirm", ARGUMENTS)
    fewer = Wanted(arguments=ISOLATED[:1])
    host.start(f"/boot/vmlinuz-{STOCK} quiet {ISOLATED[0]}")
    file = host.root / "etc/default/grub.d/90-labkit.cfg"
    file.write_text(grub_defaults.arguments_text(fewer.arguments))

    assert needed(step, fewer) == "confirm"
    step("confirm", fewer)
    assert ISOLATED[1] not in host.text("boot/grub/grub.cfg")
    assert needed(step, fewer) == "nothing"


def test_check_mode_tells_the_changes_and_makes_none(host, step):
    before = content(host)

    assert step("pin", check=True)
    assert step("look", REAL_TIME, expected=False).needed == "trial"
    assert step("try_once", REAL_TIME, check=True)
    assert step("confirm", REAL_TIME, check=True)

    assert content(host) == before


def test_named_kernel_that_a_package_will_bring_is_predicted_but_must_be_there_in_a_run(step):
    wanted = Wanted(release=RT, packages=("linux-image-rt-amd64",))

    assert step("look", wanted, expected=False).needed == "trial"
    with pytest.raises(BootRefused, match=f"Kernel {RT} is not in GRUB's menu"):
        step("look", wanted)


def test_revert_goes_back_to_the_first_kernel_and_leaves_nothing(host, step):
    before = content(host)
    made_real_time(host, step)

    host.called.clear()
    assert step("revert").reboot
    assert host.called.count("update-grub") == 1, "it takes its time"
    assert step("revert").reboot, "still not rebooted"
    assert host.boot() == STOCK
    assert "isolcpus" not in host.text("proc/cmdline")
    assert not step("revert").reboot
    for name in ("vmlinuz", "initrd.img", "config"):  # as the package is purged
        (host.root / f"boot/{name}-{RT}").unlink()
    host.run(["update-grub"])
    done, left = undo.undo("lowlatency_kernel", host.root)

    assert (left, done[-1]) == ([], "boot menu")
    assert content(host) == before
    assert step("revert") == boot_revert.Reverted([], False)


@pytest.mark.parametrize(
    "wanted",
    [ARGUMENTS, Wanted(flavour="rt", packages=("linux-image-rt-amd64",))],
    ids=["arguments alone", "kernel alone"],
)
def test_revert_asks_for_a_reboot_as_long_as_something_of_it_runs(host, step, wanted):
    if wanted.packages:
        step("pin")
        host.add_kernel(RT)
    step("try_once", wanted)
    host.boot()
    step("confirm", wanted)
    host.boot()

    assert step("revert", check=True).reboot
    assert step("revert").reboot
    assert step("revert").reboot
    host.boot()
    assert not step("revert").reboot


def test_revert_goes_back_from_a_kernel_that_was_there_and_merely_named(host, step):
    """Nothing is installed, so nothing is pinned before the trial."""
    host.write("etc/default/grub", 'GRUB_DEFAULT="1>1"\nGRUB_CMDLINE_LINUX_DEFAULT="quiet"\n')
    host.add_kernel(RT)  # newer, and first in the menu
    before = content(host)
    step("try_once", Wanted(release=RT))
    assert host.boot() == RT
    step("confirm", Wanted(release=RT))

    assert step("revert").reboot
    assert host.boot() == STOCK
    assert not step("revert").reboot
    undo.undo("lowlatency_kernel", host.root)
    assert content(host) == before


def test_revert_in_the_midst_of_a_trial_takes_it_back(host, step):
    before = content(host)
    step("try_once", ARGUMENTS)

    assert not step("revert").reboot
    assert content(host) == before
    host.boot()
    assert "isolcpus" not in host.text("proc/cmdline")


@pytest.mark.parametrize("wanted", [ARGUMENTS, Wanted(release=RT)], ids=["arguments alone", "kernel alone"])
def test_revert_while_a_trial_runs_takes_a_reboot(host, step, wanted):
    """Whoever began it was killed after the reboot."""
    host.add_kernel(RT)
    before = content(host)
    step("try_once", wanted)
    host.boot()

    assert step("revert", check=True).reboot
    assert step("revert").reboot
    assert step("revert").reboot, "still not rebooted"
    host.boot()
    assert not step("revert").reboot
    undo.undo("lowlatency_kernel", host.root)
    assert content(host) == before


@pytest.mark.parametrize("reverted", [False, True])
@pytest.mark.parametrize("wanted", [Wanted(), Wanted(arguments=ISOLATED[:1])], ids=["nothing", "less"])
def test_trial_of_what_is_wanted_no_more_is_not_left_running(host, step, wanted, reverted):
    """The inventory changed while it ran; or it was taken back, and the host may not be rebooted for that."""
    step("try_once", ARGUMENTS)
    host.boot()
    if reverted:
        step("revert")

    assert needed(step, wanted) == "trial"
    assert step("try_once", wanted)
    host.boot()
    assert "nohz_full" not in host.text("proc/cmdline")
    step("confirm", wanted)
    assert needed(step, wanted) == "nothing"


def test_kernel_on_trial_that_is_asked_for_no_more_is_not_left_running(host, step):
    host.write("etc/default/grub", 'GRUB_DEFAULT="1>1"\n')
    host.add_kernel(RT)
    step("try_once", Wanted(release=RT))
    host.boot()

    assert needed(step, Wanted()) == "trial"
    step("try_once", Wanted())
    assert host.boot() == STOCK
    step("confirm", Wanted())
    assert needed(step, Wanted()) == "nothing"


def test_revert_keeps_the_users_own_entries(host, step):
    theirs = host.write("boot/grub/custom.cfg", "menuentry 'mine' { chainloader +1 }\n")
    step("try_once", ARGUMENTS)
    assert theirs.read_text().startswith("menuentry 'mine'")
    assert "labkit-trial" in theirs.read_text()

    step("revert")

    assert theirs.read_text() == "menuentry 'mine' { chainloader +1 }\n"


def test_menu_that_grub_could_not_read_is_not_put_in_place(host, step, monkeypatch):
    host.write("boot/grub/custom.cfg", "menuentry 'mine' { chainloader +1 }\n")
    before = content(host)

    def refused(file):
        assert "labkit-trial" in Path(file).read_text()
        assert "menuentry 'mine'" in Path(file).read_text()
        raise boot_commands.CommandFailed("syntax error at line 9")

    monkeypatch.setattr(host, "_grub_script_check", refused)

    with pytest.raises(boot_commands.CommandFailed, match=r"custom\.cfg with .* no menu.*: syntax error at"):
        step("try_once", ARGUMENTS)

    assert content(host) == before


def test_users_line_rules_again_after_the_revert(host, step):
    host.write("etc/default/grub", 'GRUB_DEFAULT="1>0"\nGRUB_CMDLINE_LINUX_DEFAULT="quiet"\n')
    host.run(["update-grub"])
    made_real_time(host, step)

    step("revert")
    host.boot()
    step("revert")
    undo.undo("lowlatency_kernel", host.root)

    assert 'set default="1>0"' in host.text("boot/grub/grub.cfg")


def without_initrd_first(host):
    """As Ubuntu's images for AWS and GCP have it, and its 10_linux writes the entries then."""
    host.write("etc/default/grub.d/40-force-partuuid.cfg", "GRUB_FORCE_PARTUUID=26f22d2b-892e-459e-ba29\n")
    either = (
        '\tif [ "${initrdfail}" = 1 ]; then\n\t  linux\\1\n\t  initrd /boot/initrd.img\n\telse\n'
        "\t  linux\\1 panic=-1\n\tfi\n\tinitrdfail"
    )
    text = re.sub(r"^\t+linux(.*)$(\n.*)?\n\t+initrd.*$", either, host.text("boot/grub/grub.cfg"), flags=re.M)
    host.write("boot/grub/grub.cfg", text)
    assert text.count(" panic=-1") > 1


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda host: setattr(host, "file_system", "btrfs"),
            "is on btrfs, where GRUB reads and does not write",
        ),
        (lambda host: setattr(host, "abstraction", "lvm"), "is on lvm, where GRUB reads and does not write"),
        (lambda host: setattr(host, "abstraction", "diskfilter mdraid1x"), "is on diskfilter, mdraid1x"),
        (lambda host: (host.root / "run/systemd/system/there").unlink(), None),
        (lambda host: host.write(".dockerenv", ""), "This is a container"),
        (lambda host: (host.root / "usr/sbin/update-grub").unlink(), "No GRUB was found"),
        (
            lambda host: host.write(
                "sys/firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f",
                "\x06\0\0\0" + "".join(f"{letter}\0" for letter in "systemd-boot 252"),
            ),
            "started by systemd-boot",
        ),
        (
            lambda host: host.write(
                "boot/grub/grub.cfg", host.text("boot/grub/grub.cfg").replace("custom.cfg", "x")
            ),
            "make /etc/grub.d/41_custom executable again",
        ),
        (
            lambda host: host.write(
                "boot/grub/grub.cfg", host.text("boot/grub/grub.cfg").replace("next_entry", "x")
            ),
            "does not follow next_entry",
        ),
        (without_initrd_first, r"out of /etc/default/grub\.d/40-force-partuuid\.cfg and run update-grub"),
    ],
)
def test_host_that_cannot_boot_once_is_refused_before_anything(host, step, spoil, message):
    spoil(host)
    if message is None:
        (host.root / "run/systemd/system").rmdir()
        message = "PID 1 is not systemd"
    before = content(host)

    for call in (("look", ARGUMENTS), ("try_once", ARGUMENTS), ("pin",)):
        with pytest.raises(BootRefused, match=message):
            step(*call)
    assert content(host) == before


def test_host_of_which_nothing_is_wanted_is_not_even_asked(host, step):
    host.called.clear()

    assert needed(step, Wanted()) == "nothing"
    assert host.called == []


def test_container_that_wants_nothing_is_left_alone(host, step):
    host.write(".dockerenv", "")

    assert needed(step, Wanted()) == "nothing"


def test_container_whose_host_has_what_is_wanted_is_fine(host, step):
    host.start(f"/boot/vmlinuz-{STOCK} quiet {' '.join(ISOLATED)}")
    host.write(".dockerenv", "")

    assert needed(step, ARGUMENTS) == "nothing"


@pytest.mark.parametrize(
    ("theirs", "wanted", "message"),
    [
        (
            'GRUB_CMDLINE_LINUX_DEFAULT="quiet"',
            ARGUMENTS,
            r"nohz_full=1 is not there: look for a file after .*90-labkit\.cfg that sets GRUB_CMDLINE",
        ),
        (
            'GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT rcu_nocbs=all"',
            Wanted(arguments=("rcu_nocbs=2",)),
            "rcu_nocbs=2 is there, but rcu_nocbs=all comes later and counts: look for a file after",
        ),
        (
            "GRUB_DEFAULT=0",
            Wanted(release=RT),
            f"the default would be 0 and not kernel {RT}: look for a file after .*89-labkit-default",
        ),
    ],
)
def test_later_file_that_would_override_ours_is_reported_before_the_trial(
    host, step, theirs, wanted, message
):
    host.add_kernel(RT)
    host.write("etc/default/grub.d/99-theirs.cfg", theirs + "\n")
    host.run(["update-grub"])
    before = content(host)

    for check in (True, False):
        with pytest.raises(BootRefused, match=message):
            step("try_once", wanted, check=check)
    assert content(host) == before


def test_later_file_that_overrides_ours_is_found_and_everything_reverted(host, step):
    """It comes while the trial runs."""
    step("try_once", ARGUMENTS)
    host.boot()
    host.write("etc/default/grub.d/99-theirs.cfg", 'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\n')

    with pytest.raises(
        boot.TrialFailed, match=r"look for a file after .*90-labkit\.cfg that sets GRUB_CMDLINE"
    ):
        step("confirm", ARGUMENTS)

    assert not (host.root / "etc/default/grub.d/90-labkit.cfg").exists()
    assert "isolcpus" not in host.text("boot/grub/grub.cfg")


def test_later_file_that_overrides_the_pin_is_found(host, step):
    host.add_kernel(RT)
    host.write("etc/default/grub.d/99-realtime.cfg", "GRUB_DEFAULT=0\n")
    host.run(["update-grub"])

    with pytest.raises(
        boot_commands.CommandFailed, match=r"look for a file after .*89-labkit-default\.cfg that sets"
    ):
        step("pin")
    assert not (host.root / "etc/default/grub.d/89-labkit-default.cfg").exists()


def test_update_grub_that_never_ran_is_made_up_for(host, step):
    made_real_time(host, step)
    host.write("boot/grub/grub.cfg", host.text("boot/grub/grub.cfg").replace("nohz_full=1", ""))

    assert needed(step, REAL_TIME) == "confirm"
    assert step("confirm", REAL_TIME)
    assert "nohz_full=1" in host.text("boot/grub/grub.cfg")


def test_refused_arguments_and_kernels_change_nothing(host, step):
    before = content(host)

    for wanted, message in (
        (Wanted(arguments=("a b",)), "kernel argument 'a b'"),
        (Wanted(release="5.4.0"), "Kernel 5.4.0 is not in GRUB's menu: install it, or name another"),
        (
            Wanted(packages=("linux-image-rt-amd64",), flavour="rt"),
            "No kernel came with linux-image-rt-amd64",
        ),
        (Wanted(flavour="rt"), "was built without PREEMPT_RT"),
        (Wanted(preempt="lazy", arguments=("preempt=lazy",)), "does not know preempt=lazy"),
    ):
        with pytest.raises(BootRefused, match=message):
            step("try_once", wanted)
    assert content(host) == before


def test_low_latency_is_refused_where_the_kernel_is_unknown(host, step):
    host.write(f"boot/config-{STOCK}", "CONFIG_PREEMPT_VOLUNTARY=y\n")

    with pytest.raises(BootRefused, match="built without PREEMPT_DYNAMIC, so preempt=full would do nothing"):
        step("try_once", Wanted(flavour="lowlatency", arguments=("preempt=full",)))


def test_kernel_is_judged_by_what_runs_and_not_by_its_name(host, step):
    host.add_kernel(RT)
    host.write("boot/vmlinuz-6.2.0-rt", "")
    host.start(f"/boot/vmlinuz-{RT} quiet")
    assert not step("look", Wanted(flavour="rt")).reasons

    host.write("proc/sys/kernel/version", "#1 SMP PREEMPT_DYNAMIC Debian\n")
    host.write("sys/kernel/realtime", "0\n")
    assert step("look", Wanted(flavour="rt")).reasons == [
        f"{RT} is no real-time kernel (uname -v: #1 SMP PREEMPT_DYNAMIC Debian)"
    ]


def test_old_value_is_on_disk_before_the_first_file(host, step, monkeypatch):
    monkeypatch.setattr(host, "_update_grub", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        step("pin")

    first = State("lowlatency_kernel", host.root).changes()[0]
    assert (first.kind, first.old) == ("boot", {"release": STOCK})
