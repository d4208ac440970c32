"""Every text that the pages on errors explain is one that the package says, and the other way round."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

from tests.examples.said import PACKAGE, Said, errors_and_warnings, text_of

DOCS = Path(__file__).parents[2] / "docs"
TROUBLESHOOTING = (DOCS / "troubleshooting.md").read_text()
PAGES = TROUBLESHOOTING + (DOCS / "errors.md").read_text()

OF_OTHERS = {
    "AttributeError: 'FastAPI' object has no attribute 'user_options'",
    "Aborting message '…'.",
    "Received message for undefined actor '…'. Moving it to the DLQ.",
}
"""What an engine says, of its own or of our messages; tests of its handler hear the latter."""

HEADINGS = [
    each for each in re.findall(r"^### `(.+)`$", TROUBLESHOOTING, re.MULTILINE) if each not in OF_OTHERS
]
ROWS = re.findall(r"^\| (`.+?`) \| ", PAGES, re.MULTILINE)
REASONS = sorted({each for row in ROWS for each in re.findall(r"`([^`]+)`", row)})

NOT_FOR_USERS = {
    "handlers/celery/scope_signals.py": "judged by a flush policy, and never raised",
    "subscriptions/runner.py: This coroutine": "caught by whoever drives the coroutine",
    "handlers/task_queue/publish/flush_outcome.py: there is no outbox": "caught where it is said",
    "testing/contracts": "raised and caught by the suite for engines of others",
}
"""A file, with the beginning of a text where not all of its texts are meant, and why nobody looks for it."""

MEANINGFUL = 6
"""Letters that a text has of its own: `…: …` says nothing that could be looked for."""


@cache
def everything_said() -> str:
    """The texts of the package, one a line, with `…` for what is filled in."""
    return "\n".join(
        text_of(node) or ""
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.JoinedStr, ast.Constant))
    )


def own_letters(text: str) -> int:
    return len(re.findall(r"\w", text))


def pattern(text: str) -> re.Pattern[str]:
    """A text of the page: what it leaves out may be anything in the same line."""
    parts = [re.escape(part.strip(" '")) for part in text.split("…")]
    return re.compile(r"[^\n]*".join(parts))


def is_said(text: str) -> bool:
    text = text.removeprefix("LookupError: <ContextVar name='").removesuffix(
        "' at …>"
    )  # Python adds the rest
    name, colon, rest = text.partition(": ")
    if colon and name.endswith(("Error", "Envelope", "Payload", "Subscription", "Often")):
        if not re.search(rf"\b{name}\b", everything_said() + "ConnectionError" + errors()):
            return False
        text = rest
    return pattern(text.strip("… ")).search(everything_said()) is not None


def test_the_package_says_it() -> None:
    assert [text for text in [*HEADINGS, *REASONS] if not is_said(text)] == []


@cache
def errors() -> str:
    return (PACKAGE / "errors.py").read_text()


def is_for_users(said: Said) -> bool:
    return own_letters(said.text) >= MEANINGFUL and not any(
        f"{said.path}: {said.text}".startswith(each) for each in NOT_FOR_USERS
    )


def test_every_error_and_warning_has_an_entry() -> None:
    entries = [pattern(text) for text in {*HEADINGS, *REASONS} if own_letters(text) >= MEANINGFUL]

    missing = [
        f"{said.path}:{said.line}: {said.text}"
        for said in errors_and_warnings()
        if is_for_users(said) and not any(entry.search(said.text) for entry in entries)
    ]
    assert not missing, "docs/errors.md or docs/troubleshooting.md has no entry for:\n" + "\n".join(missing)


def test_each_exemption_is_needed() -> None:
    said = [f"{each.path}: {each.text}" for each in errors_and_warnings()]

    for exempt in NOT_FOR_USERS:
        assert any(each.startswith(exempt) for each in said), exempt
    assert len(said) > 250


def test_every_text_has_a_cure() -> None:
    parts = re.split(r"^### .+$", TROUBLESHOOTING, flags=re.MULTILINE)[1:]

    assert all(part.split("\n## ")[0].strip() for part in parts)
    assert len(HEADINGS) > 35
    assert len(REASONS) > 150
