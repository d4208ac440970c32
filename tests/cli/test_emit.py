"""`fastapi-events emit`."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from fastapi_events.registry.payload_schema import registry
from tests.cli.conftest import Ran

Run = Callable[..., Ran]

APP = "shop_events:events"


@pytest.fixture
def schema() -> Iterator[None]:
    class Paid(BaseModel):
        order: int

    registry.register(Paid, event_name="emitted-paid")
    yield
    registry.pop("emitted-paid", None)


def sent(app: Any) -> Any:
    [message] = app.events.sent
    [envelope] = json.loads(message.argument)
    return envelope


def test_an_event_is_dispatched_and_named(run: Run, app: Any) -> None:
    ran = run("emit", APP, "order-paid", '{"order": 7}')

    assert ran.code == 0
    envelope = sent(app)
    assert (envelope["type"], envelope["data"]) == ("order-paid", {"order": 7})
    assert ran.out == f"{envelope['id']} dispatched to list:events\n"


def test_its_payload_may_come_from_a_pipe_or_be_none(
    run: Run, app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("[1, 2]"))

    ran = run("emit", APP, "order-paid", "-", "--json")

    assert sent(app)["data"] == [1, 2]
    assert json.loads(ran.out) == {
        "id": sent(app)["id"], "name": "order-paid", "handlers": ["list:events"], "unheard": ["list:events"],
    }  # fmt: skip
    app.events.sent.clear()
    run("emit", APP, "order-paid")
    assert sent(app)["data"] is None


def test_it_may_have_a_key_and_wait(run: Run, app: Any) -> None:
    assert run("emit", APP, "order-paid", "{}", "--delay", "10m").code == 0
    [entry] = app.store.outbox.list()
    assert entry.due is not None
    assert timedelta(minutes=9) < entry.due - datetime.now(UTC) <= timedelta(minutes=10)

    assert run("emit", APP, "order-paid", "{}", "--key", "customer-3").code == 0
    assert "customer-3" in json.dumps([message.argument for message in app.events.sent])


def test_a_payload_has_to_fit_the_schema(run: Run, app: Any, schema: None) -> None:
    wrong = run("emit", APP, "emitted-paid", '{"order": "x"}')

    assert wrong.code == 2
    assert "The payload does not fit the schema of 'emitted-paid'" in wrong.err
    assert "order" in wrong.err
    assert app.events.sent == []
    assert run("emit", APP, "emitted-paid", '{"order": "7"}').code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("order-paid", "hello"), "The payload hello is no JSON"),
        (("order-paid", "{}", "--delay", "soon"), "is no length of time"),
        ((), "the following arguments are required"),
        (("", "{}"), "The event has no name: write"),
        (("order-paid", "NaN"), "Event 'order-paid' cannot be sent: payload is nan"),
        (("order-paid", ""), "The payload '' (nothing) is no JSON"),
    ],
)
def test_what_is_asked_in_a_wrong_way_is_refused(run: Run, arguments: tuple[str, ...], said: str) -> None:
    ran = run("emit", APP, *arguments)

    assert ran.code == 2
    assert said in ran.err


def test_what_is_lost_is_not_done(run: Run, app: Any) -> None:
    app.bare.refusing = ConnectionError("away")

    ran = run("emit", "shop_events:bare", "order-paid", "{}")

    assert ran.code == 1
    assert "The broker has not taken it: ConnectionError: away. `fastapi-events doctor`" in ran.err


def test_it_says_when_nobody_listens(run: Run, app: Any) -> None:
    catalogued = run("emit", APP, "order-paid")
    bare = run("emit", "shop_events:bare", "order-paid")

    assert (catalogued.code, bare.code) == (0, 0)
    assert "Nobody listens to 'order-paid' in list:events: no worker has announced" in catalogued.err
    assert "Nobody listens to 'order-paid' in list:bare, as far as this process knows" in bare.err


def test_it_proposes_what_may_have_been_meant_and_is_quiet_where_somebody_listens(run: Run, app: Any) -> None:
    app.events.register(print, event_name="order-paid", name="shop.bill")

    misspelt, right = run("emit", APP, "order-payd"), run("emit", APP, "order-paid")

    assert "Nobody listens to 'order-payd' in list:events; did you mean 'order-paid'?" in misspelt.err
    assert right.err == ""
