#!/usr/bin/env bash
# pytest 9.2.0: the hook pytest_runtest_protocol of a folder's conftest.py runs for the tests of every other folder, too.
#
# Expected: as pytest_runtest_setup, _call and _teardown do, it runs for the tests below its own folder only.
# Seen: for one test in a/ and one in b/, a/conftest.py's setup hook is called once and its protocol hook twice. A rule for
# "the tests of this folder" that is written as a wrapper of the protocol holds for the whole run, and only when
# both folders are collected together.
#
# Needs python3 with venv, and PyPI.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip --quiet install pytest==9.2.0 2>/dev/null
mkdir a b
echo 'def test_a(): pass' >a/test_a.py
echo 'def test_b(): pass' >b/test_b.py
cat >a/conftest.py <<'PYTHON'
from pathlib import Path


def note(hook, item):
    with Path(__file__).parents[1].joinpath("calls").open("a") as calls:
        calls.write(f"{hook} {item.name}\n")


def pytest_runtest_protocol(item):
    note("protocol", item)


def pytest_runtest_setup(item):
    note("setup", item)
PYTHON
venv/bin/pytest -q -p no:cacheprovider a b >/dev/null

seen=$(sort calls | paste -sd ',' | sed 's/,/, /g')
printf 'hooks of a/conftest.py: %s\n' "$seen"
[[ $seen == "protocol test_a, protocol test_b, setup test_a" ]]
