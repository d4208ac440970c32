"""The relay as a process of its own."""

from __future__ import annotations

import threading

import pytest

from fastapi_events.errors import ConfigurationError, StorageNotReady
from fastapi_events.event import Event
from fastapi_events.relay import Relay
from fastapi_events.storage.memory import MemoryOutbox
from tests.handlers.task_queue.broker import ListHandler
from tests.processes import until


def test_it_relays_for_every_handler_until_it_is_stopped() -> None:
    outbox = MemoryOutbox()
    handlers = [ListHandler(queue=queue, outbox=outbox, relay=False) for queue in ("one", "other")]
    for handler in handlers:
        assert handler._outlet.outbox_writer is not None
        outbox.add(handler._outlet.outbox_writer.entries([Event("a")]))

    relay = Relay([*handlers, ListHandler(queue="without")])
    thread = threading.Thread(target=relay.run)
    thread.start()
    until(lambda: all(handler.sent for handler in handlers), "both were relayed")
    relay.stop()
    thread.join(10)

    assert not thread.is_alive()
    assert outbox.list() == []


def test_nothing_to_relay_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="There is nothing to relay"):
        Relay([ListHandler()])


def test_a_store_that_is_not_ready_is_found_at_the_start() -> None:
    class Missing(MemoryOutbox):
        def check(self) -> None:
            raise StorageNotReady("the table is missing")

    with pytest.raises(StorageNotReady, match="table is missing"):
        Relay([ListHandler(outbox=Missing())])
