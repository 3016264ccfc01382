"""How a target's end reaches pytest."""

from __future__ import annotations


class TargetMissed(AssertionError):
    """A target was measured, and missed."""


class InvalidMeasurement(Exception):
    """The figure cannot be trusted, so it neither passes nor fails; the message names the gate."""
