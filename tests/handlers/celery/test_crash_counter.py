"""What is counted of messages that may have killed a worker."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from fastapi_events.handlers.celery.crash_counter import CrashCounter

GONE = f"{socket.gethostname()} {2**40} 1"


class Queue:
    """A queue of an app, and a message that workers have in their hands."""

    def __init__(self, app: Celery) -> None:
        self.app = app
        self.name = f"q{uuid.uuid4().hex[:8]}"
        self._begun: list[Any] = []  # for as long as the test lasts, as what runs is not collected

    def begun(self, *, gone: bool = False, again: bool = True) -> tuple[int, Any]:
        """A worker begins to run it, which is alive or has gone since: how many crashes it is told of."""
        counter = CrashCounter(self.app, who=lambda: GONE) if gone else CrashCounter(self.app)
        request = SimpleNamespace(id="1", delivery_info={"redelivered": again})
        block = counter.before(SimpleNamespace(request=request), self.name)  # type: ignore[arg-type]
        self._begun.append(block)
        return block.__enter__(), block

    @staticmethod
    def ended(block: Any) -> None:
        block.__exit__(None, None, None)


@pytest.fixture(
    params=[
        pytest.param("valkey", marks=pytest.mark.valkey),
        pytest.param("rabbitmq", marks=pytest.mark.rabbitmq),
    ]
)
def queue(request: pytest.FixtureRequest) -> Iterator[Queue]:
    url = request.getfixturevalue("valkey_url" if request.param == "valkey" else "amqp_url")
    with Celery(broker=url, set_as_current=False) as app:
        yield Queue(app)


def test_starts_whose_process_has_gone_are_counted(queue: Queue) -> None:
    # The first delivery, of which there is no note, counts with the first that has one
    assert [queue.begun(gone=True)[0] for _ in range(4)] == [0, 2, 3, 4]


def test_a_start_whose_process_lives_is_no_crash(queue: Queue) -> None:
    assert [queue.begun()[0] for _ in range(4)] == [0] * 4
    queue.begun(gone=True)
    assert queue.begun()[0] == 2


def test_a_message_that_ended_begins_anew(queue: Queue) -> None:
    queue.begun(gone=True)
    crashes, block = queue.begun()
    assert crashes == 2
    queue.ended(block)
    assert queue.begun()[0] == 0


def test_a_first_delivery_costs_nothing(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CrashCounter, "_connection", None)
    crashes, block = queue.begun(again=False)
    queue.ended(block)
    assert crashes == 0


def test_a_message_is_run_when_it_cannot_be_counted(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(self: CrashCounter) -> Any:
        raise ConnectionError("away")

    monkeypatch.setattr(CrashCounter, "_connection", away)
    crashes, block = queue.begun()
    queue.ended(block)
    assert crashes == 0
    assert "cannot be counted" in caplog.text
