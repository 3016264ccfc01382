# PYTHON_ARGCOMPLETE_OK
"""The `labkit` command line: arguments and exit codes; `labkit.verbs` does the work.

Nothing heavy is imported before the verb is known: `labkit --help` and completion stay fast.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from labkit import __version__, output
from labkit.errors import ConfigInvalid, LabkitError
from labkit.harness import flags

Handler = Callable[[argparse.Namespace], int]
Verbs: TypeAlias = "argparse._SubParsersAction[_VerbParser]"

_WITH_LITTLE = ("build", "completion", "down", "status")
"""Verbs that run even if Python packages are missing or the limit of open files is too low."""

_READING = ("report", "compare")
"""Verbs that start nothing."""


class _Parser(argparse.ArgumentParser):
    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 (argparse's own)
        # No abbreviations: `down --forc` is a mistake to report, not an option to guess.
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(2, f"{self.prog}: {message}\n  hint: {self.prog} --help\n")


class _VerbParser(_Parser):
    """Refuses unknown options itself: argparse leaves that to the outer parser, whose --help does not list them."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:  # noqa: ANN401 (argparse's own)
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown


def _verb(name: str) -> Handler:
    def call(arguments: argparse.Namespace) -> int:
        from labkit import verbs

        handler: Handler = getattr(verbs, name)
        return handler(arguments)

    return call


def _topology_completer(**_: object) -> list[str]:
    from labkit.lab import topology_file

    return list(topology_file.names())


def _backend_completer(**_: object) -> list[str]:
    from labkit.backends import registry

    return list(registry.names())


def _run_completer(prefix: str = "", **_: object) -> list[str]:
    """Run folders below results/ or below the folder that is being typed, newest first."""
    root = Path(prefix).parent if "/" in prefix else Path("results")
    places = {
        records.parent for place in (root, Path(prefix or ".")) for records in place.glob("*/records.jsonl")
    }
    return sorted(map(str, places), reverse=True)


def _complete(action: argparse.Action, completer: Callable[..., list[str]]) -> None:
    action.completer = completer  # type: ignore[attr-defined]


def _where(parser: argparse.ArgumentParser, default: str | None = "veth") -> None:
    action = parser.add_argument(
        "--topology",
        metavar="NAME|FILE",
        type=flags.given,
        default=default,
        help="a topology: a YAML file, or the name of one that labkit ships"
        + f" (default: {default or 'the lab that is up, else one that suits the backend'})",
    )
    _complete(action, _topology_completer)


