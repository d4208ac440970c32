"""The names of attributes are what dashboards search for."""

from __future__ import annotations

from fastapi_events.otel.attributes import SpanAttributes


def test_the_names_are_those_of_0_12() -> None:
    assert SpanAttributes.HANDLER == "fastapi_events.handler"
