"""What a machine lacks for a datapath or a measurement, each with the command that fixes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from labkit.errors import ConfigInvalid, EnvironmentBroken
from labkit.lab.topology import PROBE, ROLES, LinkKind, Role, Tier, Topology
from labkit.session.datapaths import Datapath
from labkit.testers.frames import FrameSpec
from labkit.testers.probe import AF_XDP_TESTER, DPDK_TESTER, XDP_TESTER
from labkit.testers.trex.environment import client_python
from labkit.testers.trex.server import directory
from labkit.testers.trex.streams import LATENCY_STREAMS_MAX

Check = Callable[[Role, Sequence[str]], tuple[str, ...]]
"""Which of these doctor checks fail on the machine of a role, with its ports: see `lacking_checks`."""

_OF_TESTERS = {"af_xdp": AF_XDP_TESTER, "dpdk": DPDK_TESTER, "trex": ("trex_server",)}
"""What engines need that the user has to ask for, or that are chosen only where they can run."""
_ON_VETH = {"xdp": XDP_TESTER, "af_xdp": AF_XDP_TESTER}
"""What they need on veth."""


def lacking(
    datapath: Datapath,
    *,
    tester_engine: str | None = None,
    tester_option: str = "--labkit-tester",
    trex_dir: str | None = None,
    trex_option: str = "--labkit-trex-dir",
    check: Check | None = None,
) -> tuple[str, ...]:
    """What the machine of a datapath lacks. Empty: it can run.

    `tester_option`: what chose the engine, unless the topology does. `trex_dir`, `trex_option`: as in Settings.
    `check` asks the machines of a lab on NICs.
    """
    lab_file = datapath.topology
    engine, tester_option = _chosen(lab_file, tester_engine, tester_option)
    if lab_file.tier is Tier.SIMULATED:
        return ()
    if lab_file.links[0].kind is LinkKind.NIC and check is not None:
        return _on_nics(datapath, check, engine, tester_option)
    if datapath.mode.tcp:
        if reason := _other_tester(datapath, engine, tester_option):
            return (reason,)
        return lacking_checks(["cores", *datapath.mode.requires], lab_file.mtu_bytes)
    if engine == "trex" and lab_file.links[0].kind is LinkKind.VHOST:
        return (
            f"TRex has no driver for vhost-user links (fix: measure on memif, or leave {tester_option} out)",
        )
    if engine == "trex":
        try:
            directory(trex_dir, option=trex_option)
            # Made now: without root, the network of the lab is all that there is once it is up.
            client_python()
        except (ConfigInvalid, EnvironmentBroken) as error:
            return (f"{error.message} (fix: {error.hint})",)
    checks = ["cores", *datapath.mode.requires]
    if lab_file.links[0].kind is LinkKind.VETH:
        if engine == "dpdk":
            return (f"the tester engine dpdk drives NICs, not veth (fix: leave {tester_option} out)",)
        if engine in _ON_VETH and not lacking_checks(checks, lab_file.mtu_bytes):
            # The path itself can run: what prevents it is the engine that was asked for.
            why = lacking_checks(_ON_VETH[engine], lab_file.mtu_bytes)
            return tuple(_engine_lacks(engine, reason, tester_option) for reason in why)
    return lacking_checks(checks, lab_file.mtu_bytes)


def _other_tester(datapath: Datapath, engine: str | None, option: str) -> str:
    """Why the tester that was asked for can't measure TCP connections; empty: none was, so the probe's own does."""
    if engine is None:
        return ""
    return (
        f"{datapath.backend.name} {datapath.mode.name} is measured over TCP connections, by the probe's own sockets: "
        f"{engine} sends frames (fix: leave {option} out, or choose probe)"
    )


def _chosen(topology: Topology, engine: str | None, option: str) -> tuple[str | None, str]:
    """The engine that was asked for, by the user or else by the lab's file, and what to leave out."""
    if engine is None and topology.tester is not None:
        engine, option = topology.tester, topology.tester_option or f"the key tester of {topology.source}"
    return None if engine == PROBE else engine, option


