"""EL's boot entries: read, and changed in one kernel's file; the command lines of grubby and rpm are held."""

from __future__ import annotations

import pytest
from ansible_collections.labkit.host.plugins.module_utils import (
    boot,
    boot_kernels,
    boot_look,
    boot_revert,
    grub_environment,
    preflight_boot,
    undo,
)
from ansible_collections.labkit.host.plugins.module_utils.bls import Bls
from ansible_collections.labkit.host.plugins.module_utils.boot_look import Wanted
from ansible_collections.labkit.host.plugins.module_utils.boot_trial import Trial
from boot_host import ISOLATED, Host

STOCK = "5.14.0-427.13.1.el9_4.x86_64"
RT = "5.14.0-427.13.1.el9_4.x86_64+rt"
MACHINE = "d1f6a1e54d2b4c1f9d4b9a0f4a0f3c11"
ENTRY = """title Rocky Linux ({release}) 9.4 (Blue Onyx)
version {release}
linux /vmlinuz-{release}
initrd /initramfs-{release}.img $tuned_initrd
options root=/dev/mapper/rl-root ro crashkernel=1G-4G:192M rd.lvm.lv=rl/root rhgb quiet $tuned_params
grub_users $grub_users
grub_arg --unrestricted
grub_class rocky
"""
MENU = """
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
   save_env next_entry
   set boot_once=true
else
   set default="${saved_entry}"
fi
insmod blscfg
blscfg
if [ -f  ${config_directory}/custom.cfg ]; then
  source ${config_directory}/custom.cfg
fi
"""
REAL_TIME = Wanted(arguments=ISOLATED, flavour="rt", packages=("kernel-rt",))


class ElHost(Host):
    """EL 9 with its stock kernel, and grubby."""

    def __init__(self, root):
        self.root = root
        self.called = []
        self.unit_runs = False
        self.file_system, self.abstraction = "xfs", ""
        self.write("boot/grub2/grub.cfg", MENU)
        self.write("boot/grub2/grubenv", "")
        for name in ("run/systemd/system/there", "etc/systemd/system/there", "etc/kernel/there"):
            self.write(name, "")
        self.write(
            f"boot/loader/entries/{MACHINE}-0-rescue.conf", ENTRY.format(release=f"0-rescue-{MACHINE}")
        )
        self.add_kernel(STOCK)
        self.runs(STOCK, "")

    def add_kernel(self, release):
        self.write(f"boot/loader/entries/{MACHINE}-{release}.conf", ENTRY.format(release=release))

    def entry(self, release):
        return self.text(f"boot/loader/entries/{MACHINE}-{release}.conf")

    def runs(self, release, arguments):
        self.new_boot_id()
        self.write("proc/sys/kernel/osrelease", release + "\n")
        self.write(
            "proc/sys/kernel/version", f"#1 SMP {'PREEMPT_RT' if '+rt' in release else 'PREEMPT_DYNAMIC'}\n"
        )
        self.write("proc/cmdline", f"BOOT_IMAGE=(hd0,gpt2)/vmlinuz-{release} ro rhgb quiet {arguments}\n")

    def boot_default(self):
        release = self._grubby("--default-kernel").strip().partition("vmlinuz-")[2]
        self.runs(release, self.entry(release).partition("options ")[2].partition("\n")[0])

    def _grubby(self, option):
        saved = self._environment().get("saved_entry", "")
        if option == "--default-kernel":
            file = self.root / f"boot/loader/entries/{saved}.conf"
            release = (
                saved.partition("-")[2]
                if file.exists()
                else RT
                if "+rt" in str(list(file.parent.iterdir()))
                else STOCK
            )
            return f"/boot/vmlinuz-{release}\n"
        name, _, image = option.partition("=/boot/vmlinuz-")
        assert name == "--set-default"
        self._write_environment({**self._environment(), "saved_entry": f"{MACHINE}-{image}"})
        return ""

    def _environment(self):
        lines = self.text("boot/grub2/grubenv").splitlines()
        return dict(line.split("=", 1) for line in lines)

    def _write_environment(self, variables):
        self.write("boot/grub2/grubenv", "".join(f"{name}={value}\n" for name, value in variables.items()))

    def _grub2_editenv(self, file, verb, *words):
        assert file == str(self.root / "boot/grub2/grubenv")
        return self._grub_editenv(str(self.root / "boot/grub/grubenv"), verb, *words)

    def _grub2_probe(self, target, _):
        return self._grub_probe(target, _)

    def _grub2_script_check(self, _): ...

    def _rpm(self, *arguments):
        assert arguments[:2] == ("--query", "--list")
        if arguments[2] == "kernel-rt-core":
            return "".join(
                f"/lib/modules/{name}\n"
                for name in ("5.14.0-70.el9+rt/vmlinuz", f"{RT}/config", f"{RT}/vmlinuz")
            )
        return "(contains no files)\n"


