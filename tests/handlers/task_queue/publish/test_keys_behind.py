"""Which ordering keys are behind, as far as this process knows."""

from __future__ import annotations

from typing import Any

from fastapi_events.errors import StorageError
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.publish.circuit_breaker import CircuitBreaker
from fastapi_events.handlers.task_queue.publish.keys_behind import Behind
from fastapi_events.storage.memory import MemoryOutbox

HERE = "list:events"


def ordered(name: str, key: str = "k") -> Event:
    event = Event(name)
    event.ordering_key = key
    return event


def test_an_outbox_that_cannot_be_asked_leaves_keys_behind() -> None:
    class Broken(MemoryOutbox):
        asked = 0

        def waiting_keys(self, destination: str, keys: Any, *, beside: Any = ()) -> set[str]:
            self.asked += 1
            raise StorageError("away")

    outbox = Broken()
    breaker = CircuitBreaker(clock=lambda: 0.0)
    behind = Behind(outbox, HERE, breaker)
    behind.add(["k"])

    # Nor is it asked for each flush, by whoever has found it away
    for _ in range(3):
        assert behind.of([ordered("a"), ordered("b", "l")]) == {"k"}
    assert outbox.asked == 1
    assert breaker.is_open


def test_a_key_is_behind_until_what_is_under_way_has_arrived() -> None:
    behind = Behind(MemoryOutbox(), HERE, CircuitBreaker())
    event = ordered("a")
    behind.add(["k"], under_way=1)
    assert behind.of([event]) == {"k"}

    behind.arrived(["k"], kept=False)

    assert behind.of([event]) == frozenset()


def test_without_an_outbox_no_key_is_behind() -> None:
    behind = Behind(None, HERE, CircuitBreaker())
    behind.add(["k"])
    assert behind.of([ordered("a")]) == frozenset()
