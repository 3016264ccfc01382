"""How far a host is from the kernel and the command line that are wanted. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from . import boot_kernels, boot_line, boot_trial
from .boot_arguments import faults, missing, not_isolated, replaced
from .boot_commands import Run, run
from .boot_loaders import Loader, NoLoader, loader
from .boot_target import Target


class BootRefused(Exception):
    """It can't be done here, and nothing was changed; the message has the way out."""


@dataclass(frozen=True)
class Wanted:
    """What a host shall run."""

    arguments: tuple[str, ...] = ()
    flavour: str = "generic"
    preempt: str = ""
    """Empty: whatever there is."""
    release: str = ""
    """Empty: that of `packages`, or else of the default entry."""
    packages: tuple[str, ...] = ()
    """Packages that brought the kernel."""

    @property
    def anything(self) -> bool:
        """Whether it asks for something."""
        return bool(self.arguments or self.flavour != "generic" or self.preempt or self.release)


@dataclass(frozen=True)
class Found:
    """How far a host is from that."""

    needed: str
    """nothing; confirm: it runs, and is not yet the default; trial."""
    reasons: list[str] = field(default_factory=list)
    release: str = ""
    """Kernel that is, or would be, tried."""
    running: str = ""


def asked_release(wanted: Wanted, run: Run, root: Path) -> str:
    """Kernel that is asked for; empty: any."""
    if wanted.release or not wanted.packages:
        return wanted.release
    return boot_kernels.brought_by(wanted.packages, run, root) or ""


def look(wanted: Wanted, *, expected: bool = True, run: Run = run, root: Path = Path("/")) -> Found:
    """Compare. Raises BootRefused for what can't be.

    `expected`: whether the packages are installed by now (in check mode they are not).
    """
    wrong = faults(wanted.arguments)
    if wrong:
        raise BootRefused("; ".join(wrong))
    now = boot_kernels.running(root)
    release = asked_release(wanted, run, root)
    if wanted.packages and not release and expected:
        raise BootRefused(
            f"No kernel came with {', '.join(wanted.packages)}: name it with lowlatency_kernel_release (installed are "
            f"{', '.join(boot_kernels.installed(root)) or 'none'})"
        )
    reasons = _not_running(wanted, release, now)
    try:
        menu = loader(run, root)
    except NoLoader as error:
        if reasons:
            raise BootRefused(f"{'; '.join(reasons)}. {error}") from error
        return Found("nothing", running=now.release)
    other = _other_trial(menu, wanted, release, now)
    if not (wanted.anything or menu.ours() or boot_trial.waiting(root) or other):
        return Found("nothing", running=now.release)
    reasons += other
    reasons += [f"{word} is still there" for word in _dropped(menu, wanted) if word in now.arguments]
    to_come = not release or (not expected and menu.target(release) is None)
    if wanted.packages and to_come:
        return Found("trial", reasons or ["its kernel is not installed yet"], running=now.release)
    target = to_try(menu, release)
    if lost := boot_line.lost(target, menu.ours(), wanted.arguments, root):
        raise BootRefused(lost)
    if reasons:
        unfit = boot_kernels.unfit(target.release, flavour=wanted.flavour, preempt=wanted.preempt, root=root)
        cannot = unfit or menu.refusal() or no_systemd(root)
        cannot = cannot or menu.overruled(pin=release or None, arguments=wanted.arguments, tried=target)
        if cannot:
            raise BootRefused(cannot)
        return Found("trial", reasons, target.release, now.release)
    late = not_default(menu, wanted, release)
    if boot_trial.waiting(root):
        late.append("files of a trial are left")
    return Found("confirm" if late else "nothing", late, target.release, now.release)


def _not_running(wanted: Wanted, release: str, now: boot_kernels.Running) -> list[str]:
    reasons = boot_kernels.not_running(now, release=release, flavour=wanted.flavour, preempt=wanted.preempt)
    there = missing(wanted.arguments, boot_trial.without(now.arguments), now.last)
    return reasons + (there or not_isolated(wanted.arguments, now.isolated, now.last))


def _other_trial(menu: Loader, wanted: Wanted, release: str, now: boot_kernels.Running) -> list[str]:
    """Why this boot, which is the trial of something else, will not do."""
    if now.trial() not in (None, boot_trial.name(now.release, wanted.arguments)):
        return ["this boot is the trial of other arguments"]
    if not now.trial() or release or not boot_trial.waiting(menu.root):
        return []
    default = menu.default()
    unasked = default is not None and default.release != now.release
    return [f"kernel {now.release} runs as a trial that nobody requested"] if unasked else []


def _dropped(menu: Loader, wanted: Wanted) -> list[str]:
    """Arguments of ours that are wanted no more, and come from nobody else."""
    ours = menu.ours()
    default = menu.default()
    left = replaced(default.arguments, ours, wanted.arguments) if default else wanted.arguments
    return [word for word in ours if word not in left]


def to_try(menu: Loader, release: str) -> Target:
    """What is tried. Raises BootRefused."""
    target = menu.target(release) if release else menu.default()
    if target is None:
        raise BootRefused(
            f"Kernel {release} is not in GRUB's menu: install it, or name another (installed are "
            f"{', '.join(boot_kernels.installed(menu.root)) or 'none'})"
            if release
            else "GRUB's default is no Linux kernel: set GRUB_DEFAULT in /etc/default/grub to one"
        )
    return target


def not_default(menu: Loader, wanted: Wanted, release: str) -> list[str]:
    """Why the next boot would not be like this one."""
    default = menu.default()
    if default is None:
        return ["GRUB's default is no Linux kernel"]
    reasons = missing(wanted.arguments, default.line((), ()), boot_kernels.last_core(menu.root))
    if release and default.release != release:
        reasons.append(f"the default is kernel {default.release}")
    if menu.ours() and menu.ours() != list(wanted.arguments):
        reasons.append(f"our file has {' '.join(menu.ours())}")
    stale = menu.stale()
    return [*reasons, f"grub.cfg is stale: {stale}"] if stale else reasons


def no_systemd(root: Path) -> str | None:
    """Why nobody would end a trial that is not reached; None: systemd would."""
    if (root / "run/systemd/system").is_dir():
        return None
    return (
        "PID 1 is not systemd, so nothing would bring this host back from a kernel that boots without its network: "
        "set kernel and arguments by hand"
    )
