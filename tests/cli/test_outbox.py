"""`fastapi-events outbox`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from fastapi_events.event import Event
from tests.cli.conftest import Ran

Run = Callable[..., Ran]


def _add(app: Any, *names: str) -> list[str]:
    events = [Event(name) for name in names]
    app.events.outbox.add(app.events._outlet.outbox_writer.entries(events))
    return [event.id for event in events]


def test_status_counts(run: Run, app: Any) -> None:
    _add(app, "a", "b")

    head, line = run("outbox", "status", "shop_events:events").out.splitlines()

    assert head.split() == ["WAITING", "CLAIMED", "UNCONFIRMED", "OLDEST", "FOR"]
    assert line.split()[:3] == ["2", "0", "0"]


def test_list_names_events_and_destinations(run: Run, app: Any) -> None:
    [first] = _add(app, "cat\x1b")

    _, line = run("outbox", "list", "shop_events:events").out.splitlines()

    assert line.split() == [first, "cat\\x1b", "list:events", "now"]


def test_an_empty_outbox_says_so(run: Run) -> None:
    assert run("outbox", "list", "shop_events:events").out == "The outbox is empty.\n"


def test_discard_removes_what_it_is_told_and_names_what_is_not_there(run: Run, app: Any) -> None:
    first, second = _add(app, "a", "b")

    ran = run("outbox", "discard", "shop_events:events", first, "nobody")

    assert ran.code == 1
    assert ran.out == f"{first} discarded\n"
    assert "There is no event in the outbox 'nobody'" in ran.err
    assert [entry.id for entry in app.events.outbox.list()] == [second]


def test_discard_leaves_what_is_for_another_handler_unless_that_is_named(run: Run, app: Any) -> None:
    event = Event("a")
    [own] = app.events._outlet.outbox_writer.entries([event])
    app.events.outbox.add([own, replace(own, destination="list:gone")])

    assert run("outbox", "discard", "shop_events:events", event.id).out == f"{event.id} discarded\n"
    assert [each.destination for each in app.events.outbox.list()] == ["list:gone"]
    again = run("outbox", "discard", "shop_events:events", event.id)
    assert (again.code, again.out) == (1, "")
    assert (
        "is for list:gone, and was left. To discard it there, name the handler: --for list:gone" in again.err
    )
    assert len(app.events.outbox.list()) == 1
    assert run("outbox", "discard", "shop_events:events", event.id, "--for", "list:gone").code == 0
    assert app.events.outbox.list() == []


def test_setup_names_what_is_ready(run: Run) -> None:
    assert run("outbox", "setup", "shop_events:events").out.splitlines() == [
        "MemoryOutbox is ready", "MemoryInbox is ready", "MemoryDeadLetters is ready", "MemoryLanes is ready",
        "MemoryCatalogue is ready", "MemoryJournal is ready",
    ]  # fmt: skip


def test_a_handler_without_an_outbox_says_so(run: Run) -> None:
    ran = run("outbox", "status", "shop_events:bare")

    assert ran.code == 2
    assert "no handler has an outbox; pass store= or outbox= to it" in ran.err


@pytest.mark.parametrize("more", [(), ("--json",)], ids=["text", "json"])
def test_setup_without_a_store_says_how_to_get_one(run: Run, more: tuple[str, ...]) -> None:
    ran = run("outbox", "setup", "shop_events:bare", *more)

    assert (ran.code, ran.out) == (2, "")
    assert "shop_events:bare: no handler has a store to set up; pass store= to it." in ran.err


def test_the_beginning_of_an_id_is_enough(run: Run, app: Any) -> None:
    first, _ = _add(app, "a", "b")

    ran = run("outbox", "discard", "shop_events:events", first[:13])

    assert (ran.code, ran.out) == (0, f"{first} discarded\n")


def test_an_empty_id_discards_nothing(run: Run, app: Any) -> None:
    _add(app, "a")

    ran = run("outbox", "discard", "shop_events:events", "")

    assert ran.code == 2
    assert len(app.events.outbox.list()) == 1


def test_everything_can_be_read_by_programs(run: Run, app: Any) -> None:
    [first] = _add(app, "a")

    def said(*arguments: str) -> Any:
        return [json.loads(line) for line in run("outbox", *arguments, "--json").out.splitlines()]

    [status] = said("status", "shop_events:events")
    assert (status["waiting"], status["handlers"]) == (1, ["list:events"])
    assert datetime.fromisoformat(status["oldest"]).tzinfo is not None
    [entry] = said("list", "shop_events:events")
    assert (entry["id"], entry["event"], entry["due"]) == (first, "a", None)
    assert {"store": "MemoryLanes", "done": "ready"} in said("setup", "shop_events:events")
    assert said("discard", "shop_events:events", first) == [{"id": first, "done": "discarded"}]
    assert said("list", "shop_events:events") == []
