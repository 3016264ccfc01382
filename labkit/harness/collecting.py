"""From a test's markers to what it measures: which datapath, on which topology, with which frames.

Wrong markers raise ConfigInvalid; the plugin adds file and line of the test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from labkit.errors import ConfigInvalid

if TYPE_CHECKING:
    from labkit.lab.topology import Topology
    from labkit.record.model import Key
    from labkit.session.datapaths import Datapath

LOWLATENCY = "lowlatency"
"""Marker of tests of the host itself: no backend, no packet."""
PARAMETER = "labkit_target_of_test"
"""The fixture that a measuring test is parametrized by."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a test measures: a datapath with frames of a size, or the host of a topology."""

    topology: Topology
    datapath: Datapath | None = None
    frame: str = ""
    everywhere: bool = False
    """Whether the test runs on all datapaths with several frame sizes, of which some links don't carry all."""

    @property
    def key(self) -> Key:
        """Its row of the results."""
        from labkit.record.model import HostKey

        if self.datapath is None:
            return HostKey(topology=self.topology.name)
        return self.datapath.key(frame=self.frame)

    @property
    def backend(self) -> str:
        """The marker that names what is measured."""
        return LOWLATENCY if self.datapath is None else self.datapath.backend.name

    @property
    def group(self) -> str:
        """Tests of one group share a lab and its DUT."""
        if self.datapath is None:
            return ""
        return f"{self.topology.name}/{self.datapath.backend.name}/{self.datapath.mode.name}"


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Takes the place of a subject that the chosen topologies do not have: the test is deselected."""

    reason: str


def subject_of(item: pytest.Item) -> Subject | Elsewhere | None:
    """What a test measures. None: it is not a labkit test, or there is nothing to measure."""
    callspec = getattr(item, "callspec", None)
    found = callspec.params.get(PARAMETER) if callspec is not None else None
    return found if isinstance(found, Subject | Elsewhere) else None


def measures(item: pytest.Item) -> bool:
    """Whether a test asks for a measurement."""
    return PARAMETER in getattr(item, "fixturenames", ())


class Topologies:
    """The topologies of a run: those that the user chose, or all that labkit ships; and those that tests name.

    In a run of several testers each is there once for each of them, one after the other.
    """

    def __init__(
        self, names: Sequence[str] | None, testers: Sequence[str] = (), *, tester_option: str = ""
    ) -> None:
        """Read and check them. Raises ConfigInvalid."""
        from labkit.session.datapaths import DEFAULT_TOPOLOGIES
        from labkit.session.preflight import load_all

        self.asked = bool(names)
        """Whether the user chose: then nothing else is measured."""
        self._testers, self._tester_option = testers, tester_option
        files = load_all(names or DEFAULT_TOPOLOGIES)
        self.chosen = [one for lab_file in files for one in self._by_all(lab_file)]
        self._known = {lab_file.name: lab_file for lab_file in files}
        self.words = " ".join(f"--topology {lab_file.name}" for lab_file in files)
        """The choice as the user wrote it."""

    def _by_all(self, lab_file: Topology) -> tuple[Topology, ...]:
        return lab_file.measured_by(self._testers, option=self._tester_option)

    def named(self, wanted: object, folders: Sequence[Path]) -> Sequence[Topology] | Elsewhere:
        """The topology that a test names: by name, or by file, looked for in `folders` in this order.

        Raises ConfigInvalid: there is none, it is wrong, or another one has its name.
        """
        from labkit.session.preflight import load_checked

        if not isinstance(wanted, str | Path) or not str(wanted):
            raise ConfigInvalid(f"topology={wanted!r}: expected a name such as 'memif', or a path to a file")
        is_file = isinstance(wanted, Path) or "/" in wanted or wanted.endswith((".yml", ".yaml"))
        if not is_file and str(wanted) in self._known:
            return self._by_all(self._known[str(wanted)])
        lab_file = load_checked(_file(str(wanted), folders) if is_file else str(wanted))
        known = self._known.get(lab_file.name)
        if known is not None and known.source.resolve() == lab_file.source.resolve():
            return self._by_all(known)
        if self.asked:
            return Elsewhere(f"is for topology {wanted}, which is not chosen ({self.words})")
        if known is not None:
            raise ConfigInvalid(
                f"{lab_file.source}: another topology named {lab_file.name!r} is in use already: {known.source}",
                hint="rename it (its key name:, or the file itself), or choose it: --topology FILE",
            )
        self._known[lab_file.name] = lab_file
        return self._by_all(lab_file)


def _file(wanted: str, folders: Sequence[Path]) -> Path:
    places = list(dict.fromkeys(folder / wanted for folder in folders))
    for place in places:
        with suppress(OSError):  # a folder that is closed, a name that is too long
            if place.is_file():
                return place
    raise ConfigInvalid(
        f"topology={wanted!r}: no such file: {', '.join(map(str, places))}",
        hint="a relative path is tried from the test's folder, then the working directory, then pytest's rootdir",
    )


def parameters(definition: pytest.Item, chosen: Topologies, *, quick: bool) -> list[Any]:
    """What pytest parametrizes a measuring test with. Raises ConfigInvalid: its markers are wrong."""
    from labkit.backends import registry

    on = _arguments(definition, "on", ("topology", "mode", "frame"))
    everywhere = _arguments(definition, "datapaths", ("frames", "modes"))
    topologies: Sequence[Topology] | Elsewhere = chosen.chosen
    if on is not None and on.get("topology") is not None:
        config = definition.config
        folders = (definition.path.parent, config.invocation_params.dir, config.rootpath)
        topologies = chosen.named(on["topology"], folders)
    if everywhere is not None:
        if on is not None and {"mode", "frame"} & on.keys():
            raise ConfigInvalid(
                "mode and frame of @pytest.mark.on are for a single backend, not for @pytest.mark.datapaths",
                hint="@pytest.mark.datapaths(frames=(...), modes='default')",
            )
        return _everywhere(everywhere, topologies, chosen, quick=quick)
    names = [name for name in registry.names() if definition.get_closest_marker(name)]
    for name in (*names, LOWLATENCY):
        _bare(definition, name)
    if not names and definition.get_closest_marker(LOWLATENCY):
        return [_host_of(topologies)]
    if not names:
        raise ConfigInvalid(
            f"the test uses the fixture measure: mark it with a backend ({', '.join(registry.names())}), "
            f"with {LOWLATENCY} or with @pytest.mark.datapaths()"
        )
    return [one for name in names for one in _of_backend(name, on or {}, topologies, chosen)]


def _bare(definition: pytest.Item, name: str) -> None:
    """Raise ConfigInvalid where a marker that has no arguments is given some: nobody would look at them."""
    for marker in definition.iter_markers(name):
        given = [*map(repr, marker.args), *(f"{key}={value!r}" for key, value in marker.kwargs.items())]
        if given:
            raise ConfigInvalid(
                f"@pytest.mark.{name}({', '.join(given)}): this marker takes no arguments",
                hint=f"@pytest.mark.on({', '.join(given)})" if not marker.args else None,
            )


def _arguments(definition: pytest.Item, name: str, known: Sequence[str]) -> Mapping[str, Any] | None:
    """The arguments of a marker; None where the test doesn't have it. Raises ConfigInvalid."""
    from labkit.yamlfile import suggest

    marker = definition.get_closest_marker(name)
    if marker is None:
        return None
    written = ", ".join(f"{one}=..." for one in known)
    if marker.args:
        raise ConfigInvalid(
            f"@pytest.mark.{name}({', '.join(map(repr, marker.args))}): expected arguments by name",
            hint=f"@pytest.mark.{name}({written})",
        )
    for one in marker.kwargs:
        if one not in known:
            raise ConfigInvalid(f"@pytest.mark.{name} takes no argument {one!r}", hint=suggest(one, known))
    return marker.kwargs


