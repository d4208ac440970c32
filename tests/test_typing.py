"""What people import for their annotations."""

from __future__ import annotations

import fastapi_events.typing
from fastapi_events import event


def test_event_is_the_class_that_handlers_get() -> None:
    assert fastapi_events.typing.Event is event.Event
    assert fastapi_events.typing.EventName is event.EventName


def test_all_of_it_is_exported() -> None:
    own = {name for name in vars(fastapi_events.typing) if name[0].isupper()}
    from_elsewhere = {"Any", "Awaitable", "Callable", "MutableMapping", "TypeAlias"}

    assert own - from_elsewhere == set(fastapi_events.typing.__all__)
