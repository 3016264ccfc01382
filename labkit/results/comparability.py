"""Whether two runs are comparable: of one host and of the same labs; and what else differs between them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import cast

from labkit.errors import ConfigInvalid
from labkit.record.provenance import Environment
from labkit.record.run import Run
from labkit.results.flavour import COMMAND_LINE, tuning


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


def same_host(was: Environment, now: Environment) -> None:
    """Raise ConfigInvalid where a fact that both runs have shows that they are of two machines."""
    differing = [
        f"{what}: {then} and {later}"
        for (what, then), (_, later) in zip(_identity(was), _identity(now), strict=True)
        if then and later and then != later
    ]
    for name in was.hosts.keys() & now.hosts.keys():
        then, later = (cast("Mapping[str, object]", env.hosts[name]).get("host") for env in (was, now))
        if then and later and then != later:
            differing.append(f"{name}: machine id {then} and {later}")
    if differing:
        raise ConfigInvalid(
            f"the runs are of two hosts: {'; '.join(differing)}",
            hint="compare runs of one host (labkit report FOLDER shows a run's machine)",
        )


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


def kernel_facts(env: Environment) -> list[tuple[str, str]]:
    """What a boot chooses."""
    named = {"kernel", COMMAND_LINE, "isolated cores", "nohz_full", "real-time throttling"}
    return [
        *((what, value) for what, value in tuning(env) if what in named),
        ("build", env.kernel.version),
        ("ticks a second", str(env.kernel.hz or "not known")),
    ]


def other_facts(run: Run, env: Environment) -> list[tuple[str, str]]:
    """What ought to be the same in both runs."""
    named = {"clock source", "idle driver", "frequency governor"}
    labs = ", ".join(sorted(f"{t.name} {t.sha256[:12]}" for t in env.topologies))
    return [
        *((what, value) for what, value in tuning(env) if what in named),
        ("cores online", env.cpu.online or "not known"),
        ("microcode", env.cpu.microcode or "not known"),
        ("mitigations", "; ".join(f"{k}: {v}" for k, v in sorted(env.cpu.mitigations.items()))),
        ("memory", f"{(env.memory.total_bytes or 0) / 2**30:.1f} GiB"),
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
    """The machine in a few words."""
    guest = {True: ", a virtual machine", False: "", None: ""}[env.virtualisation.guest]
    return f"{env.cpu.model or 'CPU unknown'}, {env.cpu.online_count or '?'} cores online{guest}"
