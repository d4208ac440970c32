"""What the pages of the reference say is what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.reference import DOCS, SEE, pages, renewed

PAGES = pages()
ROOT = DOCS.parent


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_generated_part_of_a_page_is_up_to_date(page: Path) -> None:
    assert page.read_text() == renewed(page, PAGES[page]), "run `make reference`"


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text()

    for page in (DOCS / "reference").glob("*.md"):
        assert f"reference/{page.name}" in navigation


def test_every_setting_has_a_meaning() -> None:
    table = PAGES[DOCS / "reference" / "settings.md"]
    rows = re.findall(r"^\| .*`\w+`.* \| (.+) \|$", table, re.MULTILINE)

    assert len(rows) > 60
    assert all(rows)


def test_pages_that_say_more_are_there() -> None:
    for page in SEE.values():
        assert (DOCS / page.partition("#")[0]).exists(), page
