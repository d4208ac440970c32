"""What stands at the head of each page."""

from __future__ import annotations

import asyncio

from fastapi_events.console.header import read_header
from fastapi_events.console.state import State
from fastapi_events.storage.outbox import Entry
from tests.console.conftest import Shop


def figures(state: State) -> dict[str, tuple[str, str]]:
    return {each.name: (each.text, each.tone) for each in asyncio.run(read_header(state)).figures}


def test_the_figures_of_all_handlers_together(shop: Shop, state: State) -> None:
    shop.write(shop.record("a", "lost", error="down", handler="dramatiq:events"))
    shop.letter()
    shop.events.pause("shop.cook", by="ada")

    found = figures(state)

    assert found["lost"] == ("1", "bad")
    assert found["dead"] == ("1", "bad")
    assert found["retrying"] == ("9", "warn")
    assert found["waiting"] == ("21", "plain")
    assert found["oldest"] == ("75 s", "warn")
    assert found["workers"] == ("2", "plain")
    assert found["paused"] == ("1", "warn")
    assert found["relay lag"] == ("0 s", "plain")


def test_what_nobody_can_tell_is_left_open(shop: Shop) -> None:
    found = figures(State([shop.bare]))

    assert {name: text for name, (text, _) in found.items() if text != "\u2013"} == {}


def test_what_has_waited_in_the_outbox_is_the_lag_of_the_relay(shop: Shop, state: State) -> None:
    envelope = (
        '{"specversion":"1.0","id":"a","source":"s","type":"order","time":"2026-01-01T00:00:00Z","data":1}'
    )
    shop.store.outbox.add([Entry(id="a", destination="dramatiq:events", envelope=envelope)])

    text, tone = figures(state)["relay lag"]

    assert text.endswith(" d")
    assert tone == "warn"