def _frame(frame: object, topology: Topology | None) -> str:
    """A frame size as rows name it; None: the lab's smallest. Raises ConfigInvalid."""
    from labkit.lab.traffic import UDP
    from labkit.testers.frames import default_size, frame_spec

    if frame is None:
        return default_size(topology.traffic if topology is not None else UDP)
    if isinstance(frame, bool) or not isinstance(frame, int | str):
        raise ConfigInvalid(f"frame size {frame!r}: expected bytes with FCS, 64 and up, 'imix' or 'pcap'")
    return str(frame_spec(frame).size)


def _everywhere(
    options: Mapping[str, Any], topologies: Sequence[Topology] | Elsewhere, chosen: Topologies, *, quick: bool
) -> list[Any]:
    from labkit.session.datapaths import enumerate_datapaths

    frames = options.get("frames", (None,))
    if isinstance(frames, str | int):
        frames = (frames,)
    if not isinstance(frames, Sequence) or not frames:
        raise ConfigInvalid(f"frames={frames!r}: expected frame sizes such as ('64', '1518', 'imix')")
    for frame in frames:
        _frame(frame, None)
    modes = options.get("modes", "all")
    if modes not in ("all", "default"):
        raise ConfigInvalid(f"modes={modes!r}: expected 'all' or 'default'")
    if isinstance(topologies, Elsewhere):
        return [pytest.param(topologies, id="elsewhere")]
    return [
        pytest.param(
            Subject(datapath.topology, datapath, frame, everywhere=True),
            id=datapath.key(frame=frame).id,
            marks=[getattr(pytest.mark, datapath.backend.name)],
        )
        for datapath in enumerate_datapaths(topologies)
        for frame in dict.fromkeys(_frame(frame, datapath.topology) for frame in frames)
        if datapath.is_default_mode or not (quick or modes == "default")
    ] or [pytest.param(Elsewhere(f"there is nothing to measure on {chosen.words}"), id="elsewhere")]


