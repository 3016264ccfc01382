"""What this machine lacks for a datapath or a measurement, each with the command that fixes it."""

from __future__ import annotations

from collections.abc import Sequence

from labkit.lab.topology import LinkKind, Tier
from labkit.session.datapaths import Datapath
from labkit.testers.probe import AF_XDP_TESTER


def lacking(
    datapath: Datapath, *, tester_engine: str | None = None, tester_option: str = "--labkit-tester"
) -> tuple[str, ...]:
    """What this machine lacks for a datapath. Empty: it can run. `tester_option`: what chose the engine."""
    lab_file, engine = datapath.topology, tester_engine
    if lab_file.tier is Tier.SIMULATED:
        return ()
    checks = ["cores", *datapath.mode.requires]
    if lab_file.links[0].kind is LinkKind.VETH:
        if engine == "af_xdp" and not lacking_checks(checks, lab_file.mtu_bytes):
            # The path itself can run: what prevents it is the engine that was asked for.
            return tuple(
                f"the tester engine af_xdp was asked for: {reason.partition(' (fix: ')[0]} "
                f"(fix: leave {tester_option} out)"
                for reason in lacking_checks(AF_XDP_TESTER, lab_file.mtu_bytes)
            )
        if engine == "af_packet" and datapath.backend.name == "xdp":
            return (
                "the xdp backend on veth needs a tester with an XDP program of its own, which the engine "
                f"af_packet does not have (fix: leave {tester_option} out)",
            )
    return lacking_checks(checks, lab_file.mtu_bytes)


def lacking_checks(checks: Sequence[str], mtu_bytes: int = 1500) -> tuple[str, ...]:
    """Which of these doctor checks fail on links of this MTU; checks with the same cause are reported together."""
    from labkit import doctor

    found: dict[str, list[str]] = {}
    for finding in doctor.run(checks, mtu_bytes=mtu_bytes) if checks else ():
        if not finding.ok:
            why = f"{finding.error or finding.detail} (fix: {finding.fix or 'none known'})"
            found.setdefault(why, []).append(finding.id)
    return tuple(f"{', '.join(ids)}: {why}" for why, ids in found.items())
