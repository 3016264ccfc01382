"""Whether the archive that a role's variables name can be the right one, as far as is seen before a download."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import downloads, trees

_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~_-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Archived:
    """What a role unpacks to ROLE_dir/ROLE_version."""

    role: str
    """It begins the names of the variables."""
    example: str
    """Of a version."""
    folder: str
    """Default of ROLE_dir."""
    with_version: tuple[str, ...]
    """Variables that ask for a version."""
    checksum: str
    """Where the user has the checksum from."""


TREX = Archived(
    role="trex",
    example="v3.08",
    folder="/opt/trex",
    with_version=("trex_ports", "trex_sha256", "trex_archive"),
    checksum="TRex's site publishes none: get the archive once, by a way that you trust",
)
OPENONLOAD = Archived(
    role="openonload",
    example="9.2.1",
    folder="/opt/openonload",
    with_version=("openonload_interfaces", "openonload_sha256", "openonload_archive"),
    checksum="archives that a site packs anew for each download have another one each time: keep one of your own",
)


def wrong(of: Archived, wanted: Mapping[str, Any]) -> Iterator[str]:
    """All that is wrong with the variables that name the archive, without asking the host."""
    role = of.role
    version, checksum = (str(wanted.get(f"{role}_{name}") or "") for name in ("version", "sha256"))
    if not version:
        for name in of.with_version:
            if wanted.get(name):
                yield (
                    f"{name} is set, and {role}_version is empty: expected the archive's version, such as "
                    f"{of.example}"
                )
        return
    if not _VERSION.fullmatch(version):
        yield (
            f"{role}_version {version!r}: expected letters, digits, and . + ~ _ - between them, such as {of.example}"
        )
    archive = str(wanted.get(f"{role}_archive") or "")
    if archive and not archive.startswith("/"):
        yield f"{role}_archive: {archive}: expected an absolute path, of a file where Ansible runs"
    if not archive and not wanted.get(f"{role}_url", " "):
        yield (
            f"{role}_version is {version}, and both {role}_url and {role}_archive are empty: expected an http, https "
            "or file URL or a path on the host, or a file where Ansible runs"
        )
    if not _SHA256.fullmatch(checksum):
        yield (
            f"{role}_sha256 is {checksum or 'empty'}, and {role}_version is {version}: expected 64 hexadecimal digits, "
            f"as sha256sum prints them of the archive. {of.checksum[0].upper()}{of.checksum[1:]}"
        )


def problems(
    of: Archived, wanted: Mapping[str, Any], controller: Mapping[str, Any] | None, root: Path = Path("/")
) -> Iterator[str]:
    """All that is wrong.

    `controller`: of the file ROLE_archive where Ansible runs, what Ansible's module stat says of it, or its `error`.
    """
    role = of.role
    if found := list(wrong(of, wanted)):
        yield from found
        return
    version, expected = (str(wanted.get(f"{role}_{name}") or "") for name in ("version", "sha256"))
    if not version:
        return
    folder = root / str(wanted.get(f"{role}_dir", of.folder)).lstrip("/") / version
    if folder.is_dir() and trees.unpacked_of(folder) == expected and not trees.damaged(folder):
        return  # it is there already, and no archive is needed
    if named := str(wanted.get(f"{role}_archive") or ""):
        yield from (f"{role}_archive: {named}: {one}" for one in _there(role, expected, controller or {}))
        return
    url = str(wanted.get(f"{role}_url") or "")
    path = url[len("file://") :] if url.startswith("file://") else url
    if "://" in path or not path or "{{" in path:
        return  # judged when it is downloaded, which is the role's first step
    try:
        checksum, size = downloads.checksum(root / path.lstrip("/"))
    except OSError as error:
        yield f"{role}_url: {path}: {error.strerror}. Expected an http, https or file URL, or a path on the host"
        return
    if checksum != expected:
        yield f"{role}_url: {path}: {_another(role, expected, checksum, size)}"


def _there(role: str, expected: str, there: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the file where Ansible runs."""
    if there.get("error"):
        yield f"cannot be read where Ansible runs: {there['error']}"
    elif not there.get("exists"):
        yield "there is no such file where Ansible runs"
    elif there.get("isreg") is False or there.get("readable") is False:
        yield "is no file that may be read where Ansible runs"
    elif there.get("checksum") != expected:
        yield _another(role, expected, there.get("checksum"), there.get("size"))


def _another(role: str, expected: str, found: object, size: object) -> str:
    return (
        f"expected sha256 {expected} ({role}_sha256), found {found} of {size} bytes: it is another file, or half of it"
        f". Get it again, or correct {role}_sha256"
    )
