"""Whether two runs are comparable: of one host and of the same labs; and what else differs between them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable

from labkit.errors import ConfigInvalid
from labkit.record.codec import CodecError, decode
from labkit.record.provenance import Environment
from labkit.record.run import Run
from labkit.results.comparison import Changed
from labkit.results.flavour import COMMAND_LINE, describe, tuning

HERE = "here"
"""The machine that labkit ran on, as topologies have it: no other host can be called so."""


def environment(run: Run, name: str) -> Environment:
    """The run's record of its machine. Raises ConfigInvalid where there is none; `name` (A, B) is for the message."""
    if run.environment is None:
        raise ConfigInvalid(
            f"run {name} ({run.start.id}) has no record of its machine: whether the runs are comparable is not known",
            hint="it was killed before it had measured anything; run it again",
        )
    return run.environment


def _identity(env: Environment) -> list[tuple[str, str]]:
    """What makes a host the same one. Cores online and memory may change with a command line."""
    return [
        ("machine id (hashed)", env.host or ""),
        ("architecture", env.kernel.machine),
        ("CPU", env.cpu.model or ""),
        ("CPU family/model/stepping", env.cpu.family_model_stepping or ""),
        ("sockets", str(env.cpu.sockets or "")),
        ("virtual machine", str(env.virtualisation.guest)),
        ("hypervisor", env.virtualisation.hypervisor or ""),
    ]


def machines(env: Environment) -> dict[str, Environment]:
    """The machines that took part, by what their facts are called after; "" is the only one.

    Raises ConfigInvalid where the record of one can't be read.
    """
    if not env.hosts:
        return {"": env}
    try:
        others = {name: decode(Environment, one, name) for name, one in sorted(env.hosts.items())}
    except CodecError as error:
        raise ConfigInvalid(
            f"the record of a machine cannot be read: {error}", hint="measure again with this labkit"
        ) from None
    return {HERE: env, **others}


def same_host(was: Environment, now: Environment) -> None:
    """Raise ConfigInvalid where a fact that both runs have shows that a machine of theirs is another one."""
    differing = []
    for name, one, other in in_both(was, now):
        differing += [
            f"{_of(name, what)}: {then} and {later}"
            for (what, then), (_, later) in zip(_identity(one), _identity(other), strict=True)
            if then and later and then != later
        ]
    if differing:
        raise ConfigInvalid(
            f"the runs are of two hosts: {'; '.join(differing)}",
            hint="compare runs of one host (labkit report FOLDER shows a run's machine)",
        )


def in_both(was: Environment, now: Environment) -> list[tuple[str, Environment, Environment]]:
    """The machines that took part in both runs: name, and records. The one that labkit ran on is always compared."""
    then, later = machines(was), machines(now)
    if not (was.hosts and now.hosts):
        return [("", was, now)]
    return [(name, then[name], later[name]) for name in then if name in later]


def in_one(was: Environment, now: Environment) -> list[str]:
    """The other machines that took part in one of the runs only."""
    return sorted(was.hosts.keys() ^ now.hosts.keys())


def _of(machine: str, what: str) -> str:
    return f"{machine}: {what}" if machine else what


def same_labs(was: Environment, now: Environment) -> None:
    """Raise ConfigInvalid where a lab of one name is of another tier in the other run."""
    tiers = {t.name: t.tier for t in was.topologies}
    for lab in now.topologies:
        if tiers.get(lab.name, lab.tier) != lab.tier:
            raise ConfigInvalid(
                f"topology {lab.name} is of tier {tiers[lab.name]} in A and of tier {lab.tier} in B: "
                "their figures are not comparable",
                hint="measure both with one topology file",
            )


def kernel_changes(was: Environment, now: Environment) -> tuple[Changed, ...]:
    """What a boot chooses, where it differs."""
    return _changes(
        (name, _kernel_facts(one), _kernel_facts(other)) for name, one, other in in_both(was, now)
    )


def other_changes(a: Run, was: Environment, b: Run, now: Environment) -> tuple[Changed, ...]:
    """What ought to be the same in both runs, where it differs."""
    of_machines = (
        (name, _machine_facts(one), _machine_facts(other)) for name, one, other in in_both(was, now)
    )
    return _changes([*of_machines, ("", _run_facts(a, was), _run_facts(b, now))])


Facts = list[tuple[str, str]]


def _changes(facts: Iterable[tuple[str, Facts, Facts]]) -> tuple[Changed, ...]:
    return tuple(
        Changed(what=_of(machine, what), a=then, b=later)
        for machine, was, now in facts
        for (what, then), (_, later) in zip(was, now, strict=True)
        if then != later
    )


def _kernel_facts(env: Environment) -> Facts:
    named = {"kernel", COMMAND_LINE, "isolated cores", "nohz_full", "real-time throttling"}
    return [
        *((what, value) for what, value in tuning(env) if what in named),
        ("build", env.kernel.version),
        ("ticks a second", str(env.kernel.hz or "not known")),
    ]


def _machine_facts(env: Environment) -> Facts:
    named = {"clock source", "idle driver", "frequency governor"}
    return [
        *((what, value) for what, value in tuning(env) if what in named),
        ("cores online", env.cpu.online or "not known"),
        ("microcode", env.cpu.microcode or "not known"),
        ("mitigations", "; ".join(f"{k}: {v}" for k, v in sorted(env.cpu.mitigations.items()))),
        ("memory", f"{(env.memory.total_bytes or 0) / 2**30:.1f} GiB"),
    ]


def _run_facts(run: Run, env: Environment) -> Facts:
    labs = ", ".join(sorted(f"{t.name} {t.sha256[:12]}" for t in env.topologies))
    return [
        ("labkit", f"{env.labkit} {(env.source.commit or '')[:12]}".strip()),
        ("quick run", "yes" if run.start.quick else "no"),
        ("durations and search", _plan(env)),
        ("lab files", labs),
    ]


def _plan(env: Environment) -> str:
    """The plan's name, and a digest of all of it, so that two of one name can differ: results.json has the figures."""
    if not env.parameters:
        return "not known"
    digest = hashlib.sha256(json.dumps(env.parameters, sort_keys=True, default=str).encode()).hexdigest()
    return f"{env.parameters.get('name', 'unnamed')} (sha256 {digest[:12]})"


def host_words(env: Environment) -> str:
    """The machines in a few words."""
    return _each(env, _host_words)


def kernel_words(env: Environment) -> str:
    """Their kernels in a few words."""
    return _each(env, lambda one: describe(one.kernel))


def _each(env: Environment, words: Callable[[Environment], str]) -> str:
    return "; ".join(_of(name, words(one)) for name, one in machines(env).items())


def _host_words(env: Environment) -> str:
    guest = {True: ", a virtual machine", False: "", None: ""}[env.virtualisation.guest]
    return f"{env.cpu.model or 'CPU unknown'}, {env.cpu.online_count or '?'} cores online{guest}"
