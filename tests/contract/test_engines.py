"""What every engine does with what fails: the same decisions, the same dead letters."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from dramatiq.brokers.stub import StubBroker

from examples.custom_engine.engine import TableEngine
from fastapi_events import clock, under_test
from fastapi_events.handlers.task_queue import Message, TaskQueueHandler
from fastapi_events.handlers.task_queue.messages import message_id
from fastapi_events.storage.memory import MemoryStore
from fastapi_events.testing.contracts import EngineContract
from fastapi_events.testing.faults import Faults
from fastapi_events.testing.inline_broker import InlineBroker
from fastapi_events.testing.inline_engine import InlineEngine
from tests.places import QUICK, Dead, Dramatiq, QueuePlace, celery_on_redis


class Inline(QueuePlace):
    """The engine of the testing kit, by its own clock."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.broker = InlineBroker(Faults())
        self.engine = InlineEngine(ListEngine(), self, self.broker, pause_of=lambda *_: None)
        self.handler = TaskQueueHandler(self.engine, **{"retry": QUICK, "unknown_retry": QUICK, **settings})

    def work(self) -> None:
        pass

    def settle(self) -> None:
        worker = threading.Thread(target=self._work_off)
        worker.start()
        worker.join(30)

    def _work_off(self) -> None:
        while (due := self.broker.next_due(asked_for=True)) is not None:
            under_test.seconds_ahead += max(due - clock.timestamp(), 0.0)
            waiting = self.broker.take()
            if waiting is not None:
                self.engine.deliver(waiting.message)

    def send(self, *arguments: Any, task: str | None = None, queue: str = "events") -> None:
        text = arguments[0] if isinstance(arguments[0], str) else json.dumps(arguments[0])
        self.engine.send([Message(task or "fastapi_events.fan_out", queue, text, message_id(text))])

    def dead(self, queue: str = "events") -> list[Dead]:
        return [Dead(each.subscription, (), {"reason": each.reason}) for each in self.engine.kept]

    def close(self) -> None:
        under_test.seconds_ahead = 0.0


class ListEngine(TableEngine):
    """What another stands in for: its name and its limits."""

    def __init__(self) -> None:
        pass


class TestEngines(EngineContract):
    """Dramatiq, Celery, and the testing kit's own; that of the examples is tested beside it."""

    @pytest.fixture(params=["dramatiq", pytest.param("celery", marks=pytest.mark.valkey), "inline"])
    def place(self, request: pytest.FixtureRequest, store: MemoryStore) -> Iterator[QueuePlace]:
        settings: dict[str, Any] = {"dead_letters": store.dead_letters, "lanes": store.lanes}
        if request.param == "celery":
            with celery_on_redis(request.getfixturevalue("valkey_url"), **settings) as celery:
                yield celery
            return
        place = Dramatiq(StubBroker(), **settings) if request.param == "dramatiq" else Inline(**settings)
        yield place
        place.close()
