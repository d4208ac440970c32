"""The seams for tests: who stands in for handlers, and what it costs where nobody does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from fastapi_events import under_test
from fastapi_events.dispatcher import dispatch
from fastapi_events.handlers.local import LocalHandler
from fastapi_events.scope import collect_events
from tests.recording import Recorder


class All:
    """One handler in the place of all."""

    def __init__(self, handler: Any) -> None:
        self.handler = handler

    def of(self, handlers: Iterable[Any]) -> Sequence[Any]:
        return [self.handler for _ in handlers]

    def outside(self) -> Sequence[Any]:
        return [self.handler]


def test_those_in_force_get_what_a_scope_dispatches(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Recorder()
    original = LocalHandler()
    original.register(lambda event: pytest.fail("the original ran"))
    monkeypatch.setattr(under_test, "stand_ins", All(heard))

    with collect_events([original]):
        dispatch("hello", {"to": "cat"})

    assert heard.events == [("hello", {"to": "cat"})]


def test_without_any_the_handlers_are_those_that_were_given() -> None:
    handlers = [LocalHandler()]
    assert under_test.in_force(handlers) is handlers


def test_the_module_imports_nothing() -> None:
    code = (
        "import sys, typing, __future__; before = set(sys.modules); import fastapi_events.under_test\n"
        "print(sorted(set(sys.modules) - before))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "['fastapi_events', 'fastapi_events.under_test']"
