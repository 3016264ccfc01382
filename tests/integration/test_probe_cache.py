"""Builds that are kept: which one is taken, and when it is built again. Built for real, of sources of a few lines."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from labkit.errors import EnvironmentBroken
from labkit.probe import build as probe_build
from labkit.probe import cache

pytestmark = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("meson", "ninja", "cc", "pkg-config")),
    reason="no C tools: apt-get install gcc meson ninja-build pkg-config",
)

ENGINES = ("socket", "dpdk")
MESON = """
project('tiny', 'c')
library = meson.get_compiler('c').find_library('far', dirs: '{library}')
foreach engine : {engines}
  executable('labkit-probe-' + engine, 'main.c', dependencies: library, build_rpath: '{library}')
endforeach
"""


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Sources of two engines that are linked to a library of their own; builds lie in tmp_path/cache."""
    sources, library = tmp_path / "sources", tmp_path / "library"
    for folder in (sources, library):
        folder.mkdir()
    (library / "far.c").write_text("int far(void) { return 0; }\n")
    subprocess.run(
        ["cc", "-shared", "-Wl,-soname,libfar.so.1", "-o", library / "libfar.so", library / "far.c"],
        check=True,
    )
    (library / "libfar.so.1").symlink_to("libfar.so")
    (sources / "main.c").write_text("int far(void);\nint main(void) { return far(); }\n")
    (sources / "meson.build").write_text(MESON.format(library=library, engines=list(ENGINES)))
    for module in (cache, probe_build):
        monkeypatch.setattr(module, "SOURCES", sources)
        monkeypatch.setattr(module, "ENGINES", ENGINES)
    monkeypatch.setenv("LABKIT_PROBE_DIR", str(tmp_path / "cache"))
    cache.source_hash.cache_clear()
    cache.linked.cache_clear()
    yield library
    cache.source_hash.cache_clear()
    cache.linked.cache_clear()


def built(**options):
    output = []
    folder = probe_build.build(progress=output.append, **options)
    return folder, "\n".join(output)


def truncate(program: Path) -> None:
    os.truncate(program, program.stat().st_size - 100)


def not_executable(program: Path) -> None:
    program.chmod(0o644)


def remove(program: Path) -> None:
    program.unlink()


def other(program: Path) -> None:
    program.unlink()
    shutil.copy("/bin/true", program)


@pytest.mark.parametrize("damage", [truncate, not_executable, remove, other])
def test_a_damaged_executable_is_refused_with_its_fix_and_the_fix_works(tiny, damage):
    folder, _ = built()
    assert "built already" in built()[1]
    damage(folder / "labkit-probe-dpdk")

    with pytest.raises(EnvironmentBroken, match="labkit-probe-dpdk") as caught:
        cache.engine_path("dpdk")
    assert caught.value.hint is not None
    assert caught.value.hint.endswith("labkit build")
    assert cache.engine_path("socket").parent == folder
    assert "would be built" in built(look=True)[1]

    again, output = built()
    assert again == folder
    assert "built already" not in output
    assert "labkit-probe-dpdk" in output
    assert subprocess.run([cache.engine_path("dpdk")], check=False).returncode == 0
    assert "built already" in built()[1]


def test_an_executable_that_lost_its_library_is_built_again(tiny):
    built()
    (tiny / "libfar.so.1").rename(tiny / "libfar.so.0")

    output = built()[1]

    assert "libfar.so.1" in output  # the loader's own words
    assert "built already" not in output
    assert "socket: it was built and does not start" in output
    with pytest.raises(EnvironmentBroken, match=r"socket engine: .* does not start: .*libfar\.so\.1"):
        cache.engine_path("socket")
    (tiny / "libfar.so.0").rename(tiny / "libfar.so.1")
    assert "socket: built" in built()[1]


def pretend(monkeypatch, tmp_path, **versions):
    """A pkg-config that has other versions."""
    programs = tmp_path / "programs"
    programs.mkdir(exist_ok=True)
    real = shutil.which("pkg-config", path="/usr/bin:/bin")
    cases = "".join(f"  {name}) echo {version}; exit 0;;\n" for name, version in versions.items() if version)
    cases += "".join(f"  {name}) exit 1;;\n" for name, version in versions.items() if not version)
    script = f'#!/bin/sh\nfor last; do :; done\ncase "$last" in\n{cases}esac\nexec {real} "$@"\n'
    (programs / "pkg-config").write_text(script)
    (programs / "pkg-config").chmod(0o755)
    if str(programs) not in os.environ["PATH"]:
        monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    cache.linked.cache_clear()


