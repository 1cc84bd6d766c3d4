"""The page on reliability names tests that exist."""

from __future__ import annotations

import re

from tests.conftest import REPOSITORY


def test_every_test_that_the_page_names_exists() -> None:
    text = (REPOSITORY / "docs" / "reliability.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert len(named) > 35
    missing = [(file, name) for file, name in named if f"def {name}(" not in (REPOSITORY / file).read_text()]
    assert missing == []
    rows = [line for line in text.splitlines() if line.startswith("|") and "---" not in line]
    assert not [row for row in rows if row.count("|") != rows[0].count("|") and "test" in row.rsplit("|", 2)[-2]]
