"""What the kernel runs with, and what it boots next."""

from __future__ import annotations

from labkit.doctor.host.desired import Desired

from .ways import FOLDER, Fault, cover, covered, uncover

_VERSION, _REALTIME = "/proc/sys/kernel/version", "/sys/kernel/realtime"
_PREEMPT = "/sys/kernel/debug/sched/preempt"
_MODES = ("none", "voluntary", "full", "lazy")


def _another_kernel(desired: Desired) -> str:
    return "; ".join(
        (
            cover(_VERSION, "#1 SMP PREEMPT_DYNAMIC labkit-fault"),
            cover(_REALTIME, "0"),
            cover(_PREEMPT, "none (voluntary) full"),
        )
    )


def _one_valuechanged(desired: Desired) -> str:
    first, *rest = desired["boot_arguments"]
    return " ".join([f"{first.partition('=')[0]}=labkit-fault", *rest])


_GRUBENV = "$(ls -d /boot/grub /boot/grub2 2>/dev/null | head -n 1)/grubenv"
_EDITENV = "$(command -v grub-editenv || command -v grub2-editenv) -"

KERNEL = (
    Fault(
        check="lowlatency_kernel.flavour",
        inject=_another_kernel,
        revert=lambda desired: "; ".join(map(uncover, (_VERSION, _REALTIME, _PREEMPT))),
        also=("lowlatency_kernel.preempt",),
    ),
    Fault(
        check="lowlatency_kernel.preempt",
        wants=lambda desired: {
            "lowlatency_kernel_preempt": "none"
            if desired.text("lowlatency_kernel_preempt") != "none"
            else "full"
        },
    ),
    Fault(
        check="lowlatency_kernel.release",
        wants=lambda desired: {"lowlatency_kernel_release": "0.0-labkit-fault"},
    ),
    covered("boot.arguments", "/proc/cmdline", _one_valuechanged),
    covered("boot.arguments", "/proc/cmdline", lambda desired: " ".join(desired["boot_arguments"][1:])),
    Fault(
        check="boot.default",
        # grub-editenv creates a missing file, which the revert removes.
        inject=lambda desired: (
            f"mkdir -p {FOLDER}; test -e {_GRUBENV} || touch {FOLDER}/no-grubenv; "
            f"{_EDITENV} set next_entry=labkit-fault"
        ),
        revert=lambda desired: (
            f"{_EDITENV} unset next_entry; "
            f"if test -e {FOLDER}/no-grubenv; then rm {_GRUBENV} {FOLDER}/no-grubenv; fi"
        ),
    ),
)
