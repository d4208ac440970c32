"""`fastapi-events event`."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from fastapi_events.cli import event
from fastapi_events.storage.journal import Record
from fastapi_events.storage.outbox import Entry
from tests.cli.conftest import Ran, letter

Run = Callable[..., Ran]

APP = "shop_events:events"


def record(event_id: str, what: Any = "dispatched", ago: float = 60.0, **more: Any) -> Record:
    values = {"event_name": "order-paid", "correlation": event_id, "process": "web:1", **more}
    return Record(event_id=event_id, what=what, at=time.time() - ago, **values)


def test_show_tells_what_became_of_an_event_and_where_it_is(run: Run, app: Any) -> None:
    app.store.journal.write([record("abc1"), record("abc1", "published", 59.0, handler="list:events")])

    ran = run("event", "show", APP, "abc")

    assert ran.code == 0
    assert ran.out.startswith("order-paid abc1  20")
    assert "└─ dispatched by web:1, published after 1.0 s" in ran.out
    assert "Now in the queue of list:events, or with a worker\n" in ran.out


def test_events_are_found_by_their_ordering_key(run: Run, app: Any) -> None:
    app.store.journal.write([record("abc1", ordering_key="user-7"), record("abc2", ordering_key="user-70")])

    shown = run("event", "show", APP, "abc1").out
    [listed] = run("event", "list", APP, "--key", "user-7", "--json").out.splitlines()

    assert "\nordering key: user-7\n" in shown
    assert (json.loads(listed)["id"], json.loads(listed)["ordering_key"]) == ("abc1", "user-7")
    assert json.loads(run("event", "show", APP, "abc1", "--json").out)["ordering_key"] == "user-7"
    assert run("event", "list", APP, "--key", "nobody").out == "No such events.\n"


def test_show_prefers_what_a_store_holds_to_what_the_journal_supposes(run: Run, app: Any) -> None:
    app.store.journal.write([record("abc1"), record("abc1", "stored", handler="list:events", error="down")])
    app.store.outbox.add([Entry(id="abc1", destination="list:events", envelope="{}")])

    assert run("event", "show", APP, "abc1").out.endswith("Now in the outbox, for list:events\n")


def test_show_as_json(run: Run, app: Any) -> None:
    app.store.journal.write([record("abc1"), record("abc1", "lost", handler="list:events", error="down")])

    data = json.loads(run("event", "show", APP, "abc1", "--json").out)

    assert (data["id"], data["state"]) == ("abc1", "lost")
    assert data["now"] == [{"where": "lost", "text": "list:events has lost it: down"}]


def test_without_a_journal_show_asks_outbox_and_dead_letters(run: Run, app: Any) -> None:
    text = '{"specversion":"1.0","id":"abc1","type":"order-paid"}'
    app.store.outbox.add([Entry(id="abc1", destination="list:events", envelope=text)])
    app.store.dead_letters.add(letter(1))

    waiting, dead = run("event", "show", APP, "abc"), run("event", "show", APP, "event-1", "--json")

    assert waiting.out.startswith(f"order-paid abc1\n\n{text}\n\nNow in the outbox, for list:events\n")
    assert "There is no journal, or it does not know of this event" in waiting.out
    assert json.loads(dead.out)["now"] == [
        {"where": "dead letters", "text": "dead letter letter-1 of shop.cook: ValueError: no fish"}
    ]


def test_show_tells_what_it_cannot_look_into(run: Run, app: Any) -> None:
    app.store.journal.write([record("abc1"), record("abc1", "published", handler="list:events")])
    unseen = "events: the engine list does not show what is in them"

    ran, data = run("event", "show", APP, "abc1"), run("event", "show", APP, "abc1", "--json")

    assert ran.out.endswith(f"Now in the queue of list:events, or with a worker\n\nNot looked at: {unseen}\n")
    assert json.loads(data.out)["unseen"] == [unseen]


def test_an_event_that_is_nowhere_is_told_with_where_was_looked(run: Run) -> None:
    ran, bare = run("event", "show", APP, "abc"), run("event", "show", "shop_events:bare", "abc")

    assert (ran.code, bare.code) == (1, 1)
    assert ran.err == (
        "fastapi-events: There is no event 'abc' in the journal, the outbox, the lanes, the dead letters and "
        "the queues; `fastapi-events event list` shows what there is. Not looked at: events: the engine list "
        "does not show what is in them.\n"
    )
    assert bare.err == (
        "fastapi-events: There is no event 'abc' in the queues. Not looked at: bare: the engine list does "
        "not show what is in them. It may have been handled: only a journal can tell, which store= or "
        "journal= gives a handler.\n"
    )


def test_an_ambiguous_or_empty_id_is_asked_wrongly(run: Run, app: Any) -> None:
    app.store.journal.write([record("abc1"), record("abc2")])

    several = run("event", "show", APP, "abc")

    assert several.code == 2
    assert "2 ids of events begin with 'abc': abc1, abc2" in several.err
    assert run("event", "show", APP, "").code == 2


def test_list_shows_a_line_each_and_can_be_filtered(run: Run, app: Any) -> None:
    app.store.journal.write(
        [
            record("a", ago=7_200.0),
            record("b", ago=50.0),
            record("b", "failed", 40.0, subscription="cook"),
            record("c", ago=30.0, event_name="cat"),
        ]
    )

    head, *rows = run("event", "list", APP).out.splitlines()
    assert head.split() == ["ID", "FIRST", "LAST", "EVENT", "OUTCOME"]
    assert [each.split()[0] for each in rows] == ["c", "b", "a"]
    assert rows[1].endswith("order-paid  failed")

    def ids(*arguments: str) -> list[str]:
        return [
            json.loads(line)["id"]
            for line in run("event", "list", APP, "--json", *arguments).out.splitlines()
        ]

    assert ids("--name", "order-*") == ["b", "a"]
    assert ids("--since", "1h") == ["c", "b"]
    assert ids("--outcome", "failed") == ["b"]
    assert ids("--limit", "1") == ["c"]
    assert run("event", "list", APP, "--name", "cat", "--outcome", "dead").out == "No such events.\n"
    wrong = run("event", "list", APP, "--name", "order-payed")
    assert wrong.code == 1
    assert wrong.err.endswith("The journal has no event 'order-payed'; did you mean order-paid?\n")


def test_list_leaves_out_events_of_other_handlers_that_share_the_journal(run: Run, app: Any) -> None:
    app.store.journal.write(
        [
            record("new", ago=1.0), record("own"), record("own", "published", handler="list:events"),
            *(record(f"other-{each}", "published", ago=30.0, handler="list:other") for each in range(520)),
            record("cat", "published", event_name="cat", handler="list:other"),
        ]
    )  # fmt: skip

    ran = run("event", "list", APP, "--json", "--limit", "5")
    wrong = run("event", "list", APP, "--name", "cat")

    assert [json.loads(line)["id"] for line in ran.out.splitlines()] == ["new", "own"]
    assert wrong.err.endswith("The journal has no event 'cat'; there is order-paid.\n")


def test_list_of_an_empty_journal_says_so_and_wrong_words_are_refused(run: Run) -> None:
    assert run("event", "list", APP).out == "No events.\n"
    assert run("event", "list", APP, "--outcome", "nonsense").code == 2
    assert run("event", "list", APP, "--since", "yesterday").code == 2
    bare = run("event", "list", "shop_events:bare")
    assert bare.code == 2
    assert bare.err == ("fastapi-events: list:bare has no journal; pass store= or journal= to the handler.\n")


def test_tail_shows_each_record_once_until_nobody_reads(
    app: Any, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event, "_TAIL_EVERY_SECONDS", 0.01)
    app.store.journal.write([record("old")])
    lines: list[str] = []
    got_two = threading.Event()

    def say(text: str) -> bool:
        lines.append(text)
        if len(lines) == 2:
            got_two.set()
        return len(lines) < 3

    monkeypatch.setattr(event, "say", say)
    thread = threading.Thread(target=run, args=("event", "tail", APP, "--name", "order-*"))
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while not got_two.is_set():
            assert time.monotonic() < deadline
            # The command begins at its start; what was before is not shown.
            app.store.journal.write([record(f"{time.monotonic()}", ago=0.0), record("cat", event_name="cat")])
            time.sleep(0.02)
        app.store.journal.write([record("last", ago=0.0)])
    finally:
        thread.join(30)

    assert not thread.is_alive()
    assert len(lines) == len(set(lines)) == 3
    assert not any("old" in each or " cat " in each for each in lines)


def test_each_help_ends_with_an_example(run: Run) -> None:
    for action in ("show", "list", "tail"):
        ran = run("event", action, "--help")
        assert ran.code == 0
        assert f"  fastapi-events event {action} app.events" in ran.out
