"""What the pages for contributors name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_layers import GROUND, MAY_IMPORT

CHECKOUT = Path(__file__).parents[2]
ARCHITECTURE = CHECKOUT / "docs/architecture.md"
PAGES = (ARCHITECTURE, CHECKOUT / "CONTRIBUTING.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_path_that_a_page_names_exists(page: Path) -> None:
    named = re.findall(r"`((?:labkit|ansible|tests|docs|topologies|findings)/[\w./-]*)`", page.read_text())
    assert named
    assert [path for path in named if not (CHECKOUT / path).exists()] == []


def test_the_architecture_names_each_room() -> None:
    text = ARCHITECTURE.read_text()
    rooms = set(MAY_IMPORT) - set(GROUND) - {"faces"}
    assert [room for room in sorted(rooms) if f"| `{room}` |" not in text] == []
    assert [module for module in GROUND if f"`{module}`" not in text] == []
