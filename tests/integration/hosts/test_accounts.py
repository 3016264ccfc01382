"""Accounts: only what is missing is added, and only what was added goes."""

from __future__ import annotations

import os
import sys

import pytest
from ansible_collections.labkit.host.plugins.module_utils import accounts, undo
from ansible_collections.labkit.host.plugins.module_utils.state import DIRECTORY, State

FAKE = f"""#!{sys.executable} -IS
import pathlib, sys
program, words = pathlib.Path(sys.argv[0]).name, sys.argv[1:]
assert words[0] == "--root"
etc = pathlib.Path(words[1]) / "etc"
passwd, group = etc / "passwd", etc / "group"
name = words[-1]
if (etc / "refuse").exists():
    sys.exit("it is in use")
rows = {{line.split(":")[0]: line.split(":") for line in group.read_text().splitlines()}}
gid = words[words.index("--gid") + 1] if "--gid" in words else str(990 + len(rows))
if program == "useradd" and "--gid" in words:
    gid = rows[gid][2]
elif program == "useradd" and name in rows:
    sys.exit(f"group {{name}} exists - if you want to add this user to that group, use -g.")
elif program in ("groupadd", "useradd"):
    with group.open("a") as file: file.write(f"{{name}}:x:{{gid}}:\\n")
if program == "useradd":
    with passwd.open("a") as file: file.write(f"{{name}}:x:990:{{gid}}::/home/{{name}}:/bin/bash\\n")
if program in ("groupdel", "userdel"):
    users = {{line.split(":")[0]: line.split(":") for line in passwd.read_text().splitlines()}}
    # By USERGROUPS_ENAB, which is usual, a user takes the group of the same name along.
    gone = program == "groupdel" or rows.get(name, [""] * 4)[2:] == [users[name][3], ""]
    for file in (passwd, *([group] if gone else [])):
        lines = [line for line in file.read_text().splitlines(True) if not line.startswith(name + ":")]
        file.write_text("".join(lines))
if program == "gpasswd":
    option, user = words[2:4]
    lines = group.read_text().splitlines()
    for at, line in enumerate(lines):
        if line.startswith(name + ":"):
            members = {{m for m in line.split(":")[3].split(",") if m}}
            members = members | {{user}} if option == "--add" else members - {{user}}
            lines[at] = ":".join([*line.split(":")[:3], ",".join(sorted(members))])
    group.write_text("\\n".join(lines) + "\\n")
"""


@pytest.fixture
def root(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/fake").write_text(FAKE)
    (tmp_path / "bin/fake").chmod(0o755)
    for name in ("groupadd", "useradd", "groupdel", "userdel", "gpasswd"):
        (tmp_path / "bin" / name).symlink_to("fake")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    host = tmp_path / "host"
    (host / "etc").mkdir(parents=True)
    (host / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/bash\nann:x:1000:1000::/home/ann:/bin/bash\n"
    )
    (host / "etc/group").write_text("root:x:0:\nann:x:1000:\nkvm:x:105:ann\n")
    return host


def etc(root):
    return {name: (root / "etc" / name).read_text() for name in ("passwd", "group")}


def test_what_is_missing_is_added_once_and_goes_again(root):
    before = etc(root)
    wanted = {"groups": ["labkit"], "users": ["lab"], "memberships": ["lab:labkit", "ann:labkit"]}

    predicted = accounts.add("host", **wanted, root=root, check=True)
    assert etc(root) == before
    added = accounts.add("host", **wanted, root=root)

    assert predicted == added == ["group labkit", "user lab", "member lab:labkit", "member ann:labkit"]
    assert "labkit:x:993:ann,lab" in etc(root)["group"]
    assert accounts.add("host", **wanted, root=root) == []
    assert undo.undo("host", root)[1] == []
    assert etc(root) == before
    assert not (root / DIRECTORY).exists()


def test_name_in_another_encoding_stands_in_nobodys_way(root):
    with (root / "etc/passwd").open("ab") as file:
        file.write(b"rene:x:1000:1000:Ren\xe9:/home/rene:/bin/sh\n")

    assert accounts._rows("passwd", root)["rene"][2] == "1000"


def test_account_that_was_there_is_never_touched(root):
    before = etc(root)

    assert accounts.add("host", groups=["kvm"], users=["ann"], memberships=["ann:kvm"], root=root) == []
    undo.undo("host", root)

    assert etc(root) == before


def test_user_and_group_of_one_name_are_added_and_go_again(root):
    before = etc(root)
    wanted = {"groups": ["labkit"], "users": ["labkit"], "memberships": ["labkit:labkit"]}

    # Whose own group it is is in it already.
    assert accounts.add("host", **wanted, root=root)[:2] == ["group labkit", "user labkit"]
    assert accounts.add("host", **wanted, root=root) == []

    assert undo.undo("host", root)[1] == []
    assert etc(root) == before


def test_group_that_was_there_stays_where_a_user_of_its_name_goes(root):
    (root / "etc/group").write_text(etc(root)["group"] + "lab:x:500:\n")
    before = etc(root)

    assert accounts.add("host", users=["lab"], root=root) == ["user lab"]
    assert "lab:x:990:500:" in etc(root)["passwd"]
    assert undo.undo("host", root) == (["user lab"], [])
    assert etc(root) == before


def test_user_whose_own_group_it_is_is_in_it_already(root):
    assert accounts.add("host", memberships=["ann:ann"], root=root) == []


def test_group_into_which_others_came_stays_and_is_named(root):
    accounts.add("host", groups=["labkit"], root=root)
    (root / "etc/group").write_text(etc(root)["group"].replace("labkit:x:993:", "labkit:x:993:ann"))

    assert undo.undo("host", root) == ([], ["group labkit: others are in it by now: ann"])


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"users": ["Lab User"]}, "expected at most 32 of a-z"),
        ({"groups": ["-x"]}, "expected at most 32 of a-z"),
        ({"memberships": ["ann"]}, "expected USER:GROUP"),
        ({"memberships": ["bob:kvm"]}, "no such user"),
        ({"groups": ["labkit"], "memberships": ["ann:nosuch"]}, "no such group"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_changed(root, wanted, expected):
    before = etc(root)

    with pytest.raises(accounts.AccountRefused, match=expected):
        accounts.add("host", **wanted, root=root)
    assert etc(root) == before
    assert not (root / DIRECTORY).exists()


def test_refusal_of_the_tool_is_reported_and_leaves_no_note(root):
    (root / "etc/refuse").touch()

    with pytest.raises(accounts.AccountRefused, match=r"groupadd --root .* --system labkit: it is in use"):
        accounts.add("host", groups=["labkit"], root=root)
    assert State("host", root).changes() == []


def test_user_who_is_logged_in_stays_and_is_reported(root):
    accounts.add("host", users=["lab"], root=root)
    (root / "etc/refuse").touch()

    done, [left] = undo.undo("host", root)

    assert done == []
    assert left.endswith("userdel --root " + str(root) + " --remove lab: it is in use")
    assert "lab:" in etc(root)["passwd"]
