#!/usr/bin/env bash
# lbr-trex-client 3.4.0 (PyPI, the client of the TRex traffic generator) beside PyYAML 6.0.2 and pyzmq 26.2.0.
#
# Expected: a package that is installed beside others leaves what their names import alone; it needs neither of them.
# Seen: it brings copies of its own and puts them first in the search path. After it was imported, `import yaml` in a
# fresh look gives PyYAML 3.11 where 6.0.2 is installed; with pyzmq imported before, the client can't be imported at
# all: its copy and the installed one are mixed. So it wants a process of its own.
#
# Needs Python 3.8 to 3.11 (PYTHON, else the first of these that is found).
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for python in "${PYTHON:-}" python3.11 python3.10 python3.9 python3.8; do
    [[ -n $python ]] && command -v "$python" >/dev/null && break
done
"$python" -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install \
    lbr-trex-client==3.4.0 PyYAML==6.0.2 pyzmq==26.2.0 2>"$work/log" || { cat "$work/log"; exit 1; }

cat >"$work/yaml_first.py" <<'P'
import sys

import yaml

before = yaml
import lbr_trex_client
import trex.stl.api

del sys.modules["yaml"]
import yaml as after

print(before.__version__, after.__version__, "the same" if after.__file__ == before.__file__ else "another")
P
cat >"$work/zmq_first.py" <<'P'
import zmq
import lbr_trex_client

try:
    import trex.stl.api
except ImportError as error:
    print(f"ImportError: {str(error).partition(' (')[0]}")
else:
    print("imported")
P
yaml=$("$work/venv/bin/python" -W ignore "$work/yaml_first.py")
zmq=$("$work/venv/bin/python" -W ignore "$work/zmq_first.py")
echo "$yaml"
echo "$zmq"
[[ $yaml == "6.0.2 3.11 another" ]]
[[ $zmq == "ImportError: cannot import name '_check_ptr' from 'zmq.error'" ]]
