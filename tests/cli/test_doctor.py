"""`fastapi-events doctor`: what it prints, and what its exit code says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi_events.storage.sqlalchemy import SqlStore
from tests.cli.conftest import Ran

Run = Callable[..., Ran]


def test_a_module_stands_for_all_its_handlers(run: Run) -> None:
    ran = run("doctor", "shop_events")

    assert "list:events" in ran.out
    assert "list:bare" in ran.out


def test_it_finds_the_danger(run: Run) -> None:
    good, bare = run("doctor", "shop_events:events"), run("doctor", "shop_events:bare")

    assert (good.code, bare.code) == (0, 1)
    assert "ok      outbox: 0 waiting" in good.out
    assert "DANGER  outbox: none" in bare.out


def test_programs_get_one_finding_a_line(run: Run) -> None:
    ran = run("doctor", "shop_events", "--json")

    findings = [json.loads(line) for line in ran.out.splitlines()]
    assert {each["handler"] for each in findings} == {"list:events", "list:bare"}
    assert {(each["handler"], each["subject"]) for each in findings if each["severity"] == "danger"} == {
        ("list:bare", "outbox"),
        ("list:bare", "catalogue"),
    }
    assert ran.code == 1


def test_what_is_the_matter_with_several_stores_is_said_once(run: Run, app: Any, tmp_path: Path) -> None:
    store = SqlStore(f"sqlite:///{tmp_path / 'empty.db'}")
    app.sql = type(app.events)(queue="sql", store=store, relay=False)

    ran = run("doctor", "shop_events:sql")

    store.close()
    assert ran.out.count("The database lacks") == 1
    assert "outbox, dead letters, inbox, lanes, catalogue: The database lacks" in ran.out
    assert "fastapi-events outbox setup" in ran.out
