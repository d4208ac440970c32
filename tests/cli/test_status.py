"""`fastapi-events status`: queues, workers, functions and stores at a glance."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from fastapi_events.cli import main, status
from fastapi_events.envelope import seal
from fastapi_events.event import Event
from fastapi_events.storage.catalogue import Listing, Relay, Worker
from fastapi_events.storage.outbox import Entry
from tests.cli.conftest import Ran, letter

Run = Callable[..., Ran]


@pytest.fixture
def fleet(app: Any) -> None:
    """A worker consumes the handler's queue, and no worker a queue of a function that was announced."""

    def feed(event: Event) -> None: ...

    app.events.register(feed, event_name="cat*", name="feed")
    worker = Worker(
        id="w", host="there", pid=7, engine="list", queues=("events",), modules=("app.cats",),
        subscriptions=("feed",),
    )  # fmt: skip
    listing = Listing(name="feed", patterns=("cat*",), queue="events", engine="list", module="app.cats")
    app.events.catalogue.announce(app.events.name, worker, [listing])


@pytest.fixture
def deserted(app: Any, fleet: None) -> None:
    gone = Worker(id="g", host="gone", pid=1, engine="list", queues=("bills",), modules=("app.bills",))
    bill = Listing(name="bill", patterns=("dog*",), queue="bills", engine="list", module="app.bills")
    app.events.catalogue.announce(app.events.name, gone, [bill])
    app.events.catalogue.leave(app.events.name, "g")


@pytest.mark.usefixtures("fleet")
def test_a_fleet_that_works_is_shown_and_fine(run: Run) -> None:
    ran = run("status", "shop_events:events")

    lines = ran.out.splitlines()
    assert ran.code == 0, ran.out
    assert re.fullmatch(r"list:events  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d", lines[0])
    assert lines[2].split() == [
        "QUEUE", "READY", "IN", "HAND", "DELAYED", "DEAD", "OLDEST", "CONSUMERS", "WORKERS",
    ]  # fmt: skip
    assert lines[3].split() == ["events", "-", "-", "-", "-", "-", "-", "1:", "there:7"]
    assert ["feed", "running", "cat*", "events", "1"] in [line.split()[:5] for line in lines]
    assert "Outbox        0 waiting" in ran.out
    assert "\x1b" not in ran.out  # this is no terminal


@pytest.mark.usefixtures("fleet")
def test_a_relay_is_idle_while_nothing_is_due(run: Run, app: Any) -> None:
    app.events.catalogue.relay_heard(app.events.name, Relay(id="r", host="there", pid=9), behind=0.9)
    idle = run("status", "shop_events:events").out
    app.store.outbox.add(
        [Entry(id="1", destination=app.events.name, envelope=seal(Event("cat"), source="t"))]
    )
    at_work = run("status", "shop_events:events").out

    assert re.search(r"Relays +1 alive: there:9, heard of .* ago, idle\n", idle)
    assert re.search(r"Relays +1 alive: there:9, heard of .* ago, 900 ms behind\n", at_work)


@pytest.mark.usefixtures("deserted")
def test_what_nobody_consumes_is_named_and_needs_a_person(run: Run) -> None:
    ran = run("status", "shop_events:events")

    assert ran.code == 1
    assert "Nobody consumes queue 'bills'." in ran.out
    assert ["bill", "nobody", "dog*", "bills", "0"] in [line.split()[:5] for line in ran.out.splitlines()]


@pytest.mark.usefixtures("fleet")
def test_a_function_that_a_deploy_has_removed_is_told_of_and_needs_nobody(run: Run, app: Any) -> None:
    old = Worker(id="o", host="old", pid=1, engine="list", queues=("events",), modules=("app.old",))
    cart = Listing(name="cart_v2", patterns=("dog*",), queue="events", engine="list", module="app.old")
    app.events.catalogue.announce(app.events.name, old, [cart])
    app.events.catalogue.leave(app.events.name, "o")

    ran = run("status", "shop_events:events")
    [data] = map(json.loads, run("status", "shop_events:events", "--json").out.splitlines())

    assert ran.code == 0, ran.out
    last = ran.out.splitlines()[-1]
    assert last.startswith("No live worker runs 'cart_v2', which is announced; nothing is known to wait")
    assert (data["problems"], len(data["notes"])) == ([], 1)


@pytest.mark.usefixtures("deserted")
def test_a_terminal_shows_it_in_red(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.delenv("NO_COLOR", raising=False)

    assert main(["status", "shop_events:events"]) == 1
    assert "\x1b[31mNobody consumes queue 'bills'.\x1b[0m" in screen.getvalue()

    monkeypatch.setenv("NO_COLOR", "1")
    screen.truncate(0)
    assert main(["status", "shop_events:events"]) == 1
    assert "\x1b" not in screen.getvalue()


@pytest.mark.usefixtures("fleet")
def test_dead_letters_need_a_person(run: Run, app: Any) -> None:
    app.store.dead_letters.add(letter(1))

    ran = run("status", "shop_events:events")

    assert ran.code == 1
    assert "1 dead letter waits for somebody to decide." in ran.out


@pytest.mark.usefixtures("deserted")
def test_programs_get_one_object_for_each_handler(run: Run) -> None:
    ran = run("status", "shop_events:events", "--json")

    [found] = map(json.loads, ran.out.splitlines())
    assert ran.code == 1
    assert found["handler"] == "list:events"
    assert [each["queue"] for each in found["queues"]] == ["bills", "events"]
    assert [each["is_consumed"] for each in found["queues"]] == [False, True]
    assert [each["workers"] for each in found["queues"]] == [[], ["there:7"]]
    assert {each["name"]: each["state"] for each in found["subscriptions"]} == {
        "bill": "nobody", "feed": "running",
    }  # fmt: skip
    assert found["problems"] == ["Nobody consumes queue 'bills'."]
    assert found["at"].endswith("+00:00")


def test_it_watches_until_nobody_reads(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    screens: list[str] = []

    def say(text: str, **_: Any) -> bool:
        screens.append(text)
        return len(screens) < 3

    waited: list[float] = []
    monkeypatch.setattr(status, "say", say)
    monkeypatch.setattr(status, "time", SimpleNamespace(sleep=waited.append))  # other threads sleep on

    run("status", "shop_events:events", "--watch")

    assert len(screens) == 3
    assert waited == [2.0, 2.0]


def test_without_a_catalogue_it_says_that_nobody_knows(run: Run) -> None:
    ran = run("status", "shop_events:bare")

    assert ran.code == 0
    assert "there is no catalogue that says which there are" in ran.out


def test_a_module_that_is_not_there_is_asked_wrongly(run: Run) -> None:
    assert run("status", "nowhere").code == 2
