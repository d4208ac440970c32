"""`fastapi-events pause`, `resume` and `paused`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fastapi_events.event import Event


@pytest.fixture(autouse=True)
def _function(app: Any) -> None:
    @app.events.register(name="shop.cook")
    def cook(event: Event) -> None: ...


def test_a_function_is_paused_shown_and_resumed(run: Any) -> None:
    assert run("paused", "shop_events:events").out == "Nothing is paused.\n"

    paused = run("pause", "shop_events:events", "shop.cook")
    assert (paused.code, paused.out) == (0, "shop.cook paused until it is resumed\n")
    shown = run("paused", "shop_events:events").out.splitlines()
    assert shown[0].split() == ["SUBSCRIPTION", "SINCE", "UNTIL", "BY"]
    assert shown[1].startswith("shop.cook")

    resumed = run("resume", "shop_events:events", "shop.cook")
    assert (resumed.code, resumed.out) == (0, "shop.cook resumed\n")
    again = run("resume", "shop_events:events", "shop.cook")
    assert (again.code, again.err) == (1, "fastapi-events: shop.cook is not paused.\n")


def test_programs_get_json(run: Any) -> None:
    made = json.loads(run("pause", "shop_events", "shop.cook", "--for", "10m", "--json").out)
    [shown] = map(json.loads, run("paused", "shop_events:events", "--json").out.splitlines())

    assert made == shown
    assert (made["handler"], made["subscription"]) == ("list:events", "shop.cook")
    assert made["since"] < made["until"]
    done = json.loads(run("resume", "shop_events", "shop.cook", "--json").out)
    assert done == {"handler": "list:events", "subscription": "shop.cook", "done": "resumed"}


def test_what_cannot_be_paused_is_refused(run: Any) -> None:
    misspelt = run("pause", "shop_events:events", "shop.cok")
    assert misspelt.code == 2
    assert "did you mean 'shop.cook'" in misspelt.err
    assert run("pause", "shop_events:events", "shop.cook", "--for", "soon").code == 2
    assert "catalogue" in run("paused", "shop_events:bare").err
