"""A consumer that stands still from the moment on at which the test says so, as long as its process lives."""

from __future__ import annotations

import time
from typing import Any

from tests.faults.shop.notes import FOLDER

_BORN = time.time()


def stall_when_told(engine: Any) -> None:
    """Let what receives messages hang, in the thread in which it does."""
    if engine.name == "celery":
        from celery import signals

        signals.task_received.connect(_stand_still, weak=False)
        return
    broker = engine.broker
    consume = broker.consume

    def consume_until_told(*args: Any, **kwargs: Any) -> Any:
        return _Stalling(consume(*args, **kwargs))

    broker.consume = consume_until_told


class _Stalling:
    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        message = next(self._consumer)
        _stand_still()
        return message

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)


def _stand_still(**_: Any) -> None:
    stall = FOLDER / "stall"
    while stall.exists() and stall.stat().st_mtime > _BORN:
        time.sleep(0.1)
