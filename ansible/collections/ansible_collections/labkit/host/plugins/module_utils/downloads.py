"""Fetches an archive and judges it by its checksum: it is whole and the one that was meant, or it is refused."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import os
import shutil
import ssl
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_PIECE_BYTES = 1 << 20
_SILENCE_S = 60.0
"""How long a server may send nothing."""
REMOTE = ("http://", "https://")


class DownloadRefused(Exception):
    """The archive can't be had, or is another one; says why."""


@contextmanager
def scratch(root: Path, prefix: str) -> Iterator[Path]:
    """A folder on disk, not in memory: archives take hundreds of megabytes, a build of DPDK gigabytes."""
    base = root / "var/tmp"
    base.mkdir(parents=True, exist_ok=True)
    for left in base.glob(f"{prefix}*"):  # of a run that was killed: nobody holds it any more
        with contextlib.suppress(OSError), _held(left):
            shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=base) as folder, _held(Path(folder)):
        yield Path(folder)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Raises OSError where another process holds it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def fetch(url: str, sha256: str, archive: Path, *, validate_certs: bool = True) -> None:
    """Write the archive to a file. `url`: an http, https or file URL, or a path. Raises DownloadRefused."""
    digest = hashlib.sha256()
    size = 0
    try:
        with _opened(url, validate_certs) as stream, archive.open("wb") as file:
            for piece in iter(lambda: stream.read(_PIECE_BYTES), b""):
                digest.update(piece)
                size += len(piece)
                file.write(piece)
    except http.client.IncompleteRead as error:
        raise DownloadRefused(
            f"{url}: the download was interrupted after {size} bytes; run this again"
        ) from error
    except (urllib.error.URLError, OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise DownloadRefused(
                f"{url}: {reason}. The checksum says whether the archive is the right one, whoever sends it: to fetch "
                "it nevertheless set validate_certs to false (trex_validate_certs, openonload_validate_certs)"
            ) from error
        raise DownloadRefused(
            f"{url}: {reason}. Expected an http, https or file URL, or a path on the host; where the host has "
            "no network, copy the archive to it and give its path"
        ) from error
    compare(url, sha256, digest.hexdigest(), size)


def compare(name: str, expected: str, found: str, size: int) -> None:
    """Raises DownloadRefused for another checksum than the expected one."""
    if found != expected:
        raise DownloadRefused(
            f"{name}: expected sha256 {expected}, got {found} of {size} bytes: it is another "
            "file, or half of it. Nothing was installed"
        )


def checksum(path: Path) -> tuple[str, int]:
    """sha256 and size of a file. Raises OSError."""
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        for piece in iter(lambda: file.read(_PIECE_BYTES), b""):
            digest.update(piece)
            size += len(piece)
    return digest.hexdigest(), size


def _opened(url: str, validate_certs: bool) -> IO[bytes]:
    if "://" not in url:
        return Path(url).open("rb")
    if not url.startswith((*REMOTE, "file://")):
        raise ValueError("unknown kind of URL")
    # The checksum says what the archive is, whoever sends it.
    context: ssl.SSLContext | None = None if validate_certs else ssl._create_unverified_context()  # noqa: S323
    stream: IO[bytes] = urllib.request.urlopen(url, timeout=_SILENCE_S, context=context)  # noqa: S310 (kinds are looked at above)
    return stream
