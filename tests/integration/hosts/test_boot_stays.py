"""The boot that was tried is the one that stays: reported before a trial where it can't be, and undone after it."""

from __future__ import annotations

import pytest
from ansible_collections.labkit.host.plugins.module_utils import boot, boot_line, boot_look, preflight_boot
from ansible_collections.labkit.host.plugins.module_utils.boot_line import Tried
from ansible_collections.labkit.host.plugins.module_utils.boot_look import BootRefused, Wanted
from ansible_collections.labkit.host.plugins.module_utils.boot_target import Target
from boot_host import ISOLATED, NEWER, RT, STOCK, Host

ARGUMENTS = Wanted(arguments=ISOLATED)
DEFAULTS = 'GRUB_DEFAULT="{}"\nGRUB_CMDLINE_LINUX_DEFAULT="quiet"\nGRUB_CMDLINE_LINUX=""\n'
TUNED = 'GRUB_CMDLINE_LINUX_DEFAULT="${GRUB_CMDLINE_LINUX_DEFAULT:+$GRUB_CMDLINE_LINUX_DEFAULT }\\$tuned_params"\n'


@pytest.fixture
def host(tmp_path):
    host = Host(tmp_path)
    host.add_kernel(RT)
    for name, text in (("possible", "0-15\n"), ("present", "0-15\n")):
        host.write(f"sys/devices/system/cpu/{name}", text)
    return host


@pytest.fixture
def step(host):
    def call(name, wanted=ARGUMENTS):
        options = {"panic_s": 10, "confirm_s": 900} if name == "try_once" else {}
        return getattr(boot_look if name == "look" else boot, name)(
            wanted, run=host.run, root=host.root, **options
        )

    return call


def configure(host, default="0", more=""):
    host.write("etc/default/grub", DEFAULTS.format(default) + more)
    host.run(["update-grub"])
    host.boot()


def isolates_by_tuned(host, arguments, *, pid=None):
    """As its plugin bootloader leaves a host: a variable in grub.cfg, and a word in /etc/default/grub."""
    host.write("etc/tuned/active_profile", "cpu-partitioning\n")
    host.write("etc/tuned/cpu-partitioning-variables.conf", "isolated_cores=2-3\n")
    host.write("etc/tuned/bootcmdline", f'TUNED_BOOT_CMDLINE="{arguments}"\nTUNED_BOOT_INITRD_ADD=""\n')
    if pid:
        host.write("run/tuned/tuned.pid", f"{pid}\n")
        host.write(f"proc/{pid}/comm", "tuned\n")
    host.write("etc/default/grub", DEFAULTS.format("0") + TUNED)
    update = host._update_grub

    def with_variable():
        update()
        text = host.text("boot/grub/grub.cfg")
        host.write("boot/grub/grub.cfg", f'set tuned_params="{arguments}"\n{text}')

    host._update_grub = with_variable
    host.run(["update-grub"])
    host.boot()


@pytest.mark.parametrize("default", ["1> 1", " 1>1", "1>0x1", "1>01", "1x>1"])
def test_number_written_as_people_write_it_is_tried_and_stays(host, step, default):
    configure(host, default)
    assert host.text("proc/sys/kernel/osrelease").strip() == STOCK, "RT is the first"

    step("try_once")
    assert host.boot() == STOCK
    step("confirm")

    assert host.boot() == STOCK
    assert host.text("proc/cmdline").split()[-2:] == list(ISOLATED)
    assert step("look").needed == "nothing"


def test_kernel_that_came_without_update_grub_is_not_made_the_default_by_a_confirmation(host, step):
    (host.root / f"boot/vmlinuz-{RT}").unlink()
    configure(host)
    step("try_once")
    tried = host.boot()
    assert tried == STOCK
    # grub.cfg is made anew when the trial is confirmed, and then it has this one first.
    host.write(f"boot/vmlinuz-{RT}", "")
    before = host.text("etc/default/grub")

    with pytest.raises(
        boot.TrialFailed, match=f"not be what was tried: it would start kernel {RT}, not {tried}"
    ):
        step("confirm")

    assert not (host.root / "etc/default/grub.d/90-labkit.cfg").exists()
    assert host.text("etc/default/grub") == before
    assert "labkit" not in host.text("boot/grub/grub.cfg")
    assert not (host.root / "boot/grub/custom.cfg").exists()