@pytest.fixture
def host(tmp_path, monkeypatch):
    host = ElHost(tmp_path)
    for kind in ("boot", "boot_trial", grub_environment.SAVED):
        restore = undo.KINDS[kind]
        monkeypatch.setitem(
            undo.KINDS, kind, lambda change, root, restore=restore: restore(change, root, host.run)
        )
    return host


def test_entry_is_read(host):
    target = Bls(host.run, host.root).target(STOCK)

    assert target.image == f"/vmlinuz-{STOCK}"
    assert target.arguments[:2] == ("root=/dev/mapper/rl-root", "ro")
    assert target.variables == ("$tuned_params",)
    assert target.initrd == f"/initramfs-{STOCK}.img $tuned_initrd"
    assert Bls(host.run, host.root).target(f"0-rescue-{MACHINE}") is None


def test_real_time_kernel_is_tried_then_the_default_then_taken_back(host):
    options = {"run": host.run, "root": host.root}
    before = host.entry(STOCK), host.text("boot/grub2/grubenv")

    assert boot.pin(**options)
    host.add_kernel(RT)
    stock_rt = host.entry(RT)
    assert host.run(["grubby", "--default-kernel"]) == f"/boot/vmlinuz-{STOCK}\n", "pinned before it came"
    assert boot.try_once(REAL_TIME, panic_s=10, confirm_s=900, **options)
    chosen = host._environment()["next_entry"]
    custom = host.text("boot/grub2/custom.cfg")
    assert f"--id '{chosen}'" in custom
    assert f"if linux /vmlinuz-{RT} root=/dev/mapper/rl-root ro" in custom
    assert f"\tlinux /vmlinuz-{STOCK} root=/dev/mapper/rl-root ro" in custom

    host._write_environment({**host._environment(), "next_entry": ""})
    host.runs(RT, " ".join(ISOLATED))
    assert boot.confirm(REAL_TIME, **options)
    assert boot_look.look(REAL_TIME, **options).needed == "nothing"
    assert "quiet isolcpus=managed_irq,domain,1 nohz_full=1 $tuned_params\n" in host.entry(RT)
    assert host.entry(STOCK) == before[0], "the old kernel stays a way out"
    host.boot_default()
    assert boot_look.look(REAL_TIME, **options).needed == "nothing"

    assert boot_revert.revert(**options).reboot
    assert host.entry(RT) == stock_rt
    host.boot_default()
    assert host.text("proc/sys/kernel/osrelease").strip() == STOCK
    assert not boot_revert.revert(**options).reboot
    assert undo.undo("lowlatency_kernel", host.root)[1] == []
    assert (host.entry(STOCK), host.text("boot/grub2/grubenv")) == before
    assert sorted(path.name for path in (host.root / "etc/kernel").iterdir()) == ["there"]


def test_default_that_somebody_else_set_is_reported(host):
    options = {"run": host.run, "root": host.root}
    boot.pin(**options)
    host.add_kernel(RT)
    host.run(["grubby", f"--set-default=/boot/vmlinuz-{RT}"])

    assert Bls(host.run, host.root).stale() == f"its default is {RT}, not {STOCK}"


def test_newest_of_several_real_time_kernels_is_taken(host):
    assert boot_kernels.brought_by(("kernel-rt",), host.run, host.root) == RT


def test_trial_of_an_entry_keeps_what_grub_fills_in(host):
    menu = Bls(host.run, host.root)
    trial = Trial(menu.target(STOCK), menu.target(STOCK), (), ("a=1",), panic_s=5, confirm_s=60)

    assert "quiet a=1 panic=5 labkit.trial=" in trial.block()
    assert "labkit-trial.service $tuned_params; then" in trial.block()


