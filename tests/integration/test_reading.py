"""Several texts of a host by one command, read by a shell."""

from __future__ import annotations

from pathlib import Path

import pytest

from labkit.errors import ToolFailed
from labkit.machine.hosts import LocalHost
from labkit.machine.reading import files, outputs

HERE = LocalHost()


def test_files_come_whole_and_those_that_are_not_there_are_empty(tmp_path: Path) -> None:
    texts = [
        "",
        "one\n",
        "no end of line",
        "----\nlabkit: next\nQUFBQQ==\n\n",
        "\0\r\n$1 `x`\n",
        "é" * 70_000,
    ]
    paths = [tmp_path / f"it's {number} $(x) -n" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_bytes(text.encode())
    gone, folder = tmp_path / "gone", tmp_path

    found = files(HERE, str(gone), *map(str, paths), str(folder), "/proc/self/net/snmp", what="them")

    assert found[0] == found[-2] == ""
    assert found[1:-2] == texts
    assert found[-1].startswith("Ip: ")
    assert files(HERE, what="nothing") == []


def test_each_command_has_the_arguments_and_may_fail_for_itself() -> None:
    commands = [
        'echo "$1"',
        "cd /; exit 7",
        'echo "$2"; false # said',
        "for one in $1 $2; do\n  echo $one\ndone",
    ]
    assert outputs(HERE, commands, "a b", "c", what="it") == ["a b\n", "", "c\n", "a\nb\nc\n"]


def test_what_a_command_says_of_an_error_is_not_its_output() -> None:
    assert outputs(HERE, ["cat /nowhere; echo on"], what="it") == ["on\n"]


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("kill -s KILL $$", "what reads the sockets was killed by SIGKILL"),
        ("if true", "what reads the sockets ended with exit code 2: .*yntax error"),
    ],
)
def test_a_shell_that_does_not_come_to_its_end_is_an_error(command: str, says: str) -> None:
    with pytest.raises(ToolFailed, match=says):
        outputs(HERE, ["echo one", command], what="the sockets")


def test_a_host_without_the_tools_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("sh", "setpriv", "cat"):
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolFailed, match=r"ended with exit code 127: .*base64"):
        files(HERE, "/proc/self/net/snmp", what="it")
