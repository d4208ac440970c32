"""What scopes are given: handlers that are handlers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import pytest

from fastapi_events.errors import ConfigurationError
from fastapi_events.handlers.base import BaseEventHandler
from fastapi_events.handlers.local import LocalHandler
from fastapi_events.middleware import EventHandlerASGIMiddleware
from fastapi_events.scope import collect_events
from fastapi_events.scope.config import checked_handlers
from tests.asgi import responding
from tests.recording import Recorder


@pytest.mark.parametrize(
    "make", [collect_events, lambda handlers: EventHandlerASGIMiddleware(responding(), handlers)],
    ids=["block", "middleware"],
)  # fmt: skip
@pytest.mark.parametrize(
    ("handlers", "said"),
    [
        ([LocalHandler], r"that is a class; make a handler of it: \[LocalHandler\(…\)\]"),
        (LocalHandler, r"write \[LocalHandler\(…\)\]"),
        (Recorder(), r"write \[handler\]"),
        (None, "expected a list of handlers"),
        ("events", "^handlers='events': expected a list of handlers"),
        ({"events": Recorder()}, "^handlers={'events': .*: expected a list of handlers"),
        (["x"], "a str is no handler"),
        ([object()], "a object is no handler"),
    ],
    ids=["class", "class alone", "handler alone", "none", "text alone", "dict", "text", "object"],
)
def test_what_is_no_list_of_handlers_is_refused_with_the_cure(
    make: Callable[[Any], Any], handlers: Any, said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        make(handlers)


def test_any_iterable_of_what_handles_events_will_do() -> None:
    class Typed:
        async def handle_many(self, events: Any) -> None: ...

    handlers = [Recorder(), AsyncMock(), MagicMock(spec=BaseEventHandler), Typed()]
    assert checked_handlers(each for each in handlers) == handlers
