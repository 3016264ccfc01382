"""The key `commands` of a topology file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from labkit.errors import Mistakes
from labkit.lab.commands import (
    ANSWERS,
    NAMES,
    PROGRAM,
    PROOFS,
    READY_WITHIN_S,
    Answers,
    Command,
    Ready,
    variables,
)
from labkit.lab.topology import Link, LinkKind, Tier
from labkit.units import Unit, parse_quantity
from labkit.yamlfile import Node, suggest

BACKEND = "command"
"""What measures them."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,19}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DEFAULT_PROOF: dict[Answers, str] = {
    "udp": "udp_socket",
    "tcp": "tcp_socket",
    "frames": "packet_socket",
}
_LONGEST_S = 600.0


@dataclass(frozen=True, slots=True)
class Base:
    """Where a path of a program begins."""

    folder: Path
    here: bool
    """The DUT is on this machine; else only absolute paths are taken."""
    checked: bool
    """Whether a program must be there: of a lab that is up it may have gone."""


def read_commands(
    node: Node, links: Sequence[Link], tier: Tier | None, base: Base, mistakes: Mistakes
) -> tuple[Command, ...]:
    """The programs, in the order of the file. Wrong keys are noted in `mistakes`; raises ConfigInvalid."""
    if tier is Tier.SIMULATED:
        node.fail("a simulated lab runs no program", hint="remove the key")
    if not isinstance(node.value, dict) or not node.value:
        node.fail("expected a mapping of names to programs", hint="such as echo: {argv: [./echo]}")
    found = []
    for name, entry in node.value.items():
        with mistakes.noted():
            if not _NAME.fullmatch(name):
                entry.fail(f"expected a name of up to 20 of a-z, 0-9 and _, got {name!r}")
            found.append(_command(name, entry, links, base, mistakes))
    return tuple(found)


def _command(name: str, node: Node, links: Sequence[Link], base: Base, mistakes: Mistakes) -> Command:
    keys = node.mapping(
        required=("argv",),
        optional=("wrapper", "onload", "preload", "environment", "answers", "ready", "proof"),
    )
    found: dict[str, Any] = {"argv": ()}
    answers: Answers = "udp"
    with mistakes.noted():
        found["argv"] = _argv(keys["argv"], base)
    with mistakes.noted():
        if "wrapper" in keys:
            found["wrapper"] = _argv(keys["wrapper"], base)
    with mistakes.noted():
        if "preload" in keys:
            found["preload"] = _library(keys["preload"], base)
            if "proof" not in keys:
                keys["preload"].fail(
                    "a library that is loaded first may take another path than the kernel's, so say what proves it",
                    hint="proof: udp_socket (tcp_socket) where it is the kernel's all the same, else your own command",
                )
    with mistakes.noted():
        if "environment" in keys:
            found["environment"] = _environment(keys["environment"])
    with mistakes.noted():
        if "answers" in keys:
            (answers,) = (one for one in ANSWERS if one == keys["answers"].one_of(ANSWERS))
        _check_answers(answers, keys.get("answers", node), links)
    with mistakes.noted():
        if "ready" in keys:
            found["ready"] = _ready(keys["ready"])
    with mistakes.noted():
        if "onload" in keys and keys["onload"].boolean():
            _check_onload(keys, answers, links)
            found["onload"] = True
    proof: dict[str, Any] = {"proof": "onload" if found.get("onload") else _DEFAULT_PROOF[answers]}
    with mistakes.noted():
        if "proof" in keys:
            proof = _proof(keys["proof"], base)
            if proof["proof"] and (proof["proof"] == "onload") != bool(found.get("onload")):
                keys["proof"].fail(
                    f"{proof['proof']} proves nothing of a program that "
                    f"{'runs under Onload' if found.get('onload') else 'does not run under Onload (onload: true)'}",
                    hint="leave proof out, or give a command of your own",
                )
        if proof["proof"] and any(not link.kind.has_interfaces for link in links):
            keys.get("proof", node).fail(
                f"{proof['proof']} is read back of interfaces, and the lab has none",
                hint="a list: a command of your own that ends with 0 where it is proven",
            )
    directory = str(base.folder.resolve()) if base.here else "/"
    return Command(name=name, directory=directory, answers=answers, **found, **proof)


def _check_onload(keys: Mapping[str, Node], answers: Answers, links: Sequence[Link]) -> None:
    if answers == "frames":
        keys["onload"].fail("Onload carries UDP and TCP, not frames", hint="answers: udp, or tcp")
    if "preload" in keys:
        keys["preload"].fail(
            "a program under Onload has Onload's library first", hint="remove one of the two"
        )
    if any(link.kind is not LinkKind.NIC for link in links):
        keys["onload"].fail(
            "Onload never lets go of an interface, so it can have none that goes with its lab",
            hint="a lab with links of kind nic",
        )


