"""`fastapi-events dead`."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from fastapi_events.errors import NotPublished
from tests.cli.conftest import Ran, letter

Run = Callable[..., Ran]


def test_list_shows_a_line_each(run: Run, app: Any) -> None:
    app.events.dead_letters.bury(letter(1))
    app.events.dead_letters.bury(letter(2, subscription="shop.clean"))

    ran = run("dead", "list", "shop_events:events")

    assert ran.code == 0
    head, first, second = ran.out.splitlines()
    assert head.split() == ["ID", "BURIED", "TRIED", "SUBSCRIPTION", "EVENT", "REASON"]
    assert first.split()[:1] + first.split()[3:5] == ["letter-1", "6", "shop.cook"]
    assert "shop.clean" in second


def test_list_without_letters_says_so(run: Run) -> None:
    assert run("dead", "list", "shop_events:events").out == "No dead letters.\n"


def test_list_can_be_filtered_and_read_by_programs(run: Run, app: Any) -> None:
    app.events.dead_letters.bury(letter(1))
    app.events.dead_letters.bury(letter(2, event_name="other"))

    ran = run("dead", "list", "shop_events:events", "--event", "other", "--json")

    [line] = ran.out.splitlines()
    assert json.loads(line)["id"] == "letter-2"


def test_show_has_payload_and_traceback(run: Run, app: Any) -> None:
    app.events.dead_letters.bury(letter(1))

    ran = run("dead", "show", "shop_events:events", "letter-1")

    assert ran.code == 0
    assert "reason:       ValueError: no fish" in ran.out
    assert '"id":"event-1"' in ran.out
    assert "Traceback\n  line\nValueError: no fish" in ran.out


def test_what_comes_from_outside_does_not_steer_the_terminal(run: Run, app: Any) -> None:
    app.events.dead_letters.bury(
        letter(1, event_name="\x1b[2Jgone\nforged-line", reason="<b>\x07", traceback="\x1b]0;title\x07")
    )

    listed = run("dead", "list", "shop_events:events").out
    shown = run("dead", "show", "shop_events:events", "letter-1").out

    assert len(listed.splitlines()) == 2
    assert not {"\x1b", "\x07"} & set(listed + shown)
    assert "\\x1b[2Jgone\\nforged-line" in listed


def test_replay_sends_a_letter_and_forgets_it(run: Run, app: Any) -> None:
    app.events.dead_letters.bury(letter(1))

    ran = run("dead", "replay", "shop_events:events", "letter-1")

    assert (ran.code, ran.out) == (0, "letter-1 replayed\n")
    [message] = app.events.sent
    assert (message.task, message.queue, message.id) == ("shop.cook", "events", "letter-1")
    assert app.events.dead_letters.count() == 0


def test_replaying_many_shows_progress(run: Run, app: Any) -> None:
    for number in range(1_200):
        app.events.dead_letters.bury(letter(number))

    ran = run("dead", "replay", "shop_events:events", "--all")

    assert ran.code == 0
    assert len(app.events.sent) == 1_200
    assert "500 of 1200 replayed" in ran.err
    assert ran.err.rstrip().endswith("\r1200 replayed")


def test_an_interrupted_replay_can_be_resumed(run: Run, app: Any) -> None:
    for number in range(1_200):
        app.events.dead_letters.bury(letter(number))
    send = app.events._send

    def break_after_the_first_page(messages: Any, **rest: Any) -> None:
        if app.events.sent:
            raise ConnectionError("away")
        send(messages, **rest)

    app.events._send = break_after_the_first_page
    ran = run("dead", "replay", "shop_events:events", "--all")
    assert (ran.code, app.events.dead_letters.count()) == (1, 700)
    assert "ConnectionError: away" in ran.err

    app.events._send = send
    assert run("dead", "replay", "shop_events:events", "--all").code == 0
    assert len({each.id for each in app.events.sent}) == len(app.events.sent) == 1_200
    assert app.events.dead_letters.count() == 0


def test_a_letter_whose_message_is_not_sent_stays(app: Any) -> None:
    app.events.dead_letters.bury(letter(1))
    app.events.refusing = ConnectionError("away")

    with pytest.raises(NotPublished):
        app.events.replay([app.events.dead_letters.get("letter-1")])

    assert app.events.dead_letters.count() == 1


@pytest.mark.parametrize("action", ["replay", "discard"])
def test_nothing_happens_to_all_letters_by_accident(run: Run, app: Any, action: str) -> None:
    app.events.dead_letters.bury(letter(1))

    ran = run("dead", action, "shop_events:events")
    both = run("dead", action, "shop_events:events", "letter-1", "--all")

    assert (ran.code, both.code) == (1, 1)
    assert "pass --all, --subscription or --event" in ran.err
    assert app.events.dead_letters.count() == 1


def test_discard_removes(run: Run, app: Any) -> None:
    for number in (1, 2, 3):
        app.events.dead_letters.bury(letter(number, subscription=f"s{number}"))

    assert run("dead", "discard", "shop_events:events", "letter-1").out == "letter-1 discarded\n"
    assert run("dead", "discard", "shop_events:events", "--subscription", "s2").out == "1 discarded\n"
    assert [each.id for each in app.events.dead_letters.list()] == ["letter-3"]


def test_expire_removes_what_is_old(run: Run, app: Any) -> None:
    app.events.dead_letters.bury(letter(1))

    assert run("dead", "expire", "shop_events:events", "--older-than", "10000w").out == "0 expired\n"
    assert run("dead", "expire", "shop_events:events", "--older-than", "1s").out == "1 expired\n"


def test_an_age_that_is_none_is_refused(run: Run) -> None:
    ran = run("dead", "expire", "shop_events:events", "--older-than", "soon")

    assert ran.code == 2
    assert "'soon' is no age; write for example 30d" in ran.err


def test_an_unknown_id_is_named(run: Run) -> None:
    ran = run("dead", "show", "shop_events:events", "x\n")

    assert ran.code == 1
    assert "There is no dead letter 'x\\n'" in ran.err


def test_a_handler_without_a_store_says_what_to_do(run: Run) -> None:
    ran = run("dead", "list", "shop_events:bare")

    assert ran.code == 1
    assert "pass dead_letters= to the handler" in ran.err


@pytest.mark.parametrize("which", ["--all", "letter-1"])
def test_a_letter_that_fails_again_while_it_is_replayed_is_not_lost(
    run: Run, app: Any, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    app.events.dead_letters.bury(letter(1))

    def work_at_once(_messages: Any, *, from_web: bool) -> None:
        now = datetime.now(UTC)
        app.events.dead_letters.bury(letter(1, reason="ValueError: still no fish", last_at=now))

    monkeypatch.setattr(app.events, "_send", work_at_once)

    ran = run("dead", "replay", "shop_events:events", which)

    assert ran.code == 0
    [again] = app.events.dead_letters.list()
    assert again.reason == "ValueError: still no fish"
