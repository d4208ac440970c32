"""What nobody may see is masked, wherever an event shows."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import pytest
from pydantic import BaseModel, RootModel, SecretBytes, SecretStr

from fastapi_events import codec, envelope, redaction
from fastapi_events.errors import UnserialisablePayload
from fastapi_events.event import Event
from fastapi_events.lifecycle import Lifecycle, tell
from fastapi_events.redaction import MASK, places_in, read, written
from fastapi_events.typing import Sensitive
from tests.handlers.task_queue.broker import ListHandler


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No handler of another test, which a thread may still hold, has a say in what is shown here."""
    monkeypatch.setattr(redaction, "_redactors", [])
    monkeypatch.setattr(redaction, "_decryptors", [])


class Card(BaseModel):
    number: Annotated[str, Sensitive]
    holder: str = "Tom"


class Order(BaseModel):
    card: Card | None = None
    others: list[Card] = []
    by_name: dict[str, Card] = {}
    password: SecretStr | None = None


class Tree(BaseModel):
    leaf: Annotated[str, Sensitive()] = "leaf"
    branches: list[Tree] = []


class Plain(BaseModel):
    inside: list[Plain] = []


class Cards(RootModel[list[Card]]):
    pass


@dataclass
class Data:
    card: Card
    pin: Annotated[int, Sensitive]


class Typed(TypedDict):
    pin: Annotated[int, Sensitive]
    name: str


@dataclass
class Unknown:
    what: Nowhere  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("kind", "places"),
    [
        (Card, (("number",),)),
        (
            Order,
            (("card", "number"), ("others", "*", "number"), ("by_name", "*", "number"), ("password",)),
        ),
        (Tree, (("leaf",), ("branches", "*"))),
        (Plain, ()),
        (Cards, (("*", "number"),)),
        (Data, (("card", "number"), ("pin",))),
        (Typed, (("pin",),)),
        (Unknown, ((),)),
        (Annotated[list[SecretBytes], "note"], (("*",),)),
        (dict[str, Any], ()),
    ],
)
def test_a_type_says_where_it_has_something_to_hide(kind: Any, places: Any) -> None:
    assert places_in(kind) == places
    assert read(written(places)) == places


def test_odd_names_of_fields_survive_their_way() -> None:
    odd = (("a b", "c/d", "*"), ("*x",), ())

    assert read(written(odd)) == odd
    assert read(7) == ((),)


def test_values_at_places_are_replaced_and_the_rest_is_left() -> None:
    payload = {"cards": [{"number": "1", "holder": "a"}, {"number": None}], "other": 1}

    masked = redaction.replaced(payload, [("cards", "*", "number"), ("missing", "x")], lambda _: MASK)

    assert masked == {"cards": [{"number": MASK, "holder": "a"}, {"number": None}], "other": 1}
    assert payload["cards"] == [{"number": "1", "holder": "a"}, {"number": None}]
    assert redaction.replaced({"a": 1}, [()], lambda _: MASK) == MASK


def encoded(payload: Any) -> tuple[Any, list[Any]]:
    places: list[Any] = []
    return json.loads(codec.encode(payload, event_name="order", sensitive=places)), places


def test_secrets_travel_from_places_that_are_known_to_be_sensitive() -> None:
    assert encoded(Order(password=SecretStr("tuna")))[0]["password"] == "tuna"
    assert encoded({"user": [Order(password=SecretStr("tuna"))], "pin": SecretStr("1234")}) == (
        {
            "user": [{"card": None, "others": [], "by_name": {}, "password": "tuna"}],
            "pin": "1234",
        },
        [
            ("user", "*", "card", "number"), ("user", "*", "others", "*", "number"),
            ("user", "*", "by_name", "*", "number"), ("user", "*", "password"), ("pin",),
        ],
    )  # fmt: skip
    with pytest.raises(UnserialisablePayload, match="SecretBytes, which would travel masked"):
        encoded({"pin": SecretBytes(b"1234")})


def sealed(payload: Any) -> tuple[ListHandler, Event]:
    handler = ListHandler()
    event = Event("order", payload)
    if isinstance(payload, BaseModel):
        event.model = payload
    handler.on_dispatch(event)
    return handler, event


def test_the_places_travel_with_the_event() -> None:
    _, event = sealed(Order(card=Card(number="4242")))

    text = envelope.seal(event, source="shop")

    assert json.loads(text)["sensitive"] == "card/number others/*/number by_name/*/number password"
    assert json.loads(redaction.shown_text(text))["data"]["card"] == {"number": MASK, "holder": "Tom"}
    [shown] = json.loads(redaction.shown_text(f"[{text}]"))
    assert shown["data"]["card"]["number"] == MASK
    assert "4242" not in repr(envelope.unseal(text))
    assert envelope.unseal(text).payload["card"]["number"] == "4242"


def test_an_event_that_has_nothing_to_hide_is_not_looked_at() -> None:
    _, event = sealed({"cat": 1})

    assert event._headers is None
    assert redaction.scrubbed("cat 1", [event]) == "cat 1"
    assert redaction.shown_text('{"cat": 1}') == '{"cat": 1}'
    assert redaction.shown_text('no JSON, "sensitive"') == MASK


def test_texts_lose_the_values_in_every_spelling() -> None:
    _, event = sealed(Order(card=Card(number="4'2\n"), others=[Card(number="7")]))

    assert redaction.scrubbed("card 4'2\n", [event]) == f"card {MASK}"
    assert redaction.scrubbed(repr({"number": "4'2\n"}), [event]) == "{'number': \"***\"}"
    assert redaction.scrubbed("7 of 17, x7", [event]) == f"{MASK} of 17, x7"


def test_a_handler_may_say_what_is_hidden() -> None:
    def redact(name: str, payload: Any) -> Any:
        return {**payload, "card": "…"} if name == "order" else payload

    handler = ListHandler(redact=redact)
    event, other = Event("order", {"card": "4242", "cat": 1}), Event("other", {"card": "4242"})

    assert "4242" not in repr(event)
    assert redaction.scrubbed("4242 refused", [event]) == f"{MASK} refused"
    assert redaction.scrubbed("4242 refused", [other]) == "4242 refused"
    assert '"card":"…"' in redaction.shown_text('{"type": "order", "data": {"card": "4242"}}')
    del handler


def test_where_that_fails_nothing_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    def redact(name: str, payload: Any) -> Any:
        raise KeyError(name)

    handler = ListHandler(redact=redact)

    assert redaction.shown("order", {"card": 1}, ()) == MASK
    assert "redact= has failed for an event 'order', of which nothing is shown." in caplog.messages
    del handler


def test_logs_of_failures_are_masked_with_their_traceback(caplog: pytest.LogCaptureFixture) -> None:
    _, event = sealed(Card(number="4242424242"))
    try:
        raise ValueError("bad card 4242424242") from KeyError("4242424242")
    except ValueError as error:
        raised = error

    with caplog.at_level(logging.ERROR):
        tell(Lifecycle.failed, [event], handler="h", subscription="cook", error=raised)
        tell(Lifecycle.lost, event, handler="h", reason="4242424242 was too much")

    assert f"Event 'order' ({event.id}) failed in cook: ValueError: bad card {MASK}" in caplog.text
    assert "raise ValueError" in caplog.text
    assert "4242424242" not in caplog.text


def test_an_event_that_never_leaves_the_process_is_masked_by_its_model() -> None:
    card = Card(number="4242")
    event = Event("order", {"number": "4242"})
    event.model = card

    assert redaction.scrubbed("bad 4242", [event]) == f"bad {MASK}"
