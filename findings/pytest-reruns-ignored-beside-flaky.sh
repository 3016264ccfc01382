#!/usr/bin/env bash
# pytest-rerunfailures 16.7 beside flaky 3.8.1 (pytest 9.2.0): `--reruns` is accepted and does nothing.
#
# Expected: `pytest --reruns 1` runs a failing test twice ("1 failed, 1 rerun"), or the two refuse to work together.
# Seen: with flaky installed, and no test marked for it, the test runs once and the summary says "1 failed".
# Both want to run the test's protocol, and the first that answers has it. `-p no:flaky` brings the rerun back.
#
# Needs python3 with venv, and PyPI.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip --quiet install pytest==9.2.0 pytest-rerunfailures==16.7 flaky==3.8.1 2>/dev/null
echo 'def test_no(): assert 0' >test_it.py

summary() {
    { venv/bin/pytest -q -p no:cacheprovider --tb=no "$@" test_it.py || true; } | tail -n 1 | sed 's/ in .*//'
}

with=$(summary --reruns 1)
without=$(summary --reruns 1 -p no:flaky)
printf 'with flaky:     %s\nwith no:flaky:  %s\n' "$with" "$without"
[[ $with == "1 failed" && $without == "1 failed, 1 rerun" ]]
