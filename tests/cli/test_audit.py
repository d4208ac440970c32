"""`fastapi-events audit`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.cli.conftest import Ran, letter

Run = Callable[..., Ran]

APP = "shop_events:events"


def test_it_lists_who_did_what(run: Run, app: Any) -> None:
    app.events.dead_letters.add(letter(1))
    app.events.dead_letters.add(letter(2))
    run("dead", "discard", APP, "letter-1")
    run("dead", "replay", APP, "--event", "cat-requested-a-fish")

    ran = run("audit", APP)

    assert ran.code == 0
    head, first, second = ran.out.splitlines()
    assert head.split() == ["WHEN", "WHO", "WHAT", "COUNT", "HANDLER", "WHICH"]
    assert first.endswith("event_name=cat-requested-a-fish")
    assert "discarded  1      list:events  letter-1" in second
    [line] = run("audit", APP, "--limit", "1", "--json").out.splitlines()
    assert (json.loads(line)["what"], json.loads(line)["count"]) == ("replayed", 1)


def test_where_nobody_did_anything_it_says_so(run: Run) -> None:
    assert run("audit", APP).out == "Nobody did anything.\n"
    assert run("audit", "shop_events:bare").code == 2
