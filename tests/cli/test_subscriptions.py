"""`fastapi-events subscriptions`: who listens to what, in the whole fleet."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from fastapi_events.errors import StorageError
from fastapi_events.event import Event
from fastapi_events.registry.payload_schema import registry
from fastapi_events.storage.catalogue import Listing, Worker
from tests.cli.conftest import Ran

Run = Callable[..., Ran]


class Fish(BaseModel):
    kind: str


@pytest.fixture
def schemas() -> Iterator[None]:
    """Two names with a schema, and no others."""
    before = dict(registry.data)
    registry.data.clear()
    registry["cat-fed"] = Fish
    registry["dog-fed"] = Fish
    yield
    registry.data.clear()
    registry.data.update(before)


@pytest.fixture
def fleet(app: Any) -> None:
    """This process has a function, and a worker another one."""

    def feed(event: Event) -> None: ...

    app.events.register(feed, event_name="cat*", name="feed", queue="kitchen")
    bill = Listing(
        name="bill", patterns=("cat*", "bird*"), queue="bills", engine="list", module="app.bills",
        retry={"max_retries": 5, "min_backoff": 1.0, "max_backoff": 600.0},
    )  # fmt: skip
    worker = Worker(
        id="w", host="there", pid=1, engine="list", queues=("bills",), modules=("app.bills",),
        subscriptions=("bill",),
    )  # fmt: skip
    app.events.catalogue.announce(app.events.name, worker, [bill])


@pytest.mark.usefixtures("fleet", "schemas")
def test_it_shows_the_functions_of_the_whole_fleet_and_what_does_not_fit(run: Run) -> None:
    ran = run("subscriptions", "shop_events:events")

    assert ran.code == 0
    assert [line.split() for line in ran.out.splitlines()[:5]] == [
        ["list:events"],
        ["PATTERN", "FUNCTION", "QUEUE", "RETRIES", "WORKERS"],
        ["bird*", "bill", "bills", "5,", "1", "to", "600", "s", "1"],
        ["cat*", "bill", "bills", "5,", "1", "to", "600", "s", "1"],
        ["cat*", "feed", "kitchen", "5,", "1", "to", "600", "s", "0"],
    ]
    assert "Pattern 'bird*' matches no name" in ran.out
    assert "Nobody listens to 'dog-fed'" in ran.out
    assert "cat-fed" not in ran.out


@pytest.mark.usefixtures("fleet", "schemas")
def test_programs_get_one_thing_a_line(run: Run) -> None:
    found = [
        json.loads(line) for line in run("subscriptions", "shop_events:events", "--json").out.splitlines()
    ]

    functions = {each["name"]: each for each in found if each["kind"] == "function"}
    assert (functions["bill"]["workers"], functions["feed"]["workers"]) == (1, 0)
    assert functions["bill"]["patterns"] == ["cat*", "bird*"]
    assert [each["pattern"] for each in found if each["kind"] == "pattern without a name"] == ["bird*"]
    assert [each["name"] for each in found if each["kind"] == "name without a function"] == ["dog-fed"]


def test_a_handler_that_nobody_listens_to_says_so(run: Run) -> None:
    assert "Nobody listens." in run("subscriptions", "shop_events:bare").out


@pytest.mark.usefixtures("fleet")
def test_a_catalogue_that_is_away_leaves_the_functions_of_this_process(
    run: Run, app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise StorageError("the database is gone")

    monkeypatch.setattr(app.events.catalogue, "_read", refuse)

    ran = run("subscriptions", "shop_events:events")

    assert ran.code == 1
    assert "the database is gone" in ran.err
    assert "feed" in ran.out
    assert "bill" not in ran.out
