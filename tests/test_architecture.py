"""The page on architecture draws the tree of the files, and the floors that are checked.

A line that begins with a folder names its modules, those that begin with files name them; what stands in
parentheses, and behind a file, explains. A folder stands deeper than the one that it is in.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = "fastapi_events"

_TREE = re.compile(r"^## The tree\n.*?^```\n(.*?)^```", re.MULTILINE | re.DOTALL)
_FLOORS = re.compile(r"^## Floors\n.*?^```\n(.*?)^```", re.MULTILINE | re.DOTALL)
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


def floors_of_the_page() -> list[set[str]]:
    """The modules of each floor, from the lowest, as the page names them."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    found = _FLOORS.search(page)
    assert found is not None
    floors = re.split(r"^\d · .*\n", found[1], flags=re.MULTILINE)[1:]
    return [set(re.findall(r"\w+", each)) for each in reversed(floors)]


def floors_that_are_checked() -> list[set[str]]:
    """Those that import-linter has."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(each["layers"] for each in contracts if each["id"] == "floors")
    return [set(re.findall(r"\w+", each)) for each in reversed(layers)]


def test_the_floors_of_the_page_are_those_that_are_checked() -> None:
    assert floors_of_the_page() == floors_that_are_checked()


def test_a_module_stands_in_the_tree_under_its_own_floor() -> None:
    tree = _TREE.search((ROOT / "docs" / "architecture.md").read_text())
    assert tree is not None
    floors, headed = floors_that_are_checked(), list[tuple[int, str]]()
    for part in re.split(r"^  # (?=\d · )", tree[1], flags=re.MULTILINE)[1:]:
        top = re.findall(r"^  (?! )(\S.*)$", part, re.MULTILINE)
        names = [name for line in top for name in re.findall(r"\b(\w+)(?:\.py|/)(?=\s)", line.split("(")[0])]
        headed += [(int(part[0]), name) for name in names]

    assert len(headed) > 50
    assert [(number, name) for number, name in headed if name not in floors[number]] == []


def test_the_page_says_which_names_have_no_module() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    said = re.search(r"^`(\w+)` and `(\w+)` have their place, and no module yet\.$", page, re.MULTILINE)
    assert said is not None
    there = {path.stem for path in (ROOT / PACKAGE).iterdir()}

    assert set.union(*floors_of_the_page()) - there == set(said.groups())