def unfit(datapath: Datapath, frames: FrameSpec, *, engine: str | None, tester_option: str) -> str | None:
    """Why such frames can't be measured on a datapath by this tester, with the fix. None: they can."""
    engine, tester_option = _chosen(datapath.topology, engine, tester_option)
    if reason := datapath.unfit(frames):
        return reason
    if engine == "trex" and (count := len(frames.sizes(datapath.topology.traffic))) > LATENCY_STREAMS_MAX:
        return (
            f"{count} frames: TRex counts up to {LATENCY_STREAMS_MAX} streams, each of one frame "
            f"(fix: fewer frames, or leave {tester_option} out)"
        )
    if (
        engine == "trex"
        and frames.ip_version == 6
        and datapath.own_mac
        and not datapath.topology.forwards
        and datapath.topology.tier is not Tier.SIMULATED
    ):
        # Seen with v3.08: the checksum is that of the frame before the time was written into it.
        return (
            "TRex writes the time into a frame and leaves its UDP checksum as it was: over IPv6 sockets drop it "
            f"(fix: IPv4, two links, or leave {tester_option} out)"
        )
    return None


def no_bursts(datapath: Datapath, *, engine: str | None, tester_option: str) -> str | None:
    """Why bursts can't be measured by this tester, with the fix. None: they can."""
    engine, tester_option = _chosen(datapath.topology, engine, tester_option)
    if datapath.mode.tcp:
        return "TCP loses nothing, so that every burst comes back in the end (fix: measure its latency and throughput)"
    if engine == "trex" and datapath.topology.tier is not Tier.SIMULATED:
        # Seen with v3.08: 256 frames "take" 7.7 ms, which the probe sends in 0.4.
        return f"a burst is over before TRex's start is answered (fix: leave {tester_option} out)"
    return None


def no_round_trips(datapath: Datapath) -> str | None:
    """Why there are no round trips on a datapath, with the fix. None: there are."""
    if datapath.mode.tcp == "sink":
        return f"nothing comes back in the mode {datapath.mode.name}: it has rates, no round trips (fix: the mode tcp)"
    return None


def _on_nics(datapath: Datapath, check: Check, engine: str | None, tester_option: str) -> tuple[str, ...]:
    lab_file = datapath.topology
    if engine == "xdp":
        return (
            f"the tester engine xdp makes frames for veth, not for NICs (fix: leave {tester_option} out)",
        )
    apart = lab_file.spans_hosts
    needs: Mapping[Role, Sequence[str]] = {
        "dut": [*([] if apart else ["cores"]), *datapath.mode.requires],
        "tester": ("probe_socket",)
        if datapath.mode.tcp
        else _OF_TESTERS.get(engine or "", ("probe_af_packet",)),
    }
    if datapath.mode.tcp and (reason := _other_tester(datapath, engine, tester_option)):
        return (reason,)
    found = {role: check(role, needs[role]) for role in ROLES}
    on_tester: Iterable[str] = found["tester"]
    if (
        engine in _OF_TESTERS and engine != "trex" and not datapath.mode.tcp
    ):  # TRex's own fix is to install it
        on_tester = [_engine_lacks(engine, reason, tester_option) for reason in on_tester]
    pairs: tuple[tuple[Role, Iterable[str]], ...] = (("dut", found["dut"]), ("tester", on_tester))
    return tuple(
        f"on {lab_file.hosts[role]}: {why}" if apart else why for role, lacks in pairs for why in lacks
    )


def _engine_lacks(engine: str, reason: str, tester_option: str) -> str:
    return (
        f"the tester engine {engine} was asked for: {reason.partition(' (fix: ')[0]} "
        f"(fix: leave {tester_option} out)"
    )


def lacking_checks(checks: Sequence[str], mtu_bytes: int = 1500) -> tuple[str, ...]:
    """Which of these doctor checks fail on links of this MTU; checks with the same cause are reported together."""
    from labkit import doctor

    return reasons(doctor.as_json(doctor.run(checks, mtu_bytes=mtu_bytes) if checks else ()))


def reasons(findings: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Why checks failed; those with the same cause are reported together."""
    found: dict[str, list[str]] = {}
    for finding in findings:
        if not finding["ok"]:
            why = f"{finding['error'] or finding['detail']} (fix: {finding['fix'] or 'none known'})"
            found.setdefault(why, []).append(str(finding["id"]))
    return tuple(f"{', '.join(ids)}: {why}" for why, ids in found.items())
