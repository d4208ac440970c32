"""Variables that are read at each call."""

from __future__ import annotations

import os
from unittest.mock import patch

import pytest

from fastapi_events.environment import dispatch_disabled, span_linking


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
