"""What labkit itself runs on is named in a line where it is missing, and nothing else is blamed."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from labkit.errors import EnvironmentBroken
from labkit.machine import lacking
from labkit.record.store import RunStore

VERBS = ["doctor", "run", "trial", "up", "report", "compare"]
ARGUMENTS = {"compare": ["a", "b"], "run": ["--topology", "sim", "-m", "throughput"]}
HIDES = """
import sys
class Hides:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "{0}":
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hides())
"""


def labkit(*words, cwd, files=None, **environment):
    def limit():
        if files:
            resource.setrlimit(resource.RLIMIT_NOFILE, files)

    return subprocess.run(
        [sys.executable, "-m", "labkit.cli", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, "LABKIT_STATE_DIR": str(cwd / "state"), **environment},
        preexec_fn=limit,
    )


def refused(done, *words):
    assert done.returncode == 3, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr + done.stdout
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 2, done.stderr
    assert lines[0].startswith("labkit: error: ")
    assert lines[1].startswith("  hint: ")
    for word in words:
        assert word in done.stderr, done.stderr


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("module", "package"),
    [("rich", "rich>=13"), ("pyroute2", "pyroute2>="), ("hdrh", "hdrhistogram>=")],
)
def test_a_missing_package_is_named_with_the_command_that_installs_it(tmp_path, verb, module, package):
    (tmp_path / "sitecustomize.py").write_text(HIDES.format(module))
    done = labkit(verb, *ARGUMENTS.get(verb, ()), cwd=tmp_path, PYTHONPATH=str(tmp_path))
    refused(
        done,
        f"packages that labkit needs are not installed: {lacking.PYTHON_PACKAGES[module]}",
        package,
        "install",
    )


def test_a_package_that_is_there_and_broken_is_named(tmp_path):
    (tmp_path / "jinja2").mkdir()
    (tmp_path / "jinja2" / "__init__.py").write_text("raise ImportError('libgone.so: none', name='jinja2.c')")
    done = labkit("report", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    refused(done, "cannot be imported: libgone.so", "jinja2>=3")


@pytest.mark.parametrize("verb", VERBS)
def test_too_few_open_files_are_named_with_the_command_that_allows_more(tmp_path, verb):
    done = labkit(verb, *ARGUMENTS.get(verb, ()), cwd=tmp_path, files=(32, 32))
    raises = (
        "prlimit --pid $$ --nofile=1024:1024" if os.geteuid() or lacking._may_raise() else "ulimit -n 1024"
    )
    refused(done, "only 32 files open here (ulimit -n)", raises)


def test_a_low_limit_that_may_be_raised_is_raised(tmp_path):
    done = labkit("report", cwd=tmp_path, files=(32, 1024))
    assert done.returncode == 2
    assert "no run there yet" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0 or not lacking._may_raise(), reason="needs root that may raise limits")
def test_the_command_allows_more(tmp_path):
    script = f"ulimit -n 32; {lacking.fix.as_root('prlimit --pid $$ --nofile=1024:1024')} && ulimit -n"
    done = subprocess.run(["/bin/bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1024"


PLAIN = "def test_plain(): pass\n"
MEASURES = """
import pytest


@pytest.mark.kernel
@pytest.mark.on(topology="sim")
def test_rate(measure):
    measure.mrr()
"""


@pytest.mark.parametrize(
    ("module", "test", "code"), [("rich", PLAIN, 0), ("rich", MEASURES, 3), ("yaml", PLAIN, 4)]
)
def test_in_pytest_it_is_reported_too_and_tests_that_measure_nothing_go_on(tmp_path, module, test, code):
    (tmp_path / "sitecustomize.py").write_text(HIDES.format(module))
    (tmp_path / "test_it.py").write_text(test)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert done.returncode == code, done.stdout + done.stderr
    assert "INTERNALERROR" not in done.stdout + done.stderr
    if code:
        assert "install" in done.stdout + done.stderr
        assert lacking.PYTHON_PACKAGES[module] in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("run", "--quick", "--topology", "sim", "-m", "kernel and throughput"), 3, "a run needs 4,096"),
        (("build",), 3, "/disk: No space left on device"),
        (("report", "--results", "old"), 0, f"--html {tempfile.gettempdir()}/report.html"),
    ],
    ids=["run", "build", "report"],
)
def test_a_full_disk_is_named_before_anything_is_measured(tmp_path, words, code, said):
    """On a real one, in a mount namespace of our own."""
    script = (
        "mount -t tmpfs -o size=600k none disk && cd disk && "
        '{ test ! -d "$OLD" || cp -r "$OLD" old; } && dd if=/dev/zero of=fill status=none; exec "$@"'
    )
    # Root in a user namespace of its own may not enter somebody's home of mode 0700.
    apart = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    if subprocess.run([*apart, "true"], capture_output=True, check=False).returncode:
        pytest.skip(f"no mount namespace of our own here: {' '.join(apart)}")
    (tmp_path / "disk").mkdir()
    with RunStore.create(tmp_path / "old", command=["labkit", "run"], quick=True, seed=7):
        pass
    done = subprocess.run(
        [*apart, "sh", "-c", script, "sh", sys.executable, "-m", "labkit.cli", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={
            **os.environ,
            "OLD": str(tmp_path / "old") if "old" in words else "",
            "LABKIT_STATE_DIR": str(tmp_path / "state"),
            "LABKIT_PROBE_DIR": str(tmp_path / "disk"),
        },
    )
    assert done.returncode == code, (done.stdout, done.stderr)
    assert said in done.stderr, done.stderr
    assert "Traceback" not in done.stderr + done.stdout


@pytest.mark.parametrize("verb", ["down", "status"])
def test_what_a_run_left_is_undone_all_the_same(tmp_path, verb):
    (tmp_path / "sitecustomize.py").write_text(HIDES.format("rich"))
    done = labkit(verb, cwd=tmp_path, files=(32, 32), PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr


def test_a_part_of_labkit_that_is_missing_is_no_package_of_others():
    assert lacking.as_error(ImportError("x", name="labkit.lab.live")) is None


@pytest.mark.parametrize(
    ("line", "where"), [("8:pids:/a/b", "pids/a"), ("0::/a/b", "a")], ids=["version 1", "version 2"]
)
def test_a_cgroup_that_takes_few_processes_is_named(line: str, where: str, tmp_path: Path) -> None:
    """The limit may be that of a group above."""
    own = tmp_path / "cgroup"
    own.write_text(f"3:cpuset:/\n{line}\n")
    (tmp_path / where / "b").mkdir(parents=True)
    for name, text in (("pids.max", "max"), ("pids.current", "3")):
        (tmp_path / where / "b" / name).write_text(text)
    lacking.check_processes(tmp_path, own)
    for name, text in (("pids.max", "30"), ("pids.current", "20")):
        (tmp_path / where / name).write_text(text)
    with pytest.raises(EnvironmentBroken, match="only 10 more processes") as caught:
        lacking.check_processes(tmp_path, own)
    assert str(tmp_path / where / "pids.max") in str(caught.value)
    (tmp_path / where / "pids.max").write_text("200")
    lacking.check_processes(tmp_path, own)
