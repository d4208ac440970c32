"""What every handler of the package does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from dramatiq.brokers.stub import StubBroker

from fastapi_events.handlers.base import BaseEventHandler
from fastapi_events.handlers.dramatiq import DramatiqHandler
from fastapi_events.handlers.echo import EchoHandler
from fastapi_events.handlers.local import LocalHandler
from fastapi_events.handlers.null import NullHandler
from fastapi_events.testing.contracts import HandlerContract
from tests.recording import Recorder

HANDLERS: dict[str, Any] = {
    "local": LocalHandler,
    "echo": EchoHandler,
    "null": NullHandler,
    "own": Recorder,
    "dramatiq": lambda: DramatiqHandler(StubBroker()),
}


class TestHandlers(HandlerContract):
    @pytest.fixture(params=HANDLERS)
    def handler(self, request: pytest.FixtureRequest) -> Iterator[BaseEventHandler]:
        return HANDLERS[request.param]()
