"""What the units of labkit have in common. Pure."""

from __future__ import annotations

FOLDER = "/usr/local/lib/labkit"
"""Where programs of units are installed."""
NO_MORE = """\
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
UMask=0077
"""
"""What no program of a unit needs, and none may do."""