class _Once(argparse.Action):
    """An option with one value: refuses a second one, which argparse would silently prefer."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,  # noqa: ANN401 (argparse's)
        option_string: str | None = None,
    ) -> None:
        before = getattr(namespace, self.dest)
        if before is not None and before != values:
            parser.error(f"{option_string} is given twice: {before} and {values}; give one")
        setattr(namespace, self.dest, values)


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = _Parser(
        prog="labkit",
        description="Measure what kernel bypass gains on this machine, and validate a network path against targets.",
        epilog="Exit codes: 0 success; 1 (run) a target was missed, a measurement was invalid or failed, (compare) "
        "no metric could be compared, (doctor --host) no check applies; 2 bad input; "
        "3 this machine lacks something; 4 a program failed; 5 (run) nothing was measured: all tests were skipped "
        "or none was selected; 130 interrupted.",
    )
    parser.add_argument("--version", action="version", version=f"labkit {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=_VerbParser)
    for add in (
        _add_run,
        _add_trial,
        _add_frames,
        _add_labs,
        _add_doctor,
        _add_report,
        _add_compare,
        _add_build,
        _add_completion,
        _add_agent,
    ):
        add(verbs)
    return parser


def _add_run(verbs: Verbs) -> None:
    run = verbs.add_parser(
        "run", help="measure every datapath that can run here; writes a table, results.json and report.html"
    )
    plan = run.add_mutually_exclusive_group()
    for name, flag in flags.of_run().items():
        action = flag.add_to_run(plan if name in ("quick", "rfc2544") else run)
        if name == "topology":
            _complete(action, _topology_completer)
    run.add_argument(
        "--slow", action="store_true", help="also run the tests marked slow: larger frames, back-to-back"
    )
    run.add_argument(
        "-m",
        dest="markers",
        metavar="EXPR",
        help='select tests by marker, as in pytest: -m "af_xdp and latency"',
    )
    run.add_argument(
        "pytest_arguments", nargs="*", metavar="-- PYTEST ARGUMENTS", help="passed on to pytest unchanged"
    )
    run.set_defaults(handler=_verb("run"))


def _add_trial(verbs: Verbs) -> None:
    trial = verbs.add_parser("trial", help="one trial; its numbers on the terminal")
    _where(trial, default=None)
    action = trial.add_argument(
        "--backend", type=flags.given, default="kernel", help="the DUT's datapath (default: %(default)s)"
    )
    _complete(action, _backend_completer)
    trial.add_argument("--mode", default="", help="the backend's mode (default: its first)")
    trial.add_argument(
        "--load",
        default="10 kpps",
        help='intended load: "100 kpps", "2 Mpps" or "max" (default: %(default)s)',
    )
    trial.add_argument(
        "--duration", default="1 s", help='of the trial: "1 s", "200 ms" (default: %(default)s)'
    )
    _frame_options(trial)
    flags.TESTER.add_to_run(trial)
    flags.TREX_DIR.add_to_run(trial)
    flags.INVENTORY.add_to_run(trial)
    flags.WAIT.add_to_run(trial)
    trial.add_argument("--json", action="store_true", help="counts, percentiles and proof as JSON")
    trial.set_defaults(handler=_verb("trial"))


def _add_frames(verbs: Verbs) -> None:
    frames = verbs.add_parser(
        "frames", help="write the frames that would be sent to a pcap file; sends nothing"
    )
    _where(frames, default="veth")
    action = frames.add_argument(
        "--backend",
        type=flags.given,
        default="kernel",
        help="whose frames: sent to its own MAC address or not",
    )
    _complete(action, _backend_completer)
    frames.add_argument("--mode", default="", help="the backend's mode (default: its first)")
    _frame_options(frames)
    frames.add_argument("--count", type=int, default=100, help="how many (default: %(default)s)")
    frames.add_argument(
        "-o",
        "--output",
        type=flags.given,
        metavar="FILE",
        required=True,
        help="the pcap file; replaced if it is there",
    )
    frames.set_defaults(handler=_verb("frames"))


def _frame_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--frame",
        help="frame size with FCS in bytes, imix, or pcap on a lab whose traffic is a capture (default: the smallest, "
        "which is 64, 84 over IPv6, or what the lab's traffic needs); in modes of TCP the size of a message",
    )
    parser.add_argument(
        "--flows", type=int, default=1, help="number of flows, or of TCP connections (default: %(default)s)"
    )
    parser.add_argument("--ipv6", action="store_true", help="IPv6 frames (from 84 bytes)")


def _add_labs(verbs: Verbs) -> None:
    up = verbs.add_parser("up", help="bring a lab (its links, and namespaces or NICs) up and leave it up")
    _where(up)
    flags.INVENTORY.add_to_run(up)
    flags.WAIT.add_to_run(up)
    up.set_defaults(handler=_verb("up"))
    status = verbs.add_parser("status", help="which labs are up, and how to enter them")
    status.add_argument("--json", action="store_true", help="the labs as JSON")
    status.set_defaults(handler=_verb("status"))
    down = verbs.add_parser("down", help="take every lab down and revert what crashed runs left")
    down.add_argument(
        "--force", action="store_true", help="also take down labs that another labkit process still uses"
    )
    down.set_defaults(handler=_verb("down"))


def _add_doctor(verbs: Verbs) -> None:
    doctor = verbs.add_parser(
        "doctor",
        help="exercise each prerequisite; report what is missing, the actual error and the fix",
        epilog="Exit codes: 0 every backend can run here, or (--host) at least one check applies and all that do "
        "pass; 1 (--host) no check applies; 2 bad input; 3 something is missing, a check fails or "
        "has no result, or the host can't be reached.",
    )
    doctor.add_argument("--json", action="store_true", help="each finding, or (--host) each check, as JSON")
    doctor.add_argument(
        "--host",
        action=_Once,
        type=flags.given,
        metavar="H",
        help="validate this host against its configuration: values in effect, over SSH or here",
    )
    written = doctor.add_mutually_exclusive_group()
    written.add_argument(
        "-i",
        "--inventory",
        action="append",
        type=flags.given,
        metavar="INVENTORY",
        help="the Ansible inventory that has the host (repeatable: a later one overrides)",
    )
    written.add_argument(
        "--desired",
        action=_Once,
        type=flags.given,
        metavar="FILE",
        help="a YAML file of the roles' variables instead",
    )
    doctor.set_defaults(handler=_verb("doctor"))


def _add_report(verbs: Verbs) -> None:
    report = verbs.add_parser("report", help="the table of the latest run, or of one; writes report.html")
    report.add_argument(
        "run",
        nargs="?",
        type=flags.given,
        metavar="FOLDER|results.json",
        help="default: the latest under --results",
    )
    report.add_argument(
        "--results",
        type=flags.given,
        default="results",
        metavar="DIR",
        help="where run folders are (default: %(default)s)",
    )
    report.add_argument(
        "--html",
        type=flags.given,
        metavar="FILE",
        help="where to write report.html (default: into the run's folder)",
    )
    report.add_argument("--json", action="store_true", help="the rows as a JSON list")
    report.set_defaults(handler=_verb("report"))


def _add_compare(verbs: Verbs) -> None:
    compare = verbs.add_parser(
        "compare",
        help="compare two runs of one host, such as a generic and a low-latency boot",
        description="Compare run B with run A, of the same host: is each figure of B lower or higher than that of A, "
        "or within their uncertainty? Two single runs cannot show which setup is better.",
        epilog="--fail-if WHAT, separated by commas: lower, higher (a figure of B is lower or higher than A's by more "
        "than the uncertainty of both), change (either), slower (a rate is lower or a time is higher), each also "
        "with a minimum difference as a share of A's figure, such as slower:10%; invalid (a figure can't be trusted), "
        "missing (a figure could not be compared). Runs differ by more than the uncertainty within one run: give "
        "slower a share that repeated runs of one setup stay below. "
        "Exit codes: 0 something could be compared, 1 nothing could or a condition of --fail-if is met, 2 bad input: "
        "no such run, or the runs are of two hosts, or of topologies of different tiers.",
    )
    for name, text in (
        ("run_a", "A, such as the generic boot"),
        ("run_b", "B, such as the low-latency boot"),
    ):
        action = compare.add_argument(
            name, type=flags.given, metavar=name.upper(), help=f"{text}: its folder or results.json"
        )
        _complete(action, _run_completer)
    compare.add_argument(
        "--all", action="store_true", help="every figure of both runs, not only those that differ"
    )
    compare.add_argument(
        "--fail-if", action="append", metavar="WHAT", help="when to end with exit code 1 (see below)"
    )
    compare.add_argument("--json", action="store_true", help="both runs' figures and findings as JSON")
    compare.set_defaults(handler=_verb("compare"))


def _add_build(verbs: Verbs) -> None:
    build = verbs.add_parser("build", help="build the probe (C) for this machine")
    build.add_argument(
        "--sanitize",
        action="store_true",
        help="build with AddressSanitizer and UBSan, beside the normal build",
    )
    build.add_argument("--force", action="store_true", help="build although nothing has changed")
    build.set_defaults(handler=_verb("build"))


def _add_completion(verbs: Verbs) -> None:
    completion = verbs.add_parser("completion", help="print the shell code that completes labkit's arguments")
    completion.add_argument("shell", choices=["bash", "zsh", "fish"])
    completion.set_defaults(handler=_verb("completion"))


def _add_agent(verbs: Verbs) -> None:
    # Without a line in --help: labkit starts it, over SSH.
    agent = verbs.add_parser(
        "agent", description="Answers a controller on standard input; `labkit run` starts it."
    )
    agent.add_argument(
        "--controller", metavar="NAME", help="who asks: shown to others that want this machine"
    )
    agent.set_defaults(handler=_verb("agent"))


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point. Returns the exit code."""
    output.secure()
    try:
        try:
            return _call(argv)
        finally:
            output.flush()
    except LabkitError as error:
        label = "bad input" if isinstance(error, ConfigInvalid) else "error"
        print(f"labkit: {label}: {error}", file=sys.stderr)
        return error.exit_code
    except ImportError as error:
        from labkit.machine import lacking

        broken = lacking.as_error(error)
        if broken is None:
            raise
        print(f"labkit: error: {broken}", file=sys.stderr)
        return broken.exit_code
    except KeyboardInterrupt:
        print("labkit: interrupted", file=sys.stderr)
        return 130


def _call(argv: Sequence[str] | None) -> int:
    parser = build_parser()
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        argcomplete.autocomplete(parser)
    arguments = parser.parse_args(argv)
    if arguments.verb not in _WITH_LITTLE:
        from labkit.machine import lacking

        lacking.check(starts_programs=arguments.verb not in _READING)
    handler: Handler = arguments.handler
    return handler(arguments)


if __name__ == "__main__":
    sys.exit(main())
