"""What the worker runs."""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from examples.demo.journal import write_down_what_happens
from fastapi_events.dispatcher import dispatch
from fastapi_events.event import Event
from fastapi_events.retry import RetryPolicy
from workers.events import events

write_down_what_happens()

QUICK = RetryPolicy(max_retries=1, min_backoff=0.2)


class CatRequestedAFish(BaseModel):
    __event_name__ = "cat-requested-a-fish"

    cat_id: int


@events.register(event_name="cat-requested-*")
async def feed(event: Event) -> None:
    """Succeeds at once, and dispatches an event itself: the child of the one that it handles."""
    await asyncio.sleep(0)
    dispatch("cat-was-fed", payload=event.payload)


@events.register(event_name="cat-was-fed")
def purr(event: Event) -> None:
    """Hears of it."""


@events.register(CatRequestedAFish)
def cook(order: CatRequestedAFish) -> None:
    """Gets the payload as a model again."""
    if not isinstance(order.cat_id, int):
        raise TypeError(order.cat_id)


_seen: set[str] = set()


@events.register(event_name="cat-lost-its-ball", retry=QUICK)
def search(event: Event) -> None:
    """Fails at the first attempt and succeeds at the second."""
    if event.id not in _seen:
        _seen.add(event.id)
        raise LookupError("not under the sofa")


@events.register(event_name="cat-dreamt-of-a-mouse", retry=QUICK)
def catch(event: Event) -> None:
    """Never succeeds, and ends in the dead letters."""
    raise RuntimeError("there is no mouse")
