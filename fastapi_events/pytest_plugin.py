"""Loaded by pytest wherever the package is installed: a handler that fails makes its test fail.

Set `fastapi_events_raise_errors = false` in pytest's configuration to let errors be logged only, as they are
in production.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(
        "fastapi_events_raise_errors",
        "Raise what event handlers raise, instead of only logging it.",
        type="bool",
        default=True,
    )


@pytest.fixture(autouse=True)
def _fastapi_events_raise_errors(request: pytest.FixtureRequest) -> Iterator[None]:
    # Not at the top: the plugin is loaded before coverage tools and the suite's own patches are.
    from fastapi_events.testing import raise_errors

    with raise_errors(bool(request.config.getini("fastapi_events_raise_errors"))):
        yield
