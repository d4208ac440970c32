"""An application whose broker nobody has started."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from dramatiq.brokers.redis import RedisBroker
from fastapi import FastAPI
from fastapi.testclient import TestClient

from fastapi_events.dispatcher import dispatch
from fastapi_events.handlers.dramatiq import DramatiqHandler
from fastapi_events.middleware import EventHandlerASGIMiddleware
from fastapi_events.testing import InlineWorker


def handler(**settings: Any) -> DramatiqHandler:
    """A queue handler that reaches nobody."""
    return DramatiqHandler(RedisBroker(url="redis://127.0.0.1:1/0"), **settings)


def client_of(*handlers: Any, **settings: Any) -> TestClient:
    """A client of an application that dispatches what it is sent."""
    app = FastAPI()
    app.add_middleware(EventHandlerASGIMiddleware, handlers=list(handlers), **settings)

    @app.post("/{name}")
    def dispatch_it(name: str, payload: dict[str, Any]) -> None:
        options = payload.pop("options", {})
        dispatch(name, payload, **options)

    return TestClient(app)


@pytest.fixture
def queue() -> DramatiqHandler:
    return handler()


@pytest.fixture
def worker(queue: DramatiqHandler) -> Iterator[InlineWorker]:
    with InlineWorker(queue) as inline:
        yield inline
