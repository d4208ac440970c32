"""Loaded by pytest wherever the package is installed: fixtures, and errors of handlers that are raised.

A handler that fails makes its test fail. Set `fastapi_events_raise_errors = false` in pytest's configuration
to let errors be logged only, as they are in production.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from fastapi_events import under_test

if TYPE_CHECKING:
    from fastapi_events.testing import DispatchedEvents, InlineWorker

pytest.register_assert_rewrite("fastapi_events.testing.contracts")

# What a fixture needs is imported when a test asks for it: the plugin is loaded in every project, and before
# coverage tools and the suite's own patches are.


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(
        "fastapi_events_raise_errors",
        "Raise what event handlers raise, instead of only logging it.",
        type="bool",
        default=True,
    )
    parser.addini(
        "fastapi_events_handlers",
        "Where the handlers are whose functions the fixture `worker` runs, such as app.events; else found.",
        type="args",
        default=[],
    )
    parser.getgroup("fastapi-events").addoption(
        "--events-strict",
        action="store_true",
        help="Fail a test that dispatches an event which nobody listens to, or whose name no schema has.",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--events-strict"):
        config.pluginmanager.register(_Strict(), "fastapi-events-strict")


class _Strict:
    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Iterator[None]:
        from fastapi_events.testing.strict import strict_events

        with strict_events():
            yield


@pytest.fixture(autouse=True)
def _fastapi_events_raise_errors(request: pytest.FixtureRequest) -> Iterator[None]:
    before = under_test.raise_errors
    under_test.raise_errors = bool(request.config.getini("fastapi_events_raise_errors"))
    yield
    under_test.raise_errors = before


@pytest.fixture
def events() -> Iterator[DispatchedEvents]:
    """The events that the test has dispatched; nothing runs, and no broker is asked."""
    from fastapi_events.testing import capture_events

    with capture_events() as recorded:
        yield recorded


@pytest.fixture
def worker(request: pytest.FixtureRequest) -> Iterator[InlineWorker]:
    """Runs what listens to the application's events, in this process; see `worker.run()`."""
    from fastapi_events.testing import InlineWorker
    from fastapi_events.testing.application import handlers_named

    named = request.config.getini("fastapi_events_handlers")
    with InlineWorker(*[handler for each in named for handler in handlers_named(each)]) as inline:
        yield inline
