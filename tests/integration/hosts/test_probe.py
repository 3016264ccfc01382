"""The probe on a host: predicted, built, and whose it is. What compiles it is a stand-in here."""

from __future__ import annotations

import pytest
from ansible_collections.labkit.host.plugins.module_utils import probe, trees

BUILDS = """
import os, pathlib, sys
built = pathlib.Path(os.environ["LABKIT_PROBE_DIR"], "hash")
if (built / "labkit-probe-af_packet").exists():
    print(f"built already: {built}", file=sys.stderr)
elif "--look" not in sys.argv:
    built.mkdir(parents=True)
    for engine in ("af_packet", "socket"):
        (built / f"labkit-probe-{engine}").touch(0o755)
print(built)
"""
FAILS = "import sys\nsys.exit('labkit: meson is not installed')\n"


@pytest.fixture
def host(tmp_path):
    """Folders of sources and of what is built, and a run of the module over them."""

    class Host:
        source, folder = tmp_path / "source", tmp_path / "probe"

        def sources(self, text):
            package = self.source / "labkit" / "probe"
            package.mkdir(parents=True)
            for folder in (package, package.parent):
                (folder / "__init__.py").touch()  # else an installed labkit would come first
            (package / "build.py").write_text(text)
            (self.source / trees.MARKER).write_text("abc\n")

        def change(self, **options):
            return probe.change(str(self.source), "abc", str(self.folder), **options)

    return Host()


def test_it_is_predicted_before_the_sources_are_there(host):
    assert host.change(check=True) == (True, [])
    assert not host.folder.exists()


def test_it_is_predicted_with_the_sources_there_and_nothing_built(host):
    host.sources(BUILDS)

    assert host.change(check=True) == (True, [])
    assert not host.folder.exists()


def test_it_is_built_once(host, monkeypatch):
    host.sources(BUILDS)
    monkeypatch.setattr(probe, "_let", lambda *_: False)  # owners are root's affair: tests/lab looks at them

    assert host.change() == (True, ["af_packet", "socket"])
    assert host.change() == (False, ["af_packet", "socket"])
    assert host.change(check=True) == (False, ["af_packet", "socket"])


def test_a_build_of_former_sources_is_removed(host, monkeypatch):
    host.sources(BUILDS)
    monkeypatch.setattr(probe, "_let", lambda *_: False)
    former, other = host.folder / "former", host.folder / "other"
    host.change()
    for folder in (former, other):
        folder.mkdir()
    (former / "labkit-probe-xdp").touch()

    assert host.change(check=True) == (True, ["af_packet", "socket"])
    assert former.exists()
    assert host.change() == (True, ["af_packet", "socket"])
    assert (former.exists(), other.exists()) == (False, True)
    assert host.change() == (False, ["af_packet", "socket"])


def test_only_what_needs_capabilities_is_kept_from_others(host, monkeypatch):
    host.sources(BUILDS)
    calls = []
    monkeypatch.setattr(probe, "_let", lambda program, *what: bool(calls.append((program.name, *what))))

    host.change(group="labkit", capabilities={"af_packet": "cap_net_raw", "xdp": "cap_bpf"})

    assert calls == [
        ("labkit-probe-af_packet", "labkit", "cap_net_raw", False),
        ("labkit-probe-socket", "", "", False),
    ]


def test_without_a_group_nobody_gets_capabilities(host, monkeypatch):
    host.sources(BUILDS)
    calls = []
    monkeypatch.setattr(probe, "_let", lambda program, *what: bool(calls.append((program.name, *what))))

    host.change(capabilities={"af_packet": "cap_net_raw"})

    assert {one[1:] for one in calls} == {("", "", False)}


def test_what_it_lacks_is_an_error_but_not_in_check_mode_where_packages_are_still_to_come(host):
    host.sources(FAILS)

    with pytest.raises(probe.ProbeFailed, match="meson is not installed"):
        host.change()
    assert host.change(check=True) == (True, [])
