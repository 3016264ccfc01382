"""What each verb of the command line does: parse its arguments, call labkit, print."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING

from labkit.errors import ConfigInvalid, EnvironmentBroken, Mistakes
from labkit.machine import fix
from labkit.progress import Progress, StreamProgress
from labkit.units import Unit, parse_quantity, parse_trial_load

if TYPE_CHECKING:
    from labkit.lab.live import LabRecord, Undone
    from labkit.lab.traffic import Traffic
    from labkit.testers.frames import FrameSpec

MAX_TRIAL_S = 3600.0
TRIAL_LISTEN_S = 0.5
MAX_PREVIEW = 1_000_000
"""Frames of a pcap file."""
MAX_LOAD_PPS = 1e9
"""Above 200 Gb/s of the smallest frames, and far above what a core can send."""


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2, default=str), flush=True)


def _progress() -> Progress:
    return StreamProgress(sys.stderr)


def run(arguments: argparse.Namespace) -> int:
    """`labkit run`: the suite, through pytest."""
    from labkit.harness import suite

    return suite.run(arguments)


def trial(arguments: argparse.Namespace) -> int:
    """`labkit trial`: one trial on a lab that is up, or on one that it brings up."""
    from labkit.backends import registry
    from labkit.lab import live as lab
    from labkit.lab.topology import LinkKind
    from labkit.results.trialview import as_json, as_text
    from labkit.session.datapaths import DEFAULT_TOPOLOGIES, Datapath, default_datapath, find_mode
    from labkit.session.preflight import load_all
    from labkit.session.reservation import parse_wait
    from labkit.session.session import Session
    from labkit.session.settings import Settings
    from labkit.testers.probe import interface_engine
    from labkit.testers.trex.server import directory

    mistakes = Mistakes()
    load_pps, duration_s = None, 0.0
    with mistakes.noted():
        duration_s = parse_quantity(arguments.duration, Unit.SECONDS)
        if not 0 < duration_s <= MAX_TRIAL_S:
            raise ConfigInvalid(
                f"--duration {arguments.duration}: expected more than 0 s and up to {MAX_TRIAL_S:g} s"
            )
    with mistakes.noted():
        load_pps = parse_trial_load(arguments.load).pps
        shortest_s = duration_s if 0 < duration_s <= MAX_TRIAL_S else MAX_TRIAL_S
        if load_pps is not None and not 1 / shortest_s <= load_pps <= MAX_LOAD_PPS:
            raise ConfigInvalid(
                f"--load {arguments.load}: expected one frame or more in {shortest_s:g} s, and up to 1 Gpps",
                hint="--load max sends as fast as the tester can",
            )
    with mistakes.noted():
        _frames(arguments, None)
    with mistakes.noted():
        backend = registry.load(arguments.backend)
    engine = None
    with mistakes.noted():
        wait_s = parse_wait(arguments.wait, option="--wait")
    with mistakes.noted():
        engine = None if arguments.tester is None else interface_engine(arguments.tester, option="--tester")
    mistakes.check()
    records = [record for record in lab.status() if record.alive and not record.controller]
    record = records[-1] if records and arguments.topology is None else None
    with ExitStack() as stack:
        settings = Settings(
            store=False,
            wait_s=wait_s,
            tester_engine=engine,
            tester_option="--tester",
            trex_dir=arguments.trex_dir,
            trex_option="--trex-dir",
            listen_s=TRIAL_LISTEN_S,
            inventories=tuple(arguments.inventory or (record.inventories if record else ())),
        )
        session = stack.enter_context(Session(settings, progress=_progress()))
        if record is not None:
            session.reserve(using=record.id)  # before attaching: a process moves into the lab's namespaces
            live = stack.enter_context(lab.attached(record, reach=session.reach))
            datapath = Datapath(
                topology=live.topology,
                backend=backend,
                mode=find_mode(backend, live.topology, arguments.mode),
            )
            session.use(live)
        else:
            names = (arguments.topology,) if arguments.topology is not None else DEFAULT_TOPOLOGIES
            datapath = default_datapath(backend.name, load_all(names), mode=arguments.mode)
        frames = _frames(arguments, datapath.topology.traffic)
        datapath.check_frames(frames)
        asked, kind = engine or datapath.topology.tester, datapath.topology.links[0].kind
        if asked == "trex" and kind in (LinkKind.VETH, LinkKind.MEMIF):
            directory(arguments.trex_dir, option="--trex-dir")
        lacking = [*session.lacking(datapath), *filter(None, [session.unfit(datapath, frames)])]
        if lacking:
            raise EnvironmentBroken("; ".join(lacking), hint=fix.labkit("doctor"))
        result, proof, tester = session.one_trial(datapath, frames, load_pps=load_pps, duration_s=duration_s)
        key = datapath.key(frame=str(frames.size), ip_version=frames.ip_version, flows=frames.flows)
        # Before the lab goes down: what fails there loses no result.
        if arguments.json:
            _print_json(as_json(key, result, proof, tester))
        else:
            print(as_text(key, result, proof, tester), flush=True)
    return 0


def _frames(arguments: argparse.Namespace, traffic: Traffic | None) -> FrameSpec:
    """What the options --frame, --flows and --ipv6 ask for on a lab; None: any. Raises ConfigInvalid."""
    from labkit.lab.traffic import UDP
    from labkit.testers.frames import default_size, frame_spec

    version = 6 if arguments.ipv6 else 4
    size = default_size(traffic or UDP, version) if arguments.frame is None else arguments.frame
    return frame_spec(size, ip_version=version, flows=arguments.flows)


def frames(arguments: argparse.Namespace) -> int:
    """`labkit frames`: what would be sent, as a pcap file."""
    from labkit.backends import registry
    from labkit.session.datapaths import default_datapath
    from labkit.session.preflight import load_all
    from labkit.testers import preview

    mistakes = Mistakes()
    with mistakes.noted():
        if not 1 <= arguments.count <= MAX_PREVIEW:
            raise ConfigInvalid(f"--count {arguments.count}: expected 1 to {MAX_PREVIEW:,}")
    with mistakes.noted():
        _frames(arguments, None)
    with mistakes.noted():
        registry.load(arguments.backend)
    with mistakes.noted():
        preview.check_target(Path(arguments.output))
    mistakes.check()
    datapath = default_datapath(arguments.backend, load_all((arguments.topology,)), mode=arguments.mode)
    if datapath.mode.tcp:
        raise ConfigInvalid(
            f"--mode {arguments.mode}: it sends messages over TCP connections, which the kernel cuts into frames",
            hint="leave --mode out",
        )
    spec = _frames(arguments, datapath.topology.traffic)
    datapath.check_frames(spec)
    command = preview.command_for(datapath.topology, spec, own_mac=datapath.own_mac)
    path = Path(arguments.output)
    count = preview.write(path, preview.as_sent(command, arguments.count))
    print(f"{path}: {count} frames of {datapath.topology.name}", flush=True)
    return 0


def up(arguments: argparse.Namespace) -> int:
    """`labkit up`."""
    from labkit.lab import live as lab
    from labkit.lab.view import lab_lines
    from labkit.session.machines import Machines
    from labkit.session.preflight import load_checked
    from labkit.session.reservation import parse_wait

    topology, wait_s = load_checked(arguments.topology), parse_wait(arguments.wait, option="--wait")
    there = [one for one in topology.inventories if one.exists()]
    # Absolute: `labkit down` may be run elsewhere.
    inventories = [str(Path(one).absolute()) for one in arguments.inventory or there]
    with closing(Machines(inventories, wait_s=wait_s, progress=_progress())) as machines:
        machines.find([topology])
        record = lab.up(topology, reach=machines.reach, inventories=inventories)
    print("\n".join(lab_lines(record)))
    return 0


def status(arguments: argparse.Namespace) -> int:
    """`labkit status`."""
    from labkit.lab import live as lab
    from labkit.lab.view import lab_lines
    from labkit.machine.undo import left_over

    records = lab.status()
    if arguments.json:
        _print_json(
            [{**record.to_json(), "alive": record.alive, "enter": record.enter} for record in records]
        )
    elif not records:
        print(f"no lab is up ({fix.labkit('up', '--topology', 'veth')})")
    for record in records if not arguments.json else ():
        print("\n".join(lab_lines(record)))
    if (left := left_over()) and not arguments.json:
        print(f"left by a labkit process that was killed ({fix.labkit('down')} reverts it):")
        print("\n".join(f"  {line}" for line in left))
    return 0


def down(arguments: argparse.Namespace) -> int:
    """`labkit down`."""
    from labkit.lab import live as lab
    from labkit.machine import scratch
    from labkit.probe import build as probe_build

    undone: list[Undone] = []
    standing: list[str] = []
    records: list[LabRecord] = []
    with suppress(ConfigInvalid):  # another version's records: what is here is taken down all the same
        records = lab.status()
    for record in records:
        if record.on_nics and not record.controller:
            found = _take_down(record, force=arguments.force)
            standing += [record.id] if any(change.left for change in found) else []
            undone += found
    undone += lab.down(force=arguments.force, standing=standing)
    for change in undone:
        print(f"{change.lab}: {change.what}: {'reverted' if change.done else f'LEFT: {change.left}'}")
    cleared = probe_build.clear_abandoned()
    for folder in cleared:
        print(f"removed {folder}: left by a build that was killed")
    cleared += (temporary := scratch.clear_abandoned())
    for folder in temporary:
        print(f"removed {folder}: left by a labkit process that was killed")
    if not undone and not cleared:
        print("nothing to revert")
    return 0 if all(change.done for change in undone) else EnvironmentBroken.exit_code


def _take_down(record: LabRecord, *, force: bool) -> list[Undone]:
    """Take a lab on NICs down on its other machines; unless forced, only where nobody measures."""
    from labkit.lab import live as lab
    from labkit.lab.live import Undone
    from labkit.session.machines import Machines

    with closing(Machines(record.inventories, wait_s=0.0, progress=_progress())) as machines:
        try:
            machines.find([record.topology])
        except ConfigInvalid as error:  # an inventory that has changed
            return [Undone(lab=record.id, what="its hosts", done=False, left=str(error))]
        return lab.take_down(record, get=machines.get, force=force)


def doctor(arguments: argparse.Namespace) -> int:
    """`labkit doctor`: exit code 0 when every backend can run here, or all host checks that apply pass; else 3.

    With --host, 1 if no check applies.
    """
    if arguments.host is not None:
        return _doctor_of_host(arguments)
    if arguments.inventory or arguments.desired is not None:
        raise ConfigInvalid(
            "-i and --desired need --host: they define how a host should be configured",
            hint="name the host: labkit doctor --host H",
        )
    from labkit import doctor as checks
    from labkit.doctor import table

    findings = checks.run()
    if arguments.json:
        _print_json(table.as_json(findings))
    else:
        table.print_table(findings)
    return 0 if all(f.ok for f in findings if f.required_for) else EnvironmentBroken.exit_code


def _doctor_of_host(arguments: argparse.Namespace) -> int:
    from labkit.doctor.host import doctor, table

    where = doctor.source(arguments.host, inventory=arguments.inventory, desired=arguments.desired)
    results = doctor.run(where)
    if arguments.json:
        _print_json(table.as_json(arguments.host, results))
    else:
        table.print_lines(results)
    return doctor.exit_code(results)


def report(arguments: argparse.Namespace) -> int:
    """`labkit report`."""
    from labkit.machine import fix
    from labkit.record import store
    from labkit.results import report as html
    from labkit.results import table
    from labkit.results.rows import rows

    path = Path(arguments.run) if arguments.run else store.latest(Path(arguments.results))
    found = store.load(path)
    if arguments.json:
        _print_json([row.as_json() for row in rows(found)])
        return 0
    table.print_table(found)
    folder = path if path.is_dir() else path.parent
    try:
        written = html.render(found, Path(arguments.html) if arguments.html else folder / "report.html")
    except EnvironmentBroken as error:
        if arguments.html:
            raise
        # The run belongs to another user (root), or the disk is read-only or full: the table is printed anyway.
        elsewhere = fix.labkit("report", str(path), "--html", str(_writable() / "report.html"))
        sys.stdout.flush()  # the table first
        print(f"report.html was not written: {error.message}; fix: {elsewhere}", file=sys.stderr)
        return 0
    print(f"report: {written}")
    return 0


def _writable() -> Path:
    """A folder that a file can be put into: the current one, or where temporary files go."""
    from labkit.record.space import RESERVED_BYTES, check_root

    try:
        check_root(Path.cwd(), room_bytes=RESERVED_BYTES)
    except EnvironmentBroken:
        return Path(gettempdir())
    return Path.cwd()


def compare(arguments: argparse.Namespace) -> int:
    """`labkit compare`: exit code 1 when a condition of --fail-if is met or nothing could be compared, else 0.

    2 for different hosts.
    """
    from labkit.record import store
    from labkit.results import compare as comparing
    from labkit.results import fail_if
    from labkit.results.compare_table import print_comparison

    conditions = [c for text in arguments.fail_if or () for c in fail_if.parse(text)]
    found = comparing.compare(store.load(Path(arguments.run_a)), store.load(Path(arguments.run_b)))
    if arguments.json:
        _print_json({**found.as_json(), "fail_if": [fail_if.as_json(c, found) for c in conditions]})
    else:
        print_comparison(found, everything=arguments.all, fail_if=conditions)
    return 1 if not found.compared or any(c.met_by(found) for c in conditions) else 0


def build(arguments: argparse.Namespace) -> int:
    """`labkit build`."""
    from labkit.probe import build as probe_build

    directory = probe_build.build(
        sanitize=arguments.sanitize,
        force=arguments.force,
        progress=lambda text: print(text, file=sys.stderr),
    )
    print(directory)
    return 0


def completion(arguments: argparse.Namespace) -> int:
    """`labkit completion SHELL`."""
    import argcomplete.shell_integration

    print(argcomplete.shell_integration.shellcode(["labkit"], shell=arguments.shell))
    return 0


def agent(_: argparse.Namespace) -> int:
    """`labkit agent`: what a controller elsewhere starts here."""
    from labkit.agent.server import serve

    return serve()