def _check_answers(answers: Answers, node: Node, links: Sequence[Link]) -> None:
    if answers != "frames" and (len(links) > 1 or any(not link.kind.has_interfaces for link in links)):
        node.fail(
            f"a program that answers {answers.upper()} needs one link with interfaces",
            hint="answers: frames, for one that moves frames itself",
        )


def _argv(node: Node, base: Base, *, known: Sequence[str] = NAMES) -> tuple[str, ...]:
    items = list(node.items())
    if not items:
        node.fail("expected a program and its arguments, got an empty list")
    words = [_program(items[0], base)]
    for item in items[1:]:
        if not isinstance(item.value, str):
            item.fail("expected a word of a command line")
        words.append(item.value)
    for item, text in zip(items, words, strict=True):
        _check_variables(item, text, known)
    return tuple(words)


def _check_variables(node: Node, text: str, known: Sequence[str]) -> None:
    for name in variables(text):
        if name not in known:
            node.fail(f"unknown variable ${name}", hint=suggest(name, known))


def _program(node: Node, base: Base) -> str:
    """A name that PATH finds, or a path: one that begins at the file becomes absolute."""
    text = node.text()
    if "/" not in text or text.startswith("/"):
        return text
    if not base.here:
        node.fail(
            f"expected an absolute path, got {text!r}: the program is on another host",
            hint="copy it there first, and name where it is",
        )
    path = (base.folder / text).resolve()
    if base.checked and not path.is_file():
        node.fail(f"no such file: {path}", hint="a path is relative to the topology file")
    return str(path)


def _library(node: Node, base: Base) -> str:
    """A path that ld.so takes as one: it looks for a name, and splits at blanks and colons."""
    text = node.text()
    if re.search(r"[\s:]", text) or "/" not in text:
        node.fail(f"expected the path of one library, without blanks and colons, got {text!r}")
    path = _program(node, base)
    if base.here and base.checked and not Path(path).is_file():
        node.fail(f"no such file: {path}", hint="ld.so would go on without it")
    return path


def _environment(node: Node) -> dict[str, str]:
    if not isinstance(node.value, dict):
        node.fail('expected a mapping of variables, such as {EF_POLL_USEC: "100000"}')
    found = {}
    for name, value in node.value.items():
        if not _VARIABLE.fullmatch(name):
            value.fail(f"expected the name of a variable, got {name!r}")
        if name.startswith("LABKIT_"):
            value.fail(f"{name}: labkit itself sets these", hint="choose another name")
        if name == "LD_PRELOAD":
            value.fail("a library that is loaded first has a key of its own", hint="preload: PATH")
        if not isinstance(value.value, str):
            value.fail("expected text")
        _check_variables(value, value.value, NAMES)
        found[name] = value.value
    return found


def _ready(node: Node) -> Ready:
    keys = node.mapping(required=(), optional=("prints", "after", "within"))
    if "prints" in keys and "after" in keys:
        node.fail("expected prints or after, got both", hint="remove one")
    after_s = _seconds(keys["after"]) if "after" in keys else None
    within_s = _seconds(keys["within"]) if "within" in keys else READY_WITHIN_S
    return Ready(
        prints=keys["prints"].text() if "prints" in keys else "",
        after_s=after_s,
        within_s=max(within_s, (after_s or 0.0) + 1.0),
    )


def _seconds(node: Node) -> float:
    seconds = parse_quantity(node.text(), Unit.SECONDS)
    if not 0 < seconds <= _LONGEST_S:
        node.fail(f"expected more than 0 s and up to {_LONGEST_S:g} s, got {node.value!r}")
    return seconds


def _proof(node: Node, base: Base) -> dict[str, Any]:
    if isinstance(node.value, list):
        return {"proof": "", "proof_argv": _argv(node, base, known=(*NAMES, PROGRAM))}
    text = node.text()
    if text not in PROOFS:
        node.fail(
            f"expected one of {', '.join(PROOFS)}, or a list: a command that ends with 0 where it is proven; "
            f"got {text!r}",
            hint=suggest(text, PROOFS),
        )
    return {"proof": text}


def missing(node: Node) -> NoReturn:
    """Refuse a lab whose backends have `command`, and that names no program."""
    node.fail(
        f"the backend {BACKEND} needs the key commands", hint="such as commands: {echo: {argv: [./echo]}}"
    )


def needless(node: Node) -> NoReturn:
    """Refuse programs that no backend measures."""
    node.fail(
        f"only the backend {BACKEND} measures them", hint=f"add {BACKEND} to backends, or remove the key"
    )