def test_arguments_that_came_while_the_trial_ran_are_reported_and_all_is_reverted(host, step):
    step("try_once")
    host.boot()
    host.write("etc/default/grub.d/50-theirs.cfg", 'GRUB_CMDLINE_LINUX="mitigations=off"\n')

    with pytest.raises(boot.TrialFailed, match="it would have mitigations=off, and what was tried had none"):
        step("confirm")

    assert not (host.root / "etc/default/grub.d/90-labkit.cfg").exists()
    assert "isolcpus" not in host.text("boot/grub/grub.cfg")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ('GRUB_CMDLINE_LINUX="mitigations=off"\n', "it would have mitigations=off"),
        ('GRUB_CMDLINE_LINUX_DEFAULT=""\n', "it would have no quiet, and what was tried had quiet"),
        ("GRUB_DEFAULT='1>1'\n", f"would be 1>1 and not kernel {RT}"),
    ],
)
def test_grub_cfg_that_is_older_than_its_settings_is_reported_before_the_trial(host, step, change, expected):
    host.write("etc/default/grub.d/50-theirs.cfg", change)

    with pytest.raises(BootRefused, match="Run update-grub") as refused:
        step("try_once")

    assert expected in str(refused.value)


@pytest.mark.parametrize("default", ["2", "3>1"])
def test_default_that_the_entry_of_a_trial_would_change_is_refused(host, step, default):
    """Two entries on top, so 2 is the first until custom.cfg has the trial's; then every boot would be the trial."""
    configure(host, default)

    if default == "2":
        with pytest.raises(BootRefused, match="its default '2' counts entries, and with that of a trial"):
            step("try_once")
    else:
        step("try_once")


def test_entries_that_come_with_the_trial_do_not_hide_what_stays(host, step):
    """An entry goes while the trial runs: 2 is the trial's own then, which is cleared away when it is confirmed."""
    mine = "menuentry 'Mine' --id mine {\n linux /boot/vmlinuz-6.1.0-56-amd64 root=/dev/vda1 ro quiet\n}\n"
    host.write("boot/grub/custom.cfg", mine)
    step("try_once")
    host.boot()
    host.write("boot/grub/custom.cfg", host.text("boot/grub/custom.cfg").replace(mine, ""))
    host.write("etc/default/grub", DEFAULTS.format("2"))

    tried = host.text("proc/sys/kernel/osrelease").strip()

    assert step("confirm")

    assert not (host.root / "boot/grub/custom.cfg").read_text()
    assert host.boot() == tried, "2 names no entry now, and the first is the one that was tried"


def test_choice_of_somebody_else_for_the_next_boot_is_not_overwritten(host, step):
    host._write_environment({"next_entry": "1>2"})

    with pytest.raises(BootRefused, match="next_entry=1>2: somebody chose that for the next boot"):
        step("try_once")


def test_entry_of_a_persons_hand_takes_no_arguments_from_the_settings(host, step):
    host.write(
        "boot/grub/custom.cfg", "menuentry 'Mine' --id mine {\n linux /vmlinuz-6.1 root=/dev/vda1 ro\n}\n"
    )
    configure(host)
    host.write("etc/default/grub", DEFAULTS.format("mine"))
    host.run(["update-grub"])

    with pytest.raises(BootRefused, match="'Mine' is not one that update-grub writes for each kernel"):
        step("try_once")


def test_snippet_that_sets_the_default_by_a_key_is_refused(host, step):
    text = host.text("boot/grub/grub.cfg")
    host.write("boot/grub/grub.cfg", text + 'if keystatus --shift; then\n  set default="1>2"\nfi\n')

    with pytest.raises(BootRefused, match=r"its default is decided at each boot \('0', '1>2'\)"):
        step("try_once")


def test_saved_default_is_not_changed_by_the_entry_of_a_trial(host, step):
    """GRUB_SAVEDEFAULT=true puts savedefault into every entry."""
    text = host.text("boot/grub/grub.cfg").replace("\tload_video\n", "\tsavedefault\n\tload_video\n")
    host.write("boot/grub/grub.cfg", text)

    step("try_once")

    assert "savedefault" not in host.text("boot/grub/custom.cfg")
    assert "load_video" in host.text("boot/grub/custom.cfg")


@pytest.mark.parametrize("pid", [None, 812])
def test_cores_that_tuned_isolates_are_reported_by_its_name_before_anything_changes(host, step, pid):
    isolates_by_tuned(host, "isolcpus=2-3 nohz_full=2-3 rcu_nocbs=2-3", pid=pid)
    state = "running" if pid else "not running"

    [problem] = preflight_boot.problems({"cpu_isolation_cpus": "4-15"}, host.root, host.run)

    assert "isolcpus=2-3 is there beside isolcpus=4-15" in problem
    assert f"tuned ({state}, profile cpu-partitioning) puts isolcpus=2-3 nohz_full=2-3 there" in problem
    assert "/etc/tuned/cpu-partitioning-variables.conf" in problem
    with pytest.raises(BootRefused, match=r"tuned \(.*, profile cpu-partitioning\) puts isolcpus=2-3"):
        step("try_once", Wanted(arguments=("isolcpus=4-15",)))


