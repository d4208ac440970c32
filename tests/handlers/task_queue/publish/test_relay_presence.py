"""A relay is on the list of the fleet while it works."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from fastapi_events.errors import StorageError
from fastapi_events.handlers.task_queue.publish import relay_presence
from fastapi_events.storage.memory import MemoryCatalogue, MemoryStore
from tests.handlers.task_queue.broker import ListHandler
from tests.processes import until


def test_a_relay_is_listed_until_it_ends() -> None:
    store = MemoryStore()
    handler = ListHandler(store=store, catalogue=store.catalogue)
    relay = handler.relay_thread()

    relay.start()
    until(lambda: store.catalogue.read("list:events").relays, "that it is listed")
    [listed] = store.catalogue.read("list:events").relays
    assert listed.behind < 60
    relay.stop(5)

    assert store.catalogue.read("list:events").relays == ()


def test_it_relays_without_a_catalogue() -> None:
    handler = ListHandler(store=MemoryStore(), catalogue=None)
    relay = handler.relay_thread()

    relay.start()
    relay.stop(5)


def test_a_catalogue_that_is_away_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Away(MemoryCatalogue):
        tried = 0

        def _change(self, *arguments: Any) -> None:
            self.tried += 1
            if self.tried == 1:
                raise StorageError("gone")
            super()._change(*arguments)

    monkeypatch.setattr(relay_presence, "RELAY_HEARTBEAT_SECONDS", 0.01)
    catalogue = Away()
    relay = ListHandler(store=MemoryStore(), catalogue=catalogue).relay_thread()

    with caplog.at_level(logging.DEBUG):
        relay.start()
        until(lambda: catalogue.read("list:events").relays, "that it is listed")
        relay.stop(5)

    assert "The relay could not say how it is: gone" in caplog.text
