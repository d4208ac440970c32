"""Actors for names that a worker does not have: one each, in queues of ours, and not without end."""

from __future__ import annotations

import dramatiq
import pytest
from dramatiq.broker import MessageProxy
from dramatiq.brokers.stub import StubBroker

from fastapi_events.handlers.dramatiq import DramatiqHandler, actors
from fastapi_events.handlers.dramatiq.actors import ACTOR, NotRun, UnknownActors


def message(name: str) -> MessageProxy:
    return MessageProxy(dramatiq.Message("events", name, ("{}",), {}, {}))


@pytest.fixture
def handler() -> DramatiqHandler:
    return DramatiqHandler(StubBroker())


@pytest.fixture
def unknown(handler: DramatiqHandler) -> UnknownActors:
    return UnknownActors(handler.broker)


def test_a_name_becomes_an_actor_that_fails_without_an_error_in_dramatiqs_log(
    handler: DramatiqHandler, unknown: UnknownActors
) -> None:
    assert unknown.learn(message("gone"), handler.worker)
    assert unknown.learn(message("gone"), handler.worker)  # by another thread, at the same time

    actor = handler.broker.get_actor("gone")
    assert (actor.queue_name, actor.options[ACTOR].policy) == ("events", handler.worker.unknown_retry)
    with pytest.raises(NotRun) as raised:
        actor("{}")
    assert str(raised.value.__cause__) == "no worker of this queue has 'gone'"


def test_an_actor_that_is_there_stays_what_it_is(handler: DramatiqHandler, unknown: UnknownActors) -> None:
    handler.register(lambda event: None, name="feed")
    before = handler.broker.get_actor("feed")

    assert not unknown.learn(message("feed"), handler.worker)

    assert handler.broker.get_actor("feed") is before


def test_names_that_somebody_makes_up_fill_no_memory(
    handler: DramatiqHandler, unknown: UnknownActors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actors, "_MOST_UNKNOWN_NAMES", 2)

    learnt = [unknown.learn(message(name), handler.worker) for name in ("one", "two", "three", "one")]

    assert learnt == [True, True, False, True]
    assert "three" not in handler.broker.actors
