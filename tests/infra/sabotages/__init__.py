"""For every promise: how to break it in effect on a host that keeps it, and how to mend it.

Three kinds: commands that really break it; a file laid over one of /proc or /sys (`cover`), where only a reboot could;
another value wanted (`wants`), where even that can't be done. Scripts run as root and may be run twice. What is to be
mended is kept below ways.FOLDER, which a reboot clears, like everything else that is done here.
"""

from __future__ import annotations

from .bypass import BYPASS
from .cores import CORES
from .host import HOST
from .kernel import KERNEL
from .nics import NICS
from .pages import PAGES
from .ways import Sabotage

__all__ = ["SABOTAGES", "Sabotage"]

SABOTAGES: tuple[Sabotage, ...] = (*KERNEL, *HOST, *CORES, *PAGES, *BYPASS, *NICS)
