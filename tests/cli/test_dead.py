"""`fastapi-events dead`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from fastapi_events.errors import NotPublished
from fastapi_events.handlers.task_queue.dead_queues import DeadQueues, QueuedLetter
from fastapi_events.storage.dead_letters import DeadLetter
from tests.cli.conftest import Ran, letter
from tests.handlers.task_queue.broker import ListEngine

Run = Callable[..., Ran]


def test_list_shows_a_line_each(run: Run, app: Any) -> None:
    app.events.dead_letters.add(letter(1))
    app.events.dead_letters.add(letter(2, subscription="shop.clean"))

    ran = run("dead", "list", "shop_events:events")

    assert ran.code == 0
    head, first, second = ran.out.splitlines()
    assert head.split() == ["ID", "GIVEN", "UP", "TRIED", "SUBSCRIPTION", "EVENT", "REASON"]
    assert first.split()[:1] + first.split()[3:5] == ["letter-1", "6", "shop.cook"]
    assert "shop.clean" in second


def test_list_without_letters_says_so(run: Run) -> None:
    assert run("dead", "list", "shop_events:events").out == "No dead letters.\n"


def test_list_can_be_filtered_and_read_by_programs(run: Run, app: Any) -> None:
    app.events.dead_letters.add(letter(1))
    app.events.dead_letters.add(letter(2, event_name="other"))

    ran = run("dead", "list", "shop_events:events", "--event", "other", "--json")

    [line] = ran.out.splitlines()
    assert json.loads(line)["id"] == "letter-2"


def test_show_has_payload_and_traceback(run: Run, app: Any) -> None:
    app.events.dead_letters.add(letter(1))

    ran = run("dead", "show", "shop_events:events", "letter-1")

    assert ran.code == 0
    assert "reason:       ValueError: no fish" in ran.out
    assert '"id":"event-1"' in ran.out
    assert "Traceback\n  line\nValueError: no fish" in ran.out


def test_what_comes_from_outside_does_not_steer_the_terminal(run: Run, app: Any) -> None:
    app.events.dead_letters.add(
        letter(1, event_name="\x1b[2Jgone\nforged-line", reason="<b>\x07", traceback="\x1b]0;title\x07")
    )

    listed = run("dead", "list", "shop_events:events").out
    shown = run("dead", "show", "shop_events:events", "letter-1").out

    assert len(listed.splitlines()) == 2
    assert not {"\x1b", "\x07"} & set(listed + shown)
    assert "\\x1b[2Jgone\\nforged-line" in listed


def test_replay_sends_a_letter_and_forgets_it(run: Run, app: Any) -> None:
    app.events.dead_letters.add(letter(1))

    ran = run("dead", "replay", "shop_events:events", "letter-1")

    assert (ran.code, ran.out) == (0, "letter-1 replayed\n")
    [message] = app.events.sent
    assert (message.task, message.queue, message.id) == ("shop.cook", "events", "letter-1")
    assert app.events.dead_letters.count() == 0


def test_replaying_many_shows_progress(run: Run, app: Any) -> None:
    for number in range(1_200):
        app.events.dead_letters.add(letter(number))

    ran = run("dead", "replay", "shop_events:events", "--all")

    assert ran.code == 0
    assert len(app.events.sent) == 1_200
    assert "500 of 1200 replayed" in ran.err
    assert ran.err.rstrip().endswith("\r1200 replayed")


def test_an_interrupted_replay_can_be_resumed(run: Run, app: Any) -> None:
    for number in range(1_200):
        app.events.dead_letters.add(letter(number))
    send = app.events.engine.send

    def break_after_the_first_page(messages: Any, **rest: Any) -> None:
        if app.events.sent:
            raise ConnectionError("away")
        send(messages, **rest)

    app.events.engine.send = break_after_the_first_page
    ran = run("dead", "replay", "shop_events:events", "--all")
    assert (ran.code, app.events.dead_letters.count()) == (1, 700)
    assert "ConnectionError: away" in ran.err

    app.events.engine.send = send
    assert run("dead", "replay", "shop_events:events", "--all").code == 0
    assert len({each.id for each in app.events.sent}) == len(app.events.sent) == 1_200
    assert app.events.dead_letters.count() == 0


def test_a_letter_whose_message_is_not_sent_stays(app: Any) -> None:
    app.events.dead_letters.add(letter(1))
    app.events.refusing = ConnectionError("away")

    with pytest.raises(NotPublished):
        app.events.replay([app.events.dead_letters.get("letter-1")])

    assert app.events.dead_letters.count() == 1


@pytest.mark.parametrize("action", ["replay", "discard"])
def test_nothing_happens_to_all_letters_by_accident(run: Run, app: Any, action: str) -> None:
    app.events.dead_letters.add(letter(1))

    ran = run("dead", action, "shop_events:events")
    both = run("dead", action, "shop_events:events", "letter-1", "--all")

    assert (ran.code, both.code) == (2, 2)
    assert "pass --all, --subscription, --event or another filter" in ran.err
    assert app.events.dead_letters.count() == 1


def test_discard_removes(run: Run, app: Any) -> None:
    for number in (1, 2, 3):
        app.events.dead_letters.add(letter(number, subscription=f"s{number}"))

    assert run("dead", "discard", "shop_events:events", "letter-1").out == "letter-1 discarded\n"
    assert run("dead", "discard", "shop_events:events", "--subscription", "s2").out == "1 discarded\n"
    assert [each.id for each in app.events.dead_letters.list()] == ["letter-3"]


def test_expire_removes_what_is_old(run: Run, app: Any) -> None:
    app.events.dead_letters.add(letter(1))

    assert run("dead", "expire", "shop_events:events", "--older-than", "10000w").out == "0 expired\n"
    assert run("dead", "expire", "shop_events:events", "--older-than", "1s").out == "1 expired\n"


def test_letters_of_another_handler_in_the_store_neither_expire_nor_are_discarded(run: Run, app: Any) -> None:
    app.events.dead_letters.add(letter(1))
    app.events.dead_letters.add(letter(2, handler="list:other"))

    assert run("dead", "expire", "shop_events:events", "--older-than", "1s").out == "1 expired\n"
    assert run("dead", "discard", "shop_events:events", "--all").out == "0 discarded\n"
    assert [each.id for each in app.events.dead_letters.list()] == ["letter-2"]
    [line] = run("audit", "shop_events:events", "--json").out.splitlines()
    assert (json.loads(line)["what"], json.loads(line)["count"]) == ("expired", 1)


def test_an_age_that_is_none_is_refused(run: Run) -> None:
    ran = run("dead", "expire", "shop_events:events", "--older-than", "soon")

    assert ran.code == 2
    assert "'soon' is no length of time; write for example 30d" in ran.err


def test_an_unknown_id_is_named(run: Run) -> None:
    ran = run("dead", "show", "shop_events:events", "x\n")

    assert ran.code == 1
    assert "There is no dead letter 'x\\n'" in ran.err


def test_a_handler_without_a_store_says_what_to_do(run: Run) -> None:
    for action in ("groups", "adopt"):
        ran = run("dead", action, "shop_events:bare")

        assert ran.code == 2
        assert "pass store= or dead_letters= to the handler" in ran.err


class Queued(ListEngine):
    """Keeps letters in a queue of its own."""

    away: Exception | None = None

    @contextmanager
    def dead_queues(self, handler: str, queues: Any, *, timeout: float, to_take: bool = False) -> Any:
        if self.away is not None:
            raise self.away
        yield _Kept(self.kept)


class _Kept(DeadQueues):
    def __init__(self, kept: list[DeadLetter]) -> None:
        self._kept = kept

    def __iter__(self) -> Iterator[QueuedLetter]:
        return iter([QueuedLetter(each, each) for each in self._kept])

    def remove(self, queued: QueuedLetter) -> None:
        self._kept.remove(queued.place)


@pytest.fixture
def engine(app: Any, monkeypatch: pytest.MonkeyPatch) -> Queued:
    engine = Queued()
    monkeypatch.setattr(app.events, "engine", engine)
    monkeypatch.setattr(app.bare, "engine", engine)
    return engine


def test_what_the_engine_keeps_is_listed_beside_the_others(run: Run, app: Any, engine: Queued) -> None:
    app.events.dead_letters.add(letter(1))
    engine.kept = [letter(2), letter(3, subscription="shop.clean")]

    ran = run("dead", "list", "shop_events:events")
    filtered = run("dead", "list", "shop_events:events", "--subscription", "shop.clean", "--json")

    assert [line.split()[0] for line in ran.out.splitlines()] == ["ID", "letter-1", "letter-2", "letter-3"]
    assert "2 letters, the last of them, in queues of the engine: fastapi-events dead adopt" in ran.err
    [line] = filtered.out.splitlines()
    assert (json.loads(line)["id"], json.loads(line)["kept_by"]) == ("letter-3", "engine")
    assert run("dead", "list", "shop_events:events", "--limit", "1").out.count("letter-") == 1


def test_without_a_store_what_the_engine_keeps_is_listed(run: Run, engine: Queued) -> None:
    engine.kept = [letter(2)]

    assert "letter-2" in run("dead", "list", "shop_events:bare").out


def test_what_the_engine_keeps_is_adopted(run: Run, app: Any, engine: Queued) -> None:
    # Given one that the store has already, with what has happened since
    app.events.dead_letters.add(letter(2, reason="ValueError: still no fish"))
    engine.kept = [letter(2), letter(3)]

    ran = run("dead", "adopt", "shop_events:events")

    assert (ran.code, ran.out) == (0, "2 adopted\n")
    assert {each.id: each.reason for each in app.events.dead_letters.list()} == {
        "letter-2": "ValueError: still no fish",
        "letter-3": "ValueError: no fish",
    }
    assert engine.kept == []
    assert run("dead", "adopt", "shop_events:events", "--json").out == '{"count": 0, "done": "adopted"}\n'


def test_a_broker_that_is_away_does_not_hide_what_the_store_has(run: Run, app: Any, engine: Queued) -> None:
    app.events.dead_letters.add(letter(1))
    engine.away = ConnectionError("refused")

    ran = run("dead", "list", "shop_events:events")

    assert ran.code == 0
    assert "letter-1" in ran.out
    assert "the engine's own queues cannot be looked at: ConnectionError: refused" in ran.err


@pytest.mark.parametrize("which", ["--all", "letter-1"])
def test_a_letter_that_fails_again_while_it_is_replayed_is_not_lost(
    run: Run, app: Any, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    app.events.dead_letters.add(letter(1))

    def work_at_once(_messages: Any, **_: Any) -> None:
        now = datetime.now(UTC)
        app.events.dead_letters.add(letter(1, reason="ValueError: still no fish", last_at=now))

    monkeypatch.setattr(app.events.engine, "send", work_at_once)

    ran = run("dead", "replay", "shop_events:events", which)

    assert ran.code == 0
    [again] = app.events.dead_letters.list()
    assert again.reason == "ValueError: still no fish"


# What people type


def test_the_beginning_of_an_id_is_enough(run: Run, app: Any) -> None:
    app.events.dead_letters.add(letter(1, id="abc-1"))
    app.events.dead_letters.add(letter(2, id="abd-2"))

    assert "abc-1" in run("dead", "show", "shop_events:events", "abc").out
    assert run("dead", "replay", "shop_events:events", "abc").out == "abc-1 replayed\n"
    assert run("dead", "discard", "shop_events:events", "ab").out == "abd-2 discarded\n"


@pytest.mark.parametrize("action", ["show", "replay", "discard"])
def test_a_beginning_of_several_ids_does_nothing(run: Run, app: Any, action: str) -> None:
    for id_ in ("abc-1", "abd-2"):
        app.events.dead_letters.add(letter(1, id=id_))

    ran = run("dead", action, "shop_events:events", "ab")

    assert ran.code == 2
    assert "2 ids of dead letters begin with 'ab': abc-1, abd-2" in ran.err
    assert app.events.dead_letters.count() == 2


def test_nothing_happens_to_the_first_where_the_second_is_unknown(run: Run, app: Any) -> None:
    app.events.dead_letters.add(letter(1))

    ran = run("dead", "discard", "shop_events:events", "letter-1", "nobody")

    assert (ran.code, ran.out) == (1, "")
    assert app.events.dead_letters.count() == 1


@pytest.mark.parametrize("action", ["list", "replay", "discard"])
@pytest.mark.parametrize(
    ("filter_", "said"),
    [
        (("--subscription", "shop.cok"), "did you mean shop.cook?"),
        (("--event", "cat-requested-fish"), "did you mean cat-requested-a-fish?"),
        (("--event", "zzz"), "there is cat-requested-a-fish, other."),
        (
            ("--subscription", "shop.cook", "--event", "other"),
            "No dead letter is all that the filters ask for.",
        ),
    ],
)
def test_a_filter_that_leaves_nothing_is_not_done(
    run: Run, app: Any, action: str, filter_: tuple[str, ...], said: str
) -> None:
    app.events.dead_letters.add(letter(1))
    app.events.dead_letters.add(letter(2, subscription="shop.clean", event_name="other"))

    ran = run("dead", action, "shop_events:events", *filter_)

    assert (ran.code, ran.out) == (1, "")
    assert said in ran.err
    assert app.events.dead_letters.count() == 2


def test_a_subscription_that_is_registered_needs_no_guess(run: Run, app: Any) -> None:
    app.events.dead_letters.add(letter(1))
    app.events.register(print, event_name="x", name="shop.cookie")

    ran = run("dead", "list", "shop_events:events", "--subscription", "shop.cookie")

    assert ran.code == 1
    assert ran.err.endswith("No dead letter is to the subscription shop.cookie.\n")


def test_all_of_nothing_is_done(run: Run) -> None:
    ran = run("dead", "discard", "shop_events:events", "--all")

    assert (ran.code, ran.out) == (0, "0 discarded\n")


def test_times_are_local_and_say_how_far_from_utc(
    run: Run, app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    app.events.dead_letters.add(letter(1))

    try:
        listed, one = (
            run("dead", "list", "shop_events:events"),
            run("dead", "show", "shop_events:events", "letter-1"),
        )
    finally:
        monkeypatch.undo()
        time.tzset()

    assert "2026-01-01 05:46:00+05:45" in listed.out
    assert "given up:     2026-01-01 05:46:00+05:45" in one.out


def test_what_is_done_can_be_read_by_programs(run: Run, app: Any) -> None:
    for number in (1, 2, 3):
        app.events.dead_letters.add(letter(number))

    def said(*arguments: str) -> Any:
        return json.loads(run("dead", *arguments, "--json").out)

    assert said("show", "shop_events:events", "letter-1")["reason"] == "ValueError: no fish"
    assert said("replay", "shop_events:events", "letter-1") == {"id": "letter-1", "done": "replayed"}
    assert said("discard", "shop_events:events", "letter-2") == {"id": "letter-2", "done": "discarded"}
    assert said("replay", "shop_events:events", "--all") == {"count": 1, "done": "replayed"}
    assert said("discard", "shop_events:events", "--all") == {"count": 0, "done": "discarded"}
    assert said("expire", "shop_events:events", "--older-than", "1s") == {"count": 0, "done": "expired"}