def test_same_cores_as_tuned_isolates_are_tried_and_stay(host, step):
    isolates_by_tuned(host, "isolcpus=domain,4-N")
    wanted = Wanted(arguments=("isolcpus=4-15", "skew_tick=1"))
    host.write("sys/devices/system/cpu/isolated", "4-15\n")

    assert list(preflight_boot.problems({"cpu_isolation_cpus": "4-15"}, host.root, host.run)) == []
    step("try_once", wanted)
    host.boot()
    line = host.text("proc/cmdline").split()
    assert line.index("isolcpus=domain,4-N") < line.index("isolcpus=4-15"), (
        "in their place, as in the boots after"
    )
    host.write("sys/devices/system/cpu/isolated", "4-15\n")
    step("confirm", wanted)
    host.boot()
    host.write("sys/devices/system/cpu/isolated", "4-15\n")

    assert step("look", wanted).needed == "nothing"


def test_entry_in_a_submenu_is_tried_without_what_it_will_not_see(host, step):
    """A variable that is not exported: entries on top have it, and so would the entry of a trial."""
    isolates_by_tuned(host, "isolcpus=2-3")
    assert "isolcpus=2-3" in host.text("proc/cmdline")
    wanted = Wanted(arguments=("isolcpus=4-15",), release=STOCK)

    step("try_once", wanted)

    assert "tuned_params" not in host.text("boot/grub/custom.cfg").partition("else")[0]


def test_list_on_the_running_command_line_that_nothing_tells_of_counts(host):
    """A variable of GRUB's that the text does not tell may have put it there."""
    target = Target(STOCK, "/vmlinuz", ("ro", "$unknown"), (), "", (), {"$unknown": None})
    host.write("proc/cmdline", "BOOT_IMAGE=/vmlinuz ro isolcpus=2-3\n")

    assert "isolcpus=2-3 is there beside" in boot_line.lost(target, (), ISOLATED, host.root)
    known = Target(STOCK, "/vmlinuz", ("ro",), (), "", ())
    assert boot_line.lost(known, (), ISOLATED, host.root) is None


@pytest.mark.parametrize(
    ("line", "tried", "differs"),
    [
        ("ro quiet a=1", "BOOT_IMAGE=/vmlinuz ro quiet a=1", []),
        ("ro a=1 quiet", "ro quiet a=1", []),
        ("ro isolcpus=4-15", "ro isolcpus=domain,4-N", []),
        ("ro a=1 a=2", "ro a=2 a=1", ["it would have a=1 a=2, and what was tried had a=2 a=1"]),
        ("ro quiet", "ro", ["it would have quiet, and what was tried had none"]),
        ("ro", "ro quiet", ["it would have no quiet, and what was tried had quiet"]),
        (
            "hugepagesz=1G hugepages=2 hugepagesz=2M hugepages=64",
            "hugepagesz=2M hugepages=2 hugepagesz=1G hugepages=64",
            1,
        ),
        ("hugepagesz=1G hugepages=2", "hugepagesz=1024M hugepages=2", []),
        ("ro $vt_handoff", "ro vt.handoff=7", []),
        ("ro $vt_handoff", "ro quiet", 1),
        ("ro $unknown", "ro quiet", []),
    ],
)
def test_next_boot_is_compared_with_what_was_tried(line, tried, differs):
    target = Target(STOCK, "/vmlinuz", tuple(line.split()), (), "", ())

    found = boot_line.differences(target, Tried(STOCK, tuple(tried.split())), 15)

    assert len(found) == differs if isinstance(differs, int) else found == differs
    assert boot_line.differences(target, Tried(NEWER, tuple(tried.split())), 15)[0].startswith(
        "it would start kernel"
    )


def test_argument_with_blanks_between_quotes_is_one(host, step):
    """What it holds is no list of cores, and it is tried and stays as it is."""
    quoted = 'dyndbg="file x +p; isolcpus=7 "'
    host.write("etc/default/grub", f"GRUB_DEFAULT=0\nGRUB_CMDLINE_LINUX='{quoted}'\n")
    host.run(["update-grub"])
    host.boot()

    assert list(preflight_boot.problems({"cpu_isolation_cpus": "1"}, host.root, host.run)) == []
    step("try_once")
    assert f" {quoted} " in host.text("boot/grub/custom.cfg")
    host.boot()
    host.write("sys/devices/system/cpu/isolated", "1\n")
    step("confirm")
    host.boot()
    host.write("sys/devices/system/cpu/isolated", "1\n")

    assert f" {quoted} " in host.text("proc/cmdline")
    assert step("look").needed == "nothing"


def test_sizes_and_names_that_mean_the_same_need_no_trial(host, step):
    host.write(
        "etc/default/grub", 'GRUB_CMDLINE_LINUX="hugepagesz=1024M hugepages=2 nmi-watchdog=0 isolcpus=4-N"\n'
    )
    host.run(["update-grub"])
    host.boot()
    host.write("sys/devices/system/cpu/isolated", "4-15\n")
    wanted = ("hugepagesz=1G", "hugepages=2", "nmi_watchdog=0", "isolcpus=domain,4-15")

    assert step("look", Wanted(arguments=wanted)).needed == "nothing"
    assert step("look", Wanted(arguments=("hugepagesz=2M", *wanted[1:]))).needed == "trial"
