"""Where this host's programs are found."""

from __future__ import annotations

import os


def environment() -> dict[str, str]:
    """That of this process, with the folders of the administrator's programs: su without a dash leaves those out."""
    path = os.environ.get("PATH", os.defpath)
    return {**os.environ, "PATH": f"{path}:/usr/sbin:/sbin"}
