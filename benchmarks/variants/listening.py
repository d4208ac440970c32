"""Who listens to an event, and what it costs to call a function that does."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from in_process import event_loop
from payload import PAYLOAD

SUBSCRIBED = "service-7.order-7.created"


def mixed_patterns(count: int) -> list[str]:
    """Four of ten exact, three `prefix*`, one `*suffix`, two that have to be tried."""
    forms = (
        "service-{0}.order-{0}.created",
        "service-{0}.order-{0}.changed",
        "service-{0}.user-{0}.created",
        "service-{0}.user-{0}.removed",
        "service-{0}.parcel-{0}.*",
        "service-{0}.basket-{0}.*",
        "shop-{0}.*",
        "*.invoice-{0}.paid",
        "service-{0}.*.refused-{0}.*",
        "*-{0}.lorry-?{0}.[ab]*",
    )
    return [forms[number % len(forms)].format(number // len(forms)) for number in range(count)]


def irregular_patterns(count: int) -> list[str]:
    """Nothing that could be looked up."""
    forms = ("service-{0}.*.refused-{0}.*", "*-{0}.lorry-?{0}.[ab]*", "*.order-{0}.*ed")
    return [forms[number % len(forms)].format(number // len(forms)) for number in range(count)]


@contextmanager
def matching(
    package: str, patterns: int, fresh: bool, irregular: bool = False
) -> Iterator[Callable[[int], float]]:
    """Finding the functions that listen to a name.

    Parameters:
        package: Whose handler it is: the two keep their functions differently.
        fresh: Whether each name is new; else it is one and the same.
    """
    handler = _handler((irregular_patterns if irregular else mixed_patterns)(patterns))
    theirs = package == "predecessor"
    match = handler._get_handlers_for_event if theirs else handler.subscriptions.match
    numbers = itertools.count()

    def run(operations: int) -> float:
        if fresh:
            names = [f"service-{next(numbers)}.order-{next(numbers)}.created" for _ in range(operations)]
        else:
            names = [SUBSCRIBED] * operations
            match(SUBSCRIBED)
        began = time.perf_counter()
        for name in names:
            match(name)
        return time.perf_counter() - began

    yield run


@contextmanager
def calling(more: int = 20) -> Iterator[Callable[[int], float]]:
    """What one more subscription adds to the handling of an event, as a difference within the round."""
    few, many = _handler(["*"]), _handler(["*"] * (1 + more))
    event = _event(SUBSCRIBED)

    async def handled(handler: Any, times: int) -> float:
        began = time.perf_counter()
        for _ in range(times):
            await handler.handle(event)
        return time.perf_counter() - began

    async def run(operations: int) -> float:
        taken = 0.0
        for _ in range(operations):
            taken += await handled(many, 10) - await handled(few, 10)
        return taken / (10 * more)

    with event_loop() as loop:
        yield lambda operations: max(loop.run_until_complete(run(operations)), 1e-9)


def _handler(patterns: Sequence[str]) -> Any:
    from fastapi_events.handlers.local import LocalHandler

    handler = LocalHandler()
    for pattern in patterns:

        async def listen(event: Any) -> None:
            pass

        handler.register(listen, event_name=pattern)
    return handler


def _event(name: str) -> Any:
    try:
        from fastapi_events.event import Event
    except ImportError:  # there, an event is a plain pair
        return name, PAYLOAD
    return Event(name, PAYLOAD)