def _of_backend(
    name: str, on: Mapping[str, Any], topologies: Sequence[Topology] | Elsewhere, chosen: Topologies
) -> list[Any]:
    """One datapath, once for each tester."""
    from labkit.lab.topology import split_name
    from labkit.session.datapaths import default_datapath

    _frame(on.get("frame"), None)
    mode = on.get("mode", "")
    if not isinstance(mode, str):
        raise ConfigInvalid(f"mode={mode!r}: expected the name of a mode")
    if isinstance(topologies, Elsewhere):
        return [pytest.param(topologies, id=f"{name}-elsewhere")]
    if chosen.asked and not any(name in lab_file.backends for lab_file in topologies):
        return [
            pytest.param(
                Elsewhere(f"backend {name} is not measured on what is chosen ({chosen.words})"),
                id=f"{name}-elsewhere",
            )
        ]
    by_tester: dict[str, list[Topology]] = {}
    for one in topologies:
        by_tester.setdefault(split_name(one.name)[1], []).append(one)
    datapaths = [
        default_datapath(name, those, mode=mode)
        for those in by_tester.values()
        if len(by_tester) == 1 or any(name in one.backends for one in those)
    ]
    found = [(one, _frame(on.get("frame"), one.topology)) for one in datapaths]
    return [
        pytest.param(Subject(one.topology, one, frame), id=one.key(frame=frame).id) for one, frame in found
    ]


def _host_of(topologies: Sequence[Topology] | Elsewhere) -> Any:  # noqa: ANN401 - see above
    """The host that is measured: this one, as described by the first topology of tier hardware, else the first."""
    if isinstance(topologies, Elsewhere):
        return pytest.param(topologies, id=f"{LOWLATENCY}-elsewhere")
    real = [t for t in topologies if t.tier != "simulated"]
    if not real:
        skip = pytest.mark.skip(reason="every chosen topology is simulated: there is no host to measure")
        return pytest.param(None, id=LOWLATENCY, marks=skip)
    subject = Subject(min(real, key=lambda t: t.tier != "hardware"))
    return pytest.param(subject, id=subject.key.id)
