"""Actors for names that a worker does not have: one each, in queues of ours, and not without end."""

from __future__ import annotations

import pytest
from dramatiq.brokers.stub import StubBroker

from fastapi_events.handlers.dramatiq import DramatiqHandler, actors
from fastapi_events.handlers.dramatiq.actors import ACTOR, NotRun, UnknownActors
from fastapi_events.handlers.task_queue.engine import UnknownActor, unknown_actor
from fastapi_events.storage.catalogue import Listing, Worker
from fastapi_events.storage.memory import MemoryCatalogue


def actor_of(handler: DramatiqHandler, name: str) -> UnknownActor:
    return unknown_actor(handler.worker, name, "events")


@pytest.fixture
def handler() -> DramatiqHandler:
    return DramatiqHandler(StubBroker())


@pytest.fixture
def unknown(handler: DramatiqHandler) -> UnknownActors:
    return UnknownActors(handler.broker)


def test_a_name_becomes_an_actor_that_fails_without_an_error_in_dramatiqs_log(
    handler: DramatiqHandler, unknown: UnknownActors
) -> None:
    assert unknown.learn(actor_of(handler, "gone"))
    assert unknown.learn(actor_of(handler, "gone"))  # by another thread, at the same time

    actor = handler.broker.get_actor("gone")
    assert (actor.queue_name, actor.options[ACTOR].policy) == ("events", handler.worker.unknown_retry)
    with pytest.raises(NotRun) as raised:
        actor("{}")
    assert str(raised.value.__cause__) == "no worker of this queue has 'gone'"


def test_an_actor_that_is_there_stays_what_it_is(handler: DramatiqHandler, unknown: UnknownActors) -> None:
    handler.register(lambda event: None, name="feed")
    before = handler.broker.get_actor("feed")

    assert not unknown.learn(actor_of(handler, "feed"))

    assert handler.broker.get_actor("feed") is before


def test_names_that_somebody_makes_up_fill_no_memory(
    handler: DramatiqHandler, unknown: UnknownActors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actors, "_MOST_UNKNOWN_NAMES", 2)

    learnt = [unknown.learn(actor_of(handler, name)) for name in ("one", "two", "three", "one")]

    assert learnt == [True, True, False, True]
    assert "three" not in handler.broker.actors


def test_what_only_other_workers_have_is_known_before_its_first_message() -> None:
    broker, catalogue = StubBroker(), MemoryCatalogue()
    handler = DramatiqHandler(broker, catalogue=catalogue)
    other = Worker(id="w", host="there", pid=1, engine="dramatiq", modules=("app.bills",))
    found = [
        Listing(name=name, patterns=("cat",), queue=queue, engine="dramatiq", module="app.bills")
        for name, queue in (("bill", "events"), ("remind", "billing"))
    ]
    catalogue.announce(handler.name, other, found)

    handler.fleet.boot(["events"], engine="dramatiq")

    assert "bill" in broker.actors
    assert "remind" not in broker.actors  # which waits in a queue that is not this worker's
    handler.fleet.leave()
