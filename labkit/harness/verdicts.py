"""The exceptions that report a target's outcome to pytest."""

from __future__ import annotations

from labkit.errors import ConnectionLost


class TargetMissed(AssertionError):
    """A target was measured, and missed."""


class InvalidMeasurement(Exception):
    """The figure cannot be trusted, so it neither passes nor fails; the message names the gate."""


INVALID = (InvalidMeasurement, ConnectionLost)
"""What ends a test as invalid: what was measured cannot be trusted, or was lost."""
