"""Variables that are read at each call, and the page that names all of them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from unittest.mock import patch

import pytest

from fastapi_events import environment
from fastapi_events.environment import dispatch_disabled, span_linking
from fastapi_events.settings import Settings


@pytest.mark.parametrize("value", ["1", "t", "true", "TRUE", "y", "yes", "on"])
def test_flags_that_are_true(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("FASTAPI_EVENTS_DISABLE_DISPATCH", value)
    monkeypatch.setenv("FASTAPI_EVENTS_USE_SPAN_LINKING", value)
    assert dispatch_disabled()
    assert span_linking()


@pytest.mark.parametrize("value", ["0", "f", "False", "n", "no", "off"])
def test_flags_that_are_false(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("FASTAPI_EVENTS_DISABLE_DISPATCH", value)
    monkeypatch.setenv("FASTAPI_EVENTS_USE_SPAN_LINKING", value)
    assert not dispatch_disabled()
    assert not span_linking()


def test_flags_that_are_unset_or_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FASTAPI_EVENTS_DISABLE_DISPATCH", raising=False)
    monkeypatch.setenv("FASTAPI_EVENTS_USE_SPAN_LINKING", "")
    assert not dispatch_disabled()
    assert span_linking()


def test_the_flag_is_read_at_each_call() -> None:
    variable = "FASTAPI_EVENTS_DISABLE_DISPATCH"
    with patch.dict(os.environ):
        os.environ.pop(variable, None)
        assert not dispatch_disabled()
        os.environ[variable] = "1"
        assert dispatch_disabled()
        os.environ[variable] = "0"
        assert not dispatch_disabled()
        del os.environ[variable]
        assert not dispatch_disabled()


def test_the_flag_is_read_where_a_test_has_put_another_environment() -> None:
    with patch("os.environ", {"FASTAPI_EVENTS_DISABLE_DISPATCH": "1"}):
        assert dispatch_disabled()


def test_a_flag_that_is_neither_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTAPI_EVENTS_DISABLE_DISPATCH", "maybe")
    with pytest.raises(ValueError, match="FASTAPI_EVENTS_DISABLE_DISPATCH='maybe'"):
        dispatch_disabled()


# What the documentation says of variables, held against the code

PACKAGE = Path(environment.__file__).parent
READERS = {"environment.py", "settings.py"}
READERS_OF_OTHERS = {"editor.py", "prometheus.py", "text.py", "worker.py"}
"""What they read is not ours: EDITOR, PROMETHEUS_MULTIPROC_DIR, NO_COLOR, Dramatiq's delay and the like."""
ROW = re.compile(r"^\| `(\w+)` \| (.+?) \| .+? \|$", re.MULTILINE)


def documented() -> dict[str, str]:
    """Each variable of the page, and its default."""
    return dict(ROW.findall((PACKAGE.parent / "docs" / "environment.md").read_text()))


def test_two_modules_read_the_environment() -> None:
    reading = re.compile(r"\benviron\.get\b|\bgetenv\b|\benviron\[")

    found = [(path.name, path.read_text()) for path in PACKAGE.rglob("*.py")]
    readers = [(name, text) for name, text in found if reading.search(text)]
    assert {name for name, _ in readers} == READERS | READERS_OF_OTHERS
    ours = re.compile(r"(?:environ\.get\(|getenv\(|environ\[)[^\n]*FASTAPI_EVENTS_")
    assert not [name for name, text in readers if name in READERS_OF_OTHERS and ours.search(text)]


def test_every_variable_that_is_read_has_a_row_and_every_row_is_read() -> None:
    texts = [(PACKAGE / name).read_text() for name in ("constants.py", "environment.py")]
    read = {name for text in texts for name in re.findall(r'"(FASTAPI_EVENTS_[A-Z_]+)"', text)}
    read |= {f"FASTAPI_EVENTS_{name.upper()}" for name in Settings.model_fields}
    read |= set(re.findall(r'environ\.get\("(\w+)"', texts[1]))

    assert documented().keys() == read


def test_the_defaults_of_the_page_are_those_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = documented()
    for name in defaults:
        monkeypatch.delenv(name, raising=False)
    settings = Settings()

    for name in ("broker_url", "queue", "source"):
        assert defaults[f"FASTAPI_EVENTS_{name.upper()}"] == f"`{getattr(settings, name)}`"
    assert (settings.handlers, settings.journal_url, settings.store_url) == ((), None, None)
    assert (dispatch_disabled(), span_linking()) == (
        defaults["FASTAPI_EVENTS_DISABLE_DISPATCH"] == "`true`",
        defaults["FASTAPI_EVENTS_USE_SPAN_LINKING"] == "`true`",
    )


def test_a_handler_of_the_workers_is_made_by_every_setting_that_the_page_says_is_theirs() -> None:
    workers = "".join(path.read_text() for path in (PACKAGE.parent / "workers").glob("*.py"))

    for name in ("broker_url", "handlers", "queue", "source", "store_url"):
        assert re.search(rf"\.{name}\b", workers), name
