"""The tree that the page on architecture draws is that of the files.

A line that begins with a folder names its modules, those that begin with files name them; what stands in
parentheses, and behind a file, explains. A folder stands deeper than the one that it is in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = "fastapi_events"

_TREE = re.compile(r"^## The tree\n.*?^```\n(.*?)^```", re.MULTILINE | re.DOTALL)
_EXPLANATION = re.compile(r"\s*\([^()]*\)")
_CONTINUED = 20
"""Columns from which on a line goes on with the one before."""


def drawn() -> Iterator[str]:
    """Each module that the page names, as a path."""
    tree = _TREE.search((ROOT / "docs" / "architecture.md").read_text())
    assert tree is not None
    folders: list[tuple[int, str]] = []
    text = tree[1].replace("★", "")
    while _EXPLANATION.search(text):
        text = _EXPLANATION.sub("", text)
    for line in text.splitlines():
        words = line.split()
        if not words or words[0] == "#":
            continue
        indent = len(line) - len(line.lstrip())
        if indent < _CONTINUED:
            while folders and folders[-1][0] >= indent:
                folders.pop()
            if not folders and words[0] != f"{PACKAGE}/":
                return
        place = "/".join(name for _, name in folders)
        if words[0].endswith("/"):
            folders.append((indent, words.pop(0).rstrip("/")))
            place = "/".join(name for _, name in folders)
        elif indent < _CONTINUED:
            words = [word.removesuffix(".py") for word in words if word.endswith(".py")]
        for name in words:
            yield f"{place}/{name}.py"


def test_each_place_that_the_page_points_to_is_there() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    table = page[page.index("## Where is it?") : page.index("## Rules that")]
    places = re.findall(r"`([\w/]+(?:\.py|/))`", table)

    assert len(places) > 30
    assert [each for each in places if not (ROOT / PACKAGE / each).exists()] == []
    for place, name in re.findall(r"`([\w/]+\.py)`, `(\w+)`", table):
        assert f"def {name}(" in (ROOT / PACKAGE / place).read_text()


def test_each_module_stands_in_the_tree_and_each_name_there_is_a_module() -> None:
    named = list(drawn())
    there = {str(path.relative_to(ROOT)) for path in (ROOT / PACKAGE).rglob("*.py")}
    there = {path for path in there if not path.endswith("__init__.py") or path == f"{PACKAGE}/__init__.py"}

    assert sorted(named) == sorted(set(named)), "named twice"
    assert sorted(there - set(named)) == [], "modules that docs/architecture.md does not name"
    assert sorted(set(named) - there) == [], "names in docs/architecture.md that are no module"