def test_cores_that_tuned_isolates_over_its_variable_are_reported_by_its_name(host):
    """Its plugin bootloader keeps $tuned_params of every entry in grubenv."""
    host._write_environment({"tuned_params": "isolcpus=managed_irq,domain,2-3"})
    host.write("etc/tuned/active_profile", "realtime\n")
    host.write("etc/tuned/bootcmdline", 'TUNED_BOOT_CMDLINE="isolcpus=managed_irq,domain,2-3"\n')
    host.write("sys/devices/system/cpu/possible", "0-3\n")

    assert Bls(host.run, host.root).default().line((), ())[-1] == "isolcpus=managed_irq,domain,2-3"
    with pytest.raises(
        boot_look.BootRefused, match=r"tuned \(not running, profile realtime\) puts isolcpus="
    ) as output:
        boot_look.look(Wanted(arguments=ISOLATED), run=host.run, root=host.root)
    assert "isolcpus=managed_irq,domain,2-3 is there beside isolcpus=managed_irq,domain,1" in str(
        output.value
    )
    [problem] = preflight_boot.problems({"cpu_isolation_cpus": "1"}, host.root, host.run)
    assert "profile realtime) puts isolcpus=managed_irq,domain,2-3 there (/etc/tuned/bootcmdline)" in problem
    assert list(preflight_boot.problems({"cpu_isolation_cpus": "2-3"}, host.root, host.run)) == []


def test_later_list_of_tuneds_that_the_kernel_would_take_is_reported(host):
    """Its variable stands behind our arguments."""
    host._write_environment({"tuned_params": "rcu_nocbs=2-3"})
    host.write("etc/tuned/bootcmdline", 'TUNED_BOOT_CMDLINE="rcu_nocbs=2-3"\n')

    with pytest.raises(
        boot_look.BootRefused, match=r"rcu_nocbs=1 is there, but rcu_nocbs=2-3 comes later and counts"
    ):
        boot_look.look(Wanted(arguments=("rcu_nocbs=1",)), run=host.run, root=host.root)
    [problem] = preflight_boot.problems({"cpu_isolation_cpus": "1"}, host.root, host.run)
    assert "rcu_nocbs=1 is there, but rcu_nocbs=2-3 comes later and counts" in problem


@pytest.mark.parametrize(
    ("default", "saved", "starts"),
    [
        ("${saved_entry}", f"{MACHINE}-{STOCK}", STOCK),
        ("${saved_entry}", f"{MACHINE}-{RT}", RT),
        ("${saved_entry}", "", RT),
        ("${saved_entry}", "1", STOCK),
        ("${saved_entry}", f"Rocky Linux ({STOCK}) 9.4 (Blue Onyx)", STOCK),
        ("1", f"{MACHINE}-{RT}", STOCK),
        ("1 ", f"{MACHINE}-{STOCK}", RT),
        ("0", f"{MACHINE}-{STOCK}", RT),
    ],
)
def test_entry_that_grub_starts_is_distinguished_from_grubbys_default(host, default, saved, starts):
    """grubby asks saved_entry alone, also where GRUB_DEFAULT says otherwise; a number must be all that there is."""
    host.add_kernel(RT)
    host.write("boot/grub2/grub.cfg", MENU.replace("${saved_entry}", default))
    host._write_environment({"saved_entry": saved} if saved else {})
    menu = Bls(host.run, host.root)

    assert menu._started() == starts
    refusal = menu.refusal() or ""
    assert ("grubby's default is" in refusal) == (menu.default() is None or menu.default().release != starts)


def test_entry_that_came_out_otherwise_than_it_was_tried_is_reverted(host):
    wanted = Wanted(arguments=ISOLATED)
    boot.try_once(wanted, panic_s=5, confirm_s=60, run=host.run, root=host.root)
    line = host.text("boot/grub2/custom.cfg").partition("if linux ")[2].partition("; then")[0]
    host.runs(STOCK, "")
    host.write("proc/cmdline", f"BOOT_IMAGE=(hd0,gpt2){line.replace(' $tuned_params', '')}\n")
    host.write("sys/devices/system/cpu/isolated", "1\n")
    # Somebody adds an argument meanwhile.
    host.write(
        f"boot/loader/entries/{MACHINE}-{STOCK}.conf",
        host.entry(STOCK).replace(" quiet", " quiet mitigations=off"),
    )
    before = host.entry(STOCK)

    with pytest.raises(boot.TrialFailed, match="it would have mitigations=off, and what was tried had none"):
        boot.confirm(wanted, run=host.run, root=host.root)

    assert host.entry(STOCK) == before
    assert not (host.root / "etc/kernel/labkit-arguments").exists()
    assert not (host.root / "boot/grub2/custom.cfg").exists()
