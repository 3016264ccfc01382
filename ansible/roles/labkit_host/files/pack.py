"""Packs what the probe is built of, byte for byte the same for the same sources: `pack.py CHECKOUT`.

Prints {"path", "sha256"} of the archive. Runs where Ansible does.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tarfile
import tempfile
from pathlib import Path

NEEDED = (
    "labkit/__init__.py",
    "labkit/errors.py",
    *(f"labkit/machine/{name}.py" for name in ("__init__", "fix", "ownership")),
    "labkit/probe",
)


def plain(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Without what differs between checkouts; caches are left out."""
    if "__pycache__" in member.name:
        return None
    member.mtime = 0
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mode = 0o755 if member.isdir() else 0o644
    return member


def main() -> int:
    """Command line."""
    checkout = Path(sys.argv[1]).resolve()
    descriptor, path = tempfile.mkstemp(prefix="labkit-source-", suffix=".tar")
    with (
        os.fdopen(descriptor, "wb") as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for name in NEEDED:
            tar.add(checkout / name, arcname=name, filter=plain)  # folders in the order of their names
    print(json.dumps({"path": path, "sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
