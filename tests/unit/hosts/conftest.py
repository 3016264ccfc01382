"""The collection's modules are imported as Ansible does: as `ansible_collections.labkit.host`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "ansible" / "collections"))
