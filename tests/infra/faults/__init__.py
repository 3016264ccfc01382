"""For every host check: how to make it fail on a host that passes it, and how to revert that.

Three kinds of faults: a command that changes the setting; a file mounted over one of /proc or /sys (`cover`), where
only a reboot could change it; another desired value (`wants`), where neither is possible. Scripts run as root and may
run twice. What is needed to revert a fault is kept below ways.FOLDER, which a reboot clears, like most faults.
"""

from __future__ import annotations

from .bypass import BYPASS
from .cores import CORES
from .host import HOST
from .kernel import KERNEL
from .nics import NICS
from .openonload import OPENONLOAD
from .pages import PAGES
from .trex import TREX
from .ways import Fault

__all__ = ["FAULTS", "Fault"]

FAULTS: tuple[Fault, ...] = (*KERNEL, *HOST, *CORES, *PAGES, *BYPASS, *NICS, *OPENONLOAD, *TREX)
