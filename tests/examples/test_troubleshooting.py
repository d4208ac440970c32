"""Every text that the page on troubleshooting explains is one that the package says."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()

OF_OTHERS = {
    "AttributeError: 'FastAPI' object has no attribute 'user_options'",
    "Aborting message '…'.",
    "Received message for undefined actor '…'. Moving it to the DLQ.",
}
"""What an engine says, of its own or of our messages; tests of its handler hear the latter."""

HEADINGS = [each for each in re.findall(r"^### `(.+)`$", PAGE, re.MULTILINE) if each not in OF_OTHERS]
REASONS = re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE)

_FORMAT = re.compile(r"%[-.\d]*[sdrf]")


@cache
def said() -> str:
    """The texts of the package, one a line, with `…` for what is filled in."""
    return "\n".join(
        _text(node)
        for path in (ROOT / "fastapi_events").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))
    )


def _text(node: ast.JoinedStr | ast.Constant) -> str:
    if isinstance(node, ast.Constant):
        return _FORMAT.sub("…", str(node.value)).replace("\n", " ")
    return "".join(_text(each) if isinstance(each, ast.Constant) else "…" for each in node.values)


def pattern(text: str) -> re.Pattern[str]:
    """A text of the page: what it leaves out may be anything in the same line."""
    parts = [re.escape(part.strip(" '")) for part in text.split("…")]
    return re.compile(r"[^\n]*".join(parts))


@pytest.mark.parametrize("text", [*HEADINGS, *REASONS])
def test_the_package_says_it(text: str) -> None:
    text = text.removeprefix("LookupError: <ContextVar name='").removesuffix(
        "' at …>"
    )  # Python adds the rest
    name, colon, rest = text.partition(": ")
    if colon and name.endswith(("Error", "Envelope", "Payload", "Subscription", "Often")):
        assert re.search(rf"\b{name}\b", said() + "ConnectionError" + source()), name
        text = rest
    assert pattern(text).search(said()), f"nothing in the package says {text!r}"


@cache
def source() -> str:
    return (ROOT / "fastapi_events" / "errors.py").read_text()


def test_every_text_has_a_cure() -> None:
    parts = re.split(r"^### .+$", PAGE, flags=re.MULTILINE)[1:]

    assert all(part.split("\n## ")[0].strip() for part in parts)
    assert len(HEADINGS) > 35
