"""Fundamentals: FastAPI's dependencies work in functions that have no request."""

from collections.abc import Iterator
from typing import Annotated

import pytest
from fastapi import Depends, Request

from fastapi_events.errors import ConfigurationError
from fastapi_events.handlers.local import LocalHandler
from fastapi_events.testing import InlineWorker
from fastapi_events.typing import Event

log: list[str] = []


def get_session() -> Iterator[str]:
    log.append("open")
    yield "session"
    log.append("close")


def test_a_dependency_is_opened_and_closed_around_the_function() -> None:
    # Given a function with a dependency,
    handler = LocalHandler()

    @handler.register
    async def work(event: Event, session: Annotated[str, Depends(get_session)]) -> None:
        log.append(session)

    # When an event comes,
    with InlineWorker(handler) as worker:
        worker.emit("hello")

        # Then it has been opened before, and closed after;
        assert log == ["open", "session", "close"]

        # and a test may put something else in its place.
        log.clear()
        handler.dependency_overrides[get_session] = lambda: "fake"
        worker.emit("hello")
        assert log == ["fake"]


def test_a_dependency_that_needs_a_request_is_refused_where_it_is_registered() -> None:
    def get_user(request: Request) -> str:
        return "nobody"

    with pytest.raises(ConfigurationError, match="needs a request"):

        @LocalHandler().register
        def work(event: Event, user: Annotated[str, Depends(get_user)]) -> None: ...
