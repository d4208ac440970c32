"""Which dead letters a command means."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.cli.conftest import Ran, letter

Run = Callable[..., Ran]

APP = "shop_events:events"


@pytest.fixture
def kept(app: Any) -> Any:
    app.events.dead_letters.add(letter(1, argument='{"id": "1", "data": {"order": {"id": 7}}}'))
    app.events.dead_letters.add(letter(2, reason="KeyError: x", argument='{"id": "2", "data": {}}'))
    app.events.dead_letters.add(letter(3, subscription="shop.mail", argument='{"id": "3", "data": {}}'))
    return app.events.dead_letters


def ids(run: Run, *filters: str) -> list[str]:
    ran = run("dead", "list", APP, "--json", *filters)
    assert ran.code == 0, ran.err
    return [json.loads(line)["id"] for line in ran.out.splitlines()]


def test_letters_are_filtered_by_all_that_is_said(run: Run, kept: Any) -> None:
    assert ids(run, "--error", "KeyError") == ["letter-2"]
    assert ids(run, "--where", "order.id=7") == ["letter-1"]
    assert ids(run, "--older-than", "1d", "--subscription", "shop.mail") == ["letter-3"]
    assert ids(run, "--limit", "1") == ["letter-1"]


def test_filters_that_leave_nothing_say_so(run: Run, kept: Any) -> None:
    ran = run("dead", "list", APP, "--error", "KeyError", "--where", "order.id=7")

    assert ran.code == 1
    assert "No dead letter is all that the filters ask for." in ran.err
    assert run("dead", "list", APP, "--since", "1s").code == 1


def test_groups_count_letters_by_cause_and_choose_them(run: Run, kept: Any) -> None:
    ran = run("dead", "groups", APP)

    assert ran.code == 0
    head, *rows = ran.out.splitlines()
    assert head.split() == ["GROUP", "LETTERS", "FIRST", "LAST", "SUBSCRIPTION", "ERROR", "PLACE"]
    assert len(rows) == 3
    [group] = [
        json.loads(line) for line in run("dead", "groups", APP, "--json", "--error", "Key").out.splitlines()
    ]
    assert (group["count"], group["error"], group["sample"]) == (1, "KeyError", "letter-2")
    assert ids(run, "--group", group["id"][:5]) == ["letter-2"]
    assert f"group:        {group['id']}" in run("dead", "show", APP, "letter-2").out


def test_a_beginning_of_several_groups_chooses_none_of_them(run: Run, kept: Any) -> None:
    several: dict[str, int] = {}
    for number in range(17):  # at least two of so many begin alike
        kept.add(letter(number, reason=f"Error{number}: x"))
    for each in kept.groups():
        several[each.id[0]] = several.get(each.id[0], 0) + 1
    prefix = max(several, key=lambda each: several[each])
    before = kept.count()

    ran = run("dead", "discard", APP, "--group", prefix)

    assert ran.code == 2
    assert f"{several[prefix]} ids of groups begin with '{prefix}'" in ran.err
    assert kept.count() == before
    ran = run("dead", "discard", APP, "--group", "xyz")
    assert ran.code == 1
    assert "There is no group 'xyz'; `fastapi-events dead groups` shows them." in ran.err


def test_groups_of_nothing_are_none(run: Run) -> None:
    assert run("dead", "groups", APP).out == "No dead letters.\n"
    assert run("dead", "groups", "shop_events:bare").code == 2


def test_filters_choose_what_is_replayed_and_discarded(run: Run, app: Any, kept: Any) -> None:
    replayed = run("dead", "replay", APP, "--error", "KeyError", "--rate", "200/s", "--json")
    discarded = run("dead", "discard", APP, "--where", "order.id=7")

    assert json.loads(replayed.out) == {"count": 1, "done": "replayed"}
    assert [message.id for message in app.events.sent] == ["letter-2"]
    assert discarded.out == "1 discarded\n"
    assert [each.id for each in kept.list()] == ["letter-3"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("letter-1", "--error", "x"), "not both"),
        ((), "Name the letters by their ids, or pass --all"),
        (("--all", "--edit"), "--edit takes the id of one letter"),
        (("letter-1", "letter-2", "--edit"), "--edit takes one letter at a time"),
        (("letter-1", "--rate", "1/s"), "are for letters that filters choose"),
        (("--all", "--rate", "fast"), "'fast' is no rate"),
        (("--all", "--rate", "0/s"), "'0/s' is no rate"),
        (("--all", "--where", "order"), "'order' is no field"),
        (("--all", "--max-in-flight", "0"), "is no number of 1 or more"),
    ],
)
def test_what_is_asked_in_a_wrong_way_is_refused(
    run: Run, kept: Any, arguments: tuple[str, ...], said: str
) -> None:
    ran = run("dead", "replay", APP, *arguments)

    assert ran.code == 2
    assert said in ran.err
    assert kept.count() == 3


def test_a_replay_that_is_interrupted_says_how_far_it_came(
    run: Run, app: Any, kept: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(**_: Any) -> Any:
        yield 1
        raise KeyboardInterrupt

    monkeypatch.setattr(app.events, "replay_all", interrupted)

    ran = run("dead", "replay", APP, "--all")

    assert ran.code == 130
    assert "1 of 3 replayed; run it again for the rest." in ran.err
