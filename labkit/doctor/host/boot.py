"""Host checks of the role boot: kernel arguments in effect, and the same kernel at the next boot."""

from __future__ import annotations

import re

from labkit.doctor.host.desired import Desired
from labkit.doctor.host.model import Failed, HostCheck, NotApplicable, Outcome, Passed
from labkit.doctor.host.reader import HostFacts, HostReader
from labkit.errors import ToolFailed
from labkit.machine.roles import host_module

_OURS = "/etc/default/grub.d/90-labkit.cfg"
"""Where the role keeps the arguments that it set on a host with GRUB's own menu."""
_POSSIBLE = "/sys/devices/system/cpu/possible"
_TUNED = ("/etc/tuned/active_profile", "/etc/tuned/bootcmdline")
_COMMANDS = {
    "release": "uname -r",
    "menu": "cat /boot/grub/grub.cfg",
    "custom": "cat /boot/grub/custom.cfg 2>/dev/null || true",
    # Read as text: grub-editenv would create a missing file.
    "environment": "grep -hs '^[A-Za-z_]*=' /boot/grub/grubenv /boot/grub2/grubenv || true",
    "grubby": "command -v grubby >/dev/null && grubby --info=DEFAULT",  # EL: entries are not in grub.cfg
}


def arguments(desired: Desired) -> list[str]:
    """All that are configured, in order, as the role joins them."""
    return [str(word) for word in desired["boot_arguments"]]


def _facts(reader: HostReader) -> HostFacts:
    return reader.look(files=("/proc/cmdline", _OURS, _POSSIBLE, *_TUNED), commands=_COMMANDS)


def _missing(facts: HostFacts, wanted: list[str], words: list[str]) -> list[str]:
    """Why these are not in effect on a command line, as the kernel of that host reads it."""
    last = facts.read(_POSSIBLE, host_module("kernel_words").last_of)
    reasons = list(host_module("boot_arguments").missing(wanted, words, last))
    profile, boot = (facts.text(path) or "" for path in _TUNED)
    theirs = set(host_module("tuned").arguments(boot))
    named = [word for reason in reasons for word in reason.split() if word in theirs and word not in wanted]
    if named:
        reasons.append(f"tuned (profile {profile.strip() or 'none'}) gives {' '.join(dict.fromkeys(named))}")
    return reasons


def _arguments(reader: HostReader, desired: Desired) -> Outcome:
    wanted, facts = arguments(desired), _facts(reader)
    present = host_module("kernel_words").words(facts.text("/proc/cmdline") or "")
    ours = re.findall(r'^GRUB_CMDLINE_LINUX_DEFAULT=".* (\S+)"$', facts.text(_OURS) or "", re.MULTILINE)
    reasons = _missing(facts, wanted, present)
    reasons += [f"{word} is left over" for word in ours if word in present and word not in wanted]
    if reasons:
        return Failed(" ".join(wanted) or "no argument set by the roles", "; ".join(reasons))
    return Passed(" ".join(present)) if wanted else NotApplicable("no kernel argument is configured")


def _default(reader: HostReader, desired: Desired) -> Outcome:
    wanted = arguments(desired)
    if (
        not wanted
        and desired["lowlatency_kernel_flavour"] == "generic"
        and not desired["lowlatency_kernel_release"]
    ):
        return NotApplicable("no other kernel and no kernel argument is configured")
    facts = _facts(reader)
    running = facts.commands["release"].out
    environment = dict(
        line.split("=", 1) for line in facts.commands["environment"].out.splitlines() if "=" in line
    )
    if once := environment.get("next_entry"):
        return Failed(f"the next boot starts {running}", f"it starts {once}, once only")
    found = _next(facts, environment)
    if found is None:
        return Failed(f"the next boot starts {running}", "no default boot entry")
    release, words = found
    if release != running:
        return Failed(f"the next boot starts {running}", f"it starts {release}")
    if reasons := _missing(facts, wanted, words):
        return Failed(f"the next boot has {' '.join(wanted)}", "; ".join(reasons))
    return Passed(f"the next boot starts {release} {' '.join(words)}")


def _next(facts: HostFacts, environment: dict[str, str]) -> tuple[str, list[str]] | None:
    """Release and arguments of the default boot entry."""
    if facts.commands["grubby"].code == 0:
        default = dict(re.findall(r'^(kernel|args)="(.*)"$', facts.commands["grubby"].out, re.MULTILINE))
        return default.get("kernel", "").partition("vmlinuz-")[2], host_module("kernel_words").words(
            default.get("args", "")
        )
    text = host_module("grub_menu").with_custom(facts.commands["menu"].out, facts.commands["custom"].out)
    menu = host_module("grub_menu").read(text)
    if doubt := menu.doubt(environment):
        raise ToolFailed(f"/boot/grub/grub.cfg: {doubt}", hint="set GRUB_DEFAULT to the id of an entry")
    entry = menu.chosen(environment)
    if entry is None:
        return None
    return entry.release, menu.line(entry, environment)


HOST_CHECKS = (
    HostCheck(
        id="boot.arguments",
        text="every kernel argument is in effect, with its value and in order",
        check=_arguments,
    ),
    HostCheck(
        id="boot.default",
        text="the next boot starts the running kernel with the same arguments",
        check=_default,
    ),
)
