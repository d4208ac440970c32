"""`fastapi-events catalogue`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from fastapi_events.storage.catalogue import Listing, Worker
from tests.cli.conftest import Ran

Run = Callable[..., Ran]

TARGET = "shop_events:events"


def listing(name: str, module: str) -> Listing:
    return Listing(name=name, patterns=("cat*", "dog-\x1b"), queue="events", engine="list", module=module)


@pytest.fixture
def announced(app: Any) -> Any:
    """A catalogue with functions of two modules, one of which a live worker runs."""
    catalogue, handler = app.store.catalogue, app.events.name
    bills = Worker(id="b", host="old", pid=7, engine="list", modules=("app.bills",))
    catalogue.announce(handler, bills, [listing("bill", "app.bills"), listing("remind", "app.bills")])
    catalogue.leave(handler, "b")
    mail = Worker(id="m", host="web-1", pid=42, engine="list", modules=("app.mail",), subscriptions=("mail",))
    catalogue.announce(handler, mail, [listing("mail", "app.mail")])
    return catalogue


def names(app: Any) -> list[str]:
    return [each.name for each in app.store.catalogue.read(app.events.name).listings]


@pytest.mark.usefixtures("announced")
def test_list_tells_what_is_announced_and_who_runs_it(run: Run) -> None:
    head, bill, mail, remind = run("catalogue", "list", TARGET).out.splitlines()

    assert head.split() == ["SUBSCRIPTION", "LISTENS", "TO", "QUEUE", "MODULE", "SINCE", "LIVE", "WORKERS"]
    assert bill.split()[:5] == ["bill", "cat*,", "dog-\\x1b", "events", "app.bills"]
    assert bill.endswith("none")
    assert mail.endswith("web-1:42")
    assert remind.startswith("remind")


@pytest.mark.usefixtures("announced")
def test_list_is_readable_for_programs(run: Run) -> None:
    lines = [json.loads(each) for each in run("catalogue", "list", TARGET, "--json").out.splitlines()]

    assert [each["subscription"] for each in lines] == ["bill", "mail", "remind"]
    assert [each["workers"] for each in lines] == [[], ["web-1:42"], []]
    assert lines[0].keys() == {
        "handler", "subscription", "patterns", "queue", "module", "version", "since", "workers",
    }  # fmt: skip


def test_an_empty_catalogue_says_so(run: Run) -> None:
    assert run("catalogue", "list", TARGET).out == "No worker has announced a function.\n"


@pytest.mark.usefixtures("announced")
def test_a_subscription_is_forgotten_by_its_name(run: Run, app: Any) -> None:
    ran = run("catalogue", "forget", TARGET, "bill")

    assert (ran.code, ran.out, ran.err) == (0, "bill forgotten\n", "")
    assert names(app) == ["mail", "remind"]


@pytest.mark.usefixtures("announced")
def test_a_module_is_forgotten_with_all_that_it_registers(run: Run, app: Any) -> None:
    ran = run("catalogue", "forget", TARGET, "app.bills", "--json")

    assert [json.loads(each) for each in ran.out.splitlines()] == [
        {"handler": "list:events", "subscription": "bill", "done": "forgotten"},
        {"handler": "list:events", "subscription": "remind", "done": "forgotten"},
    ]
    assert names(app) == ["mail"]


@pytest.mark.usefixtures("announced")
def test_what_a_live_worker_runs_is_not_forgotten(run: Run, app: Any) -> None:
    ran = run("catalogue", "forget", TARGET, "app.mail", "bill")

    assert ran.code == 1
    assert ran.out == "bill forgotten\n"
    assert "mail is run by web-1:42: other workers would send it no event any more." in ran.err
    assert names(app) == ["mail", "remind"]


@pytest.mark.usefixtures("announced")
def test_what_nobody_has_announced_is_named_with_what_was_meant(run: Run, app: Any) -> None:
    ran = run("catalogue", "forget", TARGET, "bil", "remind")

    assert ran.code == 1
    assert ran.out == "remind forgotten\n"
    assert ran.err == "fastapi-events: No worker has announced bil; did you mean bill?\n"
    assert names(app) == ["bill", "mail"]


@pytest.mark.parametrize("action", [("list", "shop_events:alone"), ("forget", "shop_events:alone", "bill")])
def test_a_handler_without_a_catalogue_says_how_to_get_one(
    run: Run, app: Any, action: tuple[str, ...]
) -> None:
    app.alone = type(app.events)(queue="alone", catalogue=None)

    ran = run("catalogue", *action)

    assert ran.code == 2
    assert "list:alone has no catalogue, so that each of its workers knows its own functions only" in ran.err