@pytest.mark.parametrize("library", ["libdpdk", "libbpf"])
def test_another_version_of_a_library_is_another_build(tiny, tmp_path, monkeypatch, library):
    pretend(monkeypatch, tmp_path, **{library: "1.0"})
    first, _ = built()
    pretend(monkeypatch, tmp_path, **{library: "2.0"})

    with pytest.raises(EnvironmentBroken, match=rf"{library} 1.0 \(here: 2.0\)"):
        cache.engine_path("socket")
    assert probe_build.built_executables() == {}
    second, output = built()
    assert second != first
    assert "built already" not in output
    assert cache.engine_path("socket").parent == second
    pretend(monkeypatch, tmp_path, **{library: "1.0"})
    assert cache.engine_path("socket").parent == first  # a shared home: each keeps its own


@pytest.mark.parametrize("what", ["_distribution", "_libc"])
def test_another_distribution_or_libc_is_another_build(tiny, monkeypatch, what):
    first, _ = built()
    monkeypatch.setattr(cache, what, lambda: "other 1")
    cache.linked.cache_clear()

    with pytest.raises(EnvironmentBroken, match=r"\(here: other 1\)"):
        cache.engine_path("socket")
    assert built()[0] != first


def test_a_build_is_still_good_where_the_packages_for_building_are_gone(tiny, tmp_path, monkeypatch):
    pretend(monkeypatch, tmp_path, libdpdk="22.11.1")
    folder, _ = built()
    pretend(monkeypatch, tmp_path, libdpdk="")

    assert cache.engine_path("dpdk").parent == folder
    assert sorted(probe_build.built_executables()) == ["labkit-probe-dpdk", "labkit-probe-socket"]


def test_an_engine_whose_library_has_come_is_built(tiny, tmp_path):
    folder, _ = built()
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["missing"]["dpdk"] = "libdpdk is missing (package libdpdk-dev)"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "labkit-probe-dpdk").unlink()
    if cache.missing("dpdk") is not None:
        pytest.skip("no DPDK to come")

    assert "dpdk: built" in built()[1]


def test_it_can_be_built_although_nothing_changed(tiny):
    folder, _ = built()
    before = (folder / "manifest.json").stat().st_ino

    assert "built already" not in built(force=True)[1]
    assert (folder / "manifest.json").stat().st_ino != before


def test_what_a_killed_build_leaves_is_removed_by_the_next_and_by_down(tiny, tmp_path):
    folder = tmp_path / "cache"
    code = (
        "import sys; from pathlib import Path; from labkit.probe import build, cache\n"
        "cache.SOURCES = build.SOURCES = Path(sys.argv[1]); build.build()"
    )
    for clear in (probe_build.clear_abandoned, built):
        (tiny.parent / "sources" / "main.c").open("a").write("/* again */\n")
        cache.source_hash.cache_clear()
        child = subprocess.Popen([sys.executable, "-c", code, str(tiny.parent / "sources")])
        deadline = time.monotonic() + 20
        while not list(folder.glob(".build-*/work")) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert probe_build.clear_abandoned() == []  # one that is at work is left alone
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert list(folder.glob(".build-*"))
        clear()
        assert not list(folder.glob(".build-*"))


def test_two_builds_at_once_build_it_once(tiny, tmp_path):
    code = (
        "import sys; from pathlib import Path; from labkit.probe import build, cache\n"
        "cache.SOURCES = build.SOURCES = Path(sys.argv[1]); cache.ENGINES = build.ENGINES = ('socket', 'dpdk')\n"
        "build.build(progress=print)"
    )
    command = [sys.executable, "-c", code, str(tiny.parent / "sources")]
    two = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [one.communicate(timeout=60)[0] for one in two]

    assert [one.returncode for one in two] == [0, 0]
    assert sorted("built already" in words for words in said) == [False, True]
