"""`fastapi-events audit`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from fastapi_events.storage.journal import Action
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


def test_it_leaves_out_what_was_done_to_another_handler_that_shares_the_journal(run: Run, app: Any) -> None:
    for owner, what in (("list:events", "discarded"), ("list:other", "expired")):
        app.store.journal.note(Action(at=1.0, by="alice", what=what, handler=owner, subject="x", count=1))

    [line] = run("audit", APP, "--limit", "1", "--json").out.splitlines()
    assert json.loads(line)["what"] == "discarded"


def test_where_nobody_did_anything_it_says_so(run: Run) -> None:
    assert run("audit", APP).out == "Nobody did anything.\n"
    assert run("audit", "shop_events:bare").code == 2
