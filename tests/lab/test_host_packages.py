"""Packages with the real apt and dpkg, in a copy of this machine's files that is thrown away."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COLLECTIONS = Path(__file__).parents[2] / "ansible" / "collections"
WORLD = r"""
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
for folder in proc sys dev; do mount --rbind /$folder "$1/root/$folder"; done
mkdir -p "$1/root/run/try"
mount --bind "$2" "$1/root/run/try"
mount --bind "$3" "$1/root/mnt"
for folder in lib/apt/lists cache/apt; do mount -t tmpfs tmpfs "$1/root/var/$folder"; done
shift 3
exec "$@"
"""
DO = """
import json, os, signal, sys, time
sys.path.insert(0, "/mnt")
os.chroot(sys.argv[1])
os.chdir("/")
from ansible_collections.labkit.host.plugins.module_utils import packages, undo

def install(*names):
    files = [f"/run/try/{name}_1_all.deb" for name in names]
    return packages.change("try", [], files, manager=packages.of_host(lock_timeout_s=5))

def state():
    lines = os.popen("dpkg-query -W -f '${Package} ${Version} ${Status}\\n'; apt-mark showmanual").read()
    return sorted(lines.splitlines())

def killed(function, *arguments):
    '''Together with all that it started, when the package's script says that it runs.'''
    child = os.fork()
    if not child:
        os.environ["LABKIT_TRY"] = "1"  # apt gives dpkg a session of its own
        function(*arguments)
        os._exit(0)
    while not os.path.exists("/run/try/running"):
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{process}/environ", "rb") as environment:
                if b"LABKIT_TRY=1" in environment.read().split(b"\\0"):
                    os.kill(int(process), signal.SIGKILL)
        except OSError:
            pass
    os.waitpid(child, 0)
    os.remove("/run/try/running")
    os.remove("/run/try/slow")

before = state()
"""

pytestmark = [
    pytest.mark.beside,
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("apt-get") is None,
        reason="needs root and a Debian: sudo tox -e test",
    ),
]


def build(folder: Path, name: str, *, depends: str = "", script: str = "") -> None:
    """A package that says so when its script runs, and takes long if there is a file `slow`."""
    tree = folder / name
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / f"etc/labkit-try/{name}").mkdir(parents=True)
    (tree / f"etc/labkit-try/{name}/conf").touch()
    fields = f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: labkit <labkit@example.org>\n"
    (tree / "DEBIAN/control").write_text(
        fields + (f"Depends: {depends}\n" if depends else "") + "Description: try\n"
    )
    (tree / "DEBIAN/conffiles").write_text(f"/etc/labkit-try/{name}/conf\n")
    if script:
        (tree / "DEBIAN" / script).write_text(
            "#!/bin/sh\n[ ! -e /run/try/slow ] || { touch /run/try/running; sleep 60; }\n"
        )
        (tree / "DEBIAN" / script).chmod(0o755)
    command = ["dpkg-deb", "--root-owner-group", "--build", str(tree), str(folder / f"{name}_1_all.deb")]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def inside(tmp_path):
    """Run lines of Python on a copy of this machine; they print JSON."""
    (tmp_path / "try").mkdir()
    (tmp_path / "world").mkdir()

    def run(lines: str):
        command = [
            "unshare",
            "--mount",
            "sh",
            "-ec",
            WORLD,
            "sh",
            str(tmp_path / "world"),
            str(tmp_path / "try"),
        ]
        command += [str(COLLECTIONS), sys.executable, "-c", DO + lines, str(tmp_path / "world/root")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        if "overlay" in done.stderr and "mount:" in done.stderr:
            pytest.skip(f"this kernel mounts no overlay here: {done.stderr.strip()}")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


def test_packages_come_once_and_go_with_all_their_files(inside, tmp_path):
    build(tmp_path / "try", "labkit-try", depends="labkit-try-lib")
    build(tmp_path / "try", "labkit-try-lib")

    output = inside("""
first = install("labkit-try", "labkit-try-lib")
second = install("labkit-try", "labkit-try-lib")
undone = undo.undo("try")
print(json.dumps([first.installed, second.changed, undone, state() == before, os.path.exists("/etc/labkit-try")]))""")

    assert sorted(output[0]) == ["labkit-try", "labkit-try-lib"]
    assert output[1:] == [False, [["packages apt"], []], True, False]


@pytest.mark.parametrize("script", ["preinst", "postinst"])
def test_installation_that_was_killed_is_gone_on_with(inside, tmp_path, script):
    build(tmp_path / "try", "labkit-try", depends="labkit-try-lib")
    build(tmp_path / "try", "labkit-try-lib", script=script)
    (tmp_path / "try/slow").touch()

    output = inside("""
killed(install, "labkit-try", "labkit-try-lib")
wreck = os.popen("dpkg-query -W -f '${db:Status-Status}' labkit-try-lib").read()
again = install("labkit-try", "labkit-try-lib").changed
once_more = install("labkit-try", "labkit-try-lib").changed
undone = undo.undo("try")
print(json.dumps([wreck, again, once_more, undone, state() == before]))""")

    assert output[0] in ("half-installed", "half-configured", "unpacked")
    assert output[1:] == [True, False, [["packages apt"], []], True]


@pytest.mark.parametrize("script", ["postinst", "prerm"])
def test_what_a_kill_left_is_taken_back_by_the_revert(inside, tmp_path, script):
    build(tmp_path / "try", "labkit-try", depends="labkit-try-lib")
    build(tmp_path / "try", "labkit-try-lib", script=script)
    (tmp_path / "try/slow").touch()
    first = 'killed(install, "labkit-try", "labkit-try-lib")'
    if script != "postinst":
        first = 'install("labkit-try", "labkit-try-lib"); killed(undo.undo, "try")'

    output = inside(f"""
{first}
undone = undo.undo("try")
print(json.dumps([undone, state() == before, os.path.exists("/etc/labkit-try")]))""")

    assert output == [[["packages apt"], []], True, False]
