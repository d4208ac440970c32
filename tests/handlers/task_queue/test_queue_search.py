"""Events are found in messages, whatever else may be in them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fastapi_events.handlers.task_queue.queue_search import cannot_look, events_with
from tests.handlers.task_queue.broker import ListHandler

ONE, OTHER = {"specversion": "1.0", "id": "ab", "type": "order"}, {"id": "ac"}


ARGUMENTS = [ONE, json.dumps(ONE), [OTHER, ONE], json.dumps([OTHER, ONE])]
NOTHING: list[list[Any]] = [[], ["?"], [7], [None], [["?", 7, {"id": 7}]], ['{"bell":["key"]}']]


@pytest.mark.parametrize("argument", ARGUMENTS, ids=["one", "text", "batch", "text of a batch"])
def test_events_are_found_by_the_beginning_of_their_ids(argument: Any) -> None:
    [(id_, text)] = events_with([argument], "ab")

    assert (id_, json.loads(text)) == ("ab", ONE)


@pytest.mark.parametrize("arguments", NOTHING, ids=repr)
def test_what_carries_no_events_holds_none(arguments: list[Any]) -> None:
    assert list(events_with(arguments, "")) == []


def test_an_engine_that_does_not_say_how_to_look_says_so() -> None:
    handler = ListHandler()

    found = handler.engine.search(handler.queues, "ab", timeout=1.0)

    assert (found.found, found.unseen) == ([], ["events: the engine list does not show what is in them"])
    assert cannot_look(["b", "a"], "why").unseen == ["a, b: why"]
