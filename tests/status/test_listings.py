"""Who listens in a whole fleet, and what does not fit."""

from __future__ import annotations

from fastapi_events.status.listings import idle_patterns, index_of, listings_of, unheard_names
from fastapi_events.storage.catalogue import Listing, Snapshot
from tests.handlers.task_queue.broker import ListHandler


def listing(name: str, *patterns: str) -> Listing:
    return Listing(name=name, patterns=patterns, queue="events", engine="list", module="shop")


def test_the_fleet_wins_over_what_this_process_has() -> None:
    handler = ListHandler()
    handler.register(lambda event: None, event_name="order-*", name="cook")
    announced = listing("cook", "order-placed")

    assert [each.patterns for each in listings_of(handler, None)] == [("order-*",)]
    assert listings_of(handler, Snapshot(listings=(announced, listing("mail", "*")))) == [
        announced, listing("mail", "*"),
    ]  # fmt: skip


def test_names_and_patterns_that_find_nobody() -> None:
    some = [listing("cook", "order-*"), listing("wash", "dish-?")]

    assert [each.name for each in index_of(some).match("order-placed")] == ["cook"]
    assert idle_patterns(some, ["order-placed", "user"]) == ["dish-?"]
    assert idle_patterns(some, []) == []
    assert unheard_names(some, ["order-placed", "user"]) == ["user"]
