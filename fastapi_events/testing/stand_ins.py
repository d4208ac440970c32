"""Who stands in for an application's handlers, while a block lasts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from fastapi_events import under_test
from fastapi_events.handlers.task_queue.worker.chained_events import Chained


class StandIns(Protocol):
    """Knows who stands in for which handler."""

    runs: bool
    """Whether functions run, so that it comes before those that only take events."""

    def stand_in(self, handler: Any) -> Any | None:
        """Who gets the events of a handler; None where it is not replaced."""

    def outside(self) -> Sequence[Any] | None:
        """The handler for events that are dispatched outside of every scope; None where none is chosen."""


class _InForce:
    """The stand-ins of all open blocks: the innermost that runs functions decides, else the innermost."""

    def __init__(self) -> None:
        self.blocks: list[StandIns] = []

    def of(self, handlers: Iterable[Any]) -> Sequence[Any]:
        return [self._one(each) for each in handlers]

    def outside(self) -> Sequence[Any]:
        return next((found for each in self.blocks if (found := each.outside()) is not None), ())

    def _one(self, handler: Any) -> Any:
        if isinstance(handler, Chained):  # a function that runs publishes by it what it has dispatched
            return handler
        found = (each.stand_in(handler) for each in self.blocks)
        return next((each for each in found if each is not None), handler)


_in_force = _InForce()


@contextmanager
def installed(stand_ins: StandIns) -> Iterator[None]:
    """A block in which others get the events of handlers."""
    blocks = _in_force.blocks
    blocks.insert(0, stand_ins)
    blocks.sort(key=lambda each: not each.runs)
    under_test.stand_ins = _in_force
    try:
        yield
    finally:
        blocks.remove(stand_ins)
        if not blocks:
            under_test.stand_ins = None
