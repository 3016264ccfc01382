"""What is printed reaches its reader, in any encoding, and a reader that goes away changes nothing."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sample_run import sample_run

from labkit.output import PLAIN_ERRORS, plain, tolerate
from labkit.record.codec import encode


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with names that no ASCII has, in a folder of such a name."""
    made = tmp_path_factory.mktemp("run") / "Läufe ≥ 3"
    made.mkdir()
    text = json.dumps(encode(sample_run(host=True, hostile="≥µ")))
    (made / "results.json").write_text(text)
    return made


def labkit(*arguments: str, shell: str = '"$@"', **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = ["bash", "-o", "pipefail", "-c", shell, "bash", sys.executable, "-m", "labkit.cli", *arguments]
    return subprocess.run(command, capture_output=True, env={**os.environ, **environment}, check=False)


@pytest.mark.parametrize("verb", ["report", "compare"])
@pytest.mark.parametrize(
    ("encoding", "environment"),
    [
        ("ascii", {"PYTHONIOENCODING": "ascii"}),
        ("latin-1", {"PYTHONIOENCODING": "latin-1"}),
        ("ascii", {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
    ],
)
def test_without_utf8_a_table_comes_in_plain_letters(
    folder: Path, verb: str, encoding: str, environment: dict[str, str]
) -> None:
    done = labkit(verb, *[str(folder)] * (2 if verb == "compare" else 1), **environment)
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode(encoding, "surrogateescape")  # of a C locale's file names
    assert len(text.splitlines()) > 5
    if verb == "report":
        assert re.search(r"^report: .*/L\S+ufe .* 3/report.html$", text, re.MULTILINE)
    assert "\\u" not in text
    assert "?" not in text


@pytest.mark.parametrize("shell", ['"$@" | head -1 >/dev/null', '"$@" | true', '"$@" >&-'])
@pytest.mark.parametrize("arguments", [("report",), ("--help",)], ids=" ".join)
def test_a_pipe_that_is_closed_early_is_no_error(
    folder: Path, arguments: tuple[str, ...], shell: str
) -> None:
    named = [*arguments, str(folder)] if arguments[0] == "report" else list(arguments)
    done = labkit(*named, shell=shell)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_pipe_that_is_closed_early_makes_no_success_of_a_failure(folder: Path, tmp_path: Path) -> None:
    """Else `labkit compare A B | head` in a pipeline would always be green."""
    empty = tmp_path / "results.json"
    document = json.loads((folder / "results.json").read_text())
    empty.write_text(json.dumps({**document, "measurements": []}))
    assert labkit("compare", str(folder), str(empty)).returncode == 1
    assert labkit("compare", str(folder), str(empty), shell='"$@" | true').returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("verb", ["report", "--help"])
def test_a_full_disk_is_reported_in_one_line(folder: Path, verb: str) -> None:
    done = labkit(verb, *([str(folder)] if verb == "report" else []), shell='"$@" >/dev/full')
    assert done.returncode == 3
    assert done.stderr.decode().startswith(
        "labkit: error: the output can't be written: No space left on device\n"
    )
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "encoding", "wanted"),
    [
        ("≥ 5 µs, 3×, – …", "ascii", ">= 5 us, 3x, - ..."),  # noqa: RUF001
        ("≥ 5 µs, 3×", "latin-1", ">= 5 µs, 3×"),  # noqa: RUF001
        ("≥ 5 µs", "utf-8", "≥ 5 µs"),
        ("≥ 5 µs", None, "≥ 5 µs"),
        ("Zürich 東", "ascii", "Zurich ?"),
        ("≥ 5", "no such encoding", ">= 5"),
    ],
)
def test_what_an_encoding_lacks_is_written_plainly(text: str, encoding: str | None, wanted: str) -> None:
    assert plain(text, encoding) == wanted


def test_the_stream_of_another_writes_plainly_too() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    tolerate(stream)
    tolerate(None)
    tolerate(io.StringIO())
    print("≥ 5 µs", file=stream, flush=True)
    assert raw.getvalue() == b">= 5 us\n"


def test_a_file_name_that_is_no_text_stays_what_it_is() -> None:
    name = os.fsdecode(b"results-\xff")
    for encoding in ("utf-8", "ascii"):
        assert name.encode(encoding, PLAIN_ERRORS) == b"results-\xff"
