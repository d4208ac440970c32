"""A shop whose events wait in a table."""

from __future__ import annotations

import os
from pathlib import Path

from fastapi_events.dispatcher import dispatch
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.retry import RetryPolicy
from fastapi_events.typing import Event

from .engine import TableEngine

engine = TableEngine(Path(os.environ.get("SHOP_DATABASE", "shop.db")))
events = TaskQueueHandler(engine, retry=RetryPolicy(max_retries=2, min_backoff=0.01, max_backoff=0.02))

tries: list[int] = []


@events.register(event_name="order-placed")
def cook(event: Event) -> None:
    number = event.payload["number"]
    tries.append(number)
    if tries.count(number) == 1:
        raise TimeoutError("the oven is cold")
    print(f"order {number} is cooked")
    dispatch("order-cooked", {"number": number})


@events.register(event_name="order-cooked")
def serve(event: Event) -> None:
    print(f"order {event.payload['number']} is served")


@events.register(event_name="order-placed")
def bill(event: Event) -> None:
    raise ValueError("no till")
