"""The name of a run's folder."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime


def new_name() -> str:
    """A name that nobody else has: UTC time and a short random part."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
