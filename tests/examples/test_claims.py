"""What the README and the pages claim, where it can be held against the code."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from fastapi_events import __version__
from fastapi_events.cli import parser
from fastapi_events.handlers.base import BaseEventHandler
from fastapi_events.lifecycle import Lifecycle

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def console(page: Path) -> list[str]:
    """The commands in a page's console blocks."""
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


SKILL = ROOT / "fastapi_events" / ".agents" / "skills" / "fastapi-events" / "SKILL.md"
READMES = [SKILL, *sorted((ROOT / "examples").glob("*/README.md"))]
COMMANDS = [
    (page.parent.name if page in READMES else page.stem, line)
    for page in [*PAGES, *READMES]
    for line in console(page)
    if line.startswith(("fastapi-events ", "python -m fastapi_events "))
]


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_a_command_of_a_page_can_be_typed(page: str, line: str) -> None:
    line = re.split(r" \| | [<>] |…", line.replace("python -m fastapi_events", "fastapi-events"))[0]
    typed = shlex.split(line, comments=True)[1:]
    typed = typed[: typed.index("--")] if "--" in typed else typed
    if typed[0] != "--print-completion" and len(typed) > 1:
        parser().parse_args(typed)


def test_the_readme_is_read_at_one_sitting() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) < 100


def test_enough_commands_are_shown() -> None:
    assert len(COMMANDS) > 15


def test_each_hook_stands_in_the_table_of_the_life_of_an_event() -> None:
    page = (ROOT / "docs" / "extending.md").read_text()
    table = page[page.index("| hook | says |") : page.index("A hook is called where")]
    named = re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in table.splitlines() if "|" in line))

    assert named == [name for name in vars(Lifecycle) if not name.startswith("_")]


def test_each_member_of_a_handler_stands_in_the_table_for_those_who_write_one() -> None:
    page = (ROOT / "docs" / "extending.md").read_text()
    table = page[page.index("| method | is called |") : page.index("Rules for a handler:")]
    named = set(re.findall(r"`(\w+)(?:\([^)]*\))?`", table))

    assert {name for name in dir(BaseEventHandler) if not name.startswith("_")} <= named


def test_who_says_that_older_code_runs_says_what_differs() -> None:
    paragraphs = [(page.name, each) for page in PAGES for each in page.read_text().split("\n\n")]
    promises = [
        (name, each)
        for name, each in paragraphs
        if re.search(r"[Cc]ode (?:written )?for .*0\.12\S* runs", each)
    ]

    assert "README.md" in {name for name, _ in promises}
    assert {name for name, each in promises if "migration.md" not in each} <= {"migration.md"}
    assert [name for name, each in paragraphs if re.search(r"runs? \[?unchanged", each)] == []


def test_no_install_line_brings_the_predecessor() -> None:
    pages = [*PAGES, *(ROOT / "examples").rglob("*.md")]
    installs = [
        each
        for page in pages
        for each in re.findall(r"pip install '(?:\.|fastapi-events)[^']*'", page.read_text())
    ]

    assert len(installs) > 30
    for install in installs:
        assert "'.[" in install or re.search(r"'fastapi-events(\[[a-z,]+\])?>=1'", install), install
    assert int(__version__.partition(".")[0]) >= 1


def test_every_page_names_the_same_oldest_python() -> None:
    oldest = PROJECT["requires-python"].removeprefix(">=")
    newest = PROJECT["classifiers"][-2].rpartition(" ")[2]

    assert f"Python {oldest} to {newest}" in (ROOT / "README.md").read_text()
    for page in PAGES:
        assert not re.search(r"Python 3\.(?:[0-9]|10)\b(?! is)", page.read_text()), page


@pytest.mark.parametrize("page", [*PAGES, *sorted((ROOT / "examples").rglob("*.py"))], ids=str)
def test_no_example_strands_messages(page: Path) -> None:
    made = re.findall(r"= (\w*RedisBroker)\(", page.read_text())

    assert set(made) <= {"SafeRedisBroker"}


def test_every_extra_has_a_line_on_the_home_page() -> None:
    page = (ROOT / "docs" / "index.md").read_text()
    named = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", page, re.MULTILINE)

    assert set(re.findall(r"`(\w+)`", "".join(named))) == set(PROJECT["optional-dependencies"])


def section(page: str, heading: str) -> str:
    """A part of a page, up to the next heading of its level."""
    return page.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def claims() -> dict[str, list[str]]:
    """What the home page, reliability and migration claim, each with the tests that its source names."""
    home = (ROOT / "docs" / "index.md").read_text()
    reliability = (ROOT / "docs" / "reliability.md").read_text()
    migration = (ROOT / "docs" / "migration.md").read_text()
    parts = [
        section(home, "What you can rely on"),
        section(migration, "What behaves differently"),
        *(
            section(reliability, each)
            for each in ("The promises", "The modes", "The brokers", "What remains")
        ),
    ]
    without_code = [re.sub(r"```.*?```", "", part, flags=re.DOTALL) for part in parts]
    items = [item for part in without_code for item in re.split(r"\n(?=- |\d\. |\| )|\n\n", part)]
    is_claim = re.compile(r"- |\d\. |\| (?!---|\||what \||mode \|)|\*\*.+\*\* .")  # not the head of a table
    return {item[:60]: re.findall(r"tests/[\w/]+\.py::\w+", item) for item in items if is_claim.match(item)}


def test_each_claim_of_the_pages_names_its_tests() -> None:
    found = claims()

    assert len(found) > 50
    assert [claim for claim, tests in found.items() if not tests] == []


def faults() -> dict[str, list[str]]:
    """What the page on faults says of those beside its table, each with the tests that its source names."""
    lines = section((ROOT / "docs" / "faults.md").read_text(), "Faults in between").splitlines()
    rows = [line for line in lines if line.startswith("| ") and "---" not in line][1:]
    return {row: re.findall(r"[\w/]+\.py::\w+", row) for row in rows}


def test_each_fault_beside_the_table_names_its_tests() -> None:
    assert len(faults()) > 15
    assert [fault for fault, tests in faults().items() if not tests] == []


@pytest.mark.parametrize(
    "test", sorted({test for tests in [*claims().values(), *faults().values()] for test in tests})
)
def test_the_test_of_a_claim_exists(test: str) -> None:
    path, _, name = test.partition("::")

    assert re.search(rf"^ *(?:async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE)


def test_each_cell_of_the_comparison_says_where_it_is_shown() -> None:
    page = (ROOT / "docs" / "comparison.md").read_text()
    rows = [
        line.split("|")[2:-1] for line in page.splitlines() if line.startswith("| ") and "---" not in line
    ]
    bare = {cell.strip() for row in rows for cell in row if "](" not in cell}

    assert len(rows) > 25
    assert bare <= {
        "this library",
        "this library on either",
        "no",
        "gone",
        "nothing",
        "nothing; a broker for workers",
    }
