"""What is kept of a message that is given up, and who goes on without it."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

import pytest

from fastapi_events.envelope import seal
from fastapi_events.errors import StorageError
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.worker.dead_letters import failure_report
from fastapi_events.handlers.task_queue.worker.outcome import NO_RETRY, Attempt, letter_of
from fastapi_events.ids import named_id
from fastapi_events.storage.dead_letters import DeadLetter
from fastapi_events.storage.memory import MemoryDeadLetters, MemoryLanes, MemoryOutbox
from fastapi_events.storage.outbox import Entry
from tests.full import full
from tests.handlers.task_queue.broker import ListEngine, ListHandler
from tests.recording import Diary

ERROR = ValueError("no fish")


def letter_about(*arguments: Any, subscription: str = "feed") -> DeadLetter:
    attempt = Attempt(
        handler="list:events", subscription=subscription, queue="kitchen", message_id="m1", policy=NO_RETRY,
        arguments=arguments,
    )  # fmt: skip
    return letter_of(attempt, ERROR, attempts=6)


def give_up(handler: ListHandler, *arguments: Any, subscription: str = "feed") -> None:
    handler.worker.dead_letters.give_up(letter_about(*arguments, subscription=subscription))


def text_of(event: Event, **attributes: str) -> str:
    return seal(event, source="shop", extensions=attributes)


@pytest.fixture
def letters() -> MemoryDeadLetters:
    return MemoryDeadLetters()


@pytest.fixture
def handler(letters: MemoryDeadLetters) -> ListHandler:
    return ListHandler(dead_letters=letters)


def only(letters: MemoryDeadLetters) -> DeadLetter:
    [letter] = letters.list()
    return letter


# What is kept


def test_a_store_that_is_away_for_a_moment_has_the_letter_when_it_is_back() -> None:
    class Away(MemoryDeadLetters):
        tries = 0

        def add(self, letter: DeadLetter) -> None:
            self.tries += 1
            if self.tries < 3:
                raise StorageError("away")
            super().add(letter)

    letters = Away()
    handler = ListHandler(dead_letters=letters)

    give_up(handler, "{}")

    assert only(letters).id != "m1"  # it is of the handler, the function and the event, not of a message
    assert handler.engine.kept == []


def test_a_store_that_is_known_to_be_away_is_waited_for_once() -> None:
    class Gone(MemoryDeadLetters):
        tries = 0

        def add(self, letter: DeadLetter) -> None:
            self.tries += 1
            raise StorageError("gone")

    letters = Gone()
    handler = ListHandler(dead_letters=letters)
    give_up(handler, "{}")
    tries = letters.tries
    assert tries > 2

    give_up(handler, "{}")

    assert letters.tries == tries + 1
    assert len(handler.engine.kept) == 2


def test_a_letter_holds_all_that_a_replay_and_a_reader_need(
    handler: ListHandler, letters: MemoryDeadLetters
) -> None:
    event = Event("cat", {"n": 1})
    before = datetime.now(UTC)

    give_up(handler, text_of(event))

    letter = only(letters)
    assert (letter.id, letter.handler, letter.subscription, letter.queue) == (
        named_id("list:events", letter.subscription, event.id),
        "list:events",
        "feed",
        "kitchen",
    )
    assert (letter.event_id, letter.event_name, letter.argument) == (event.id, "cat", text_of(event))
    assert (letter.reason, letter.traceback, letter.attempts) == (
        "ValueError: no fish", "ValueError: no fish\n", 6,
    )  # fmt: skip
    assert before <= letter.last_at <= datetime.now(UTC)
    assert letter.first_at == event.dispatched_at


def test_a_clock_that_is_ahead_dates_no_letter_into_the_future(
    handler: ListHandler, letters: MemoryDeadLetters
) -> None:
    give_up(handler, text_of(Event("cat", dispatched_at=datetime.now(UTC) + timedelta(hours=1))))

    assert only(letters).first_at == only(letters).last_at


def test_an_enum_member_is_kept_by_the_name_that_it_has_on_the_wire(
    handler: ListHandler, letters: MemoryDeadLetters
) -> None:
    class Animal(Enum):
        CAT = "cat"

    give_up(handler, text_of(Event(Animal.CAT)))

    assert only(letters).event_name == "cat"


def test_of_a_batch_the_first_event_stands_for_all(handler: ListHandler, letters: MemoryDeadLetters) -> None:
    batch = f"[{text_of(Event('first'))},{text_of(Event('second'))}]"

    give_up(handler, batch)

    assert (only(letters).event_name, only(letters).argument) == ("first", batch)


def test_an_envelope_that_was_read_already_is_kept_as_text(
    handler: ListHandler, letters: MemoryDeadLetters
) -> None:
    value = json.loads(text_of(Event("cat", {"n": 1})))

    give_up(handler, value)

    assert json.loads(only(letters).argument) == value
    assert only(letters).event_name == "cat"


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        (("no JSON",), "no JSON"),
        ((7,), "7"),
        ((None,), "null"),
        ((), "[]"),
        (("a", {"b": 1}), '["a",{"b":1}]'),
        ((float("nan"),), '"NaN"'),
        (({"of": set},), '{"of":"<class \'set\'>"}'),
        (({"text": "\ud800"},), '{"text":"\\ud800"}'),
        (([7, {"text": "\ud800", "of": set}],), '[7,{"text":"\\ud800","of":"<class \'set\'>"}]'),
    ],
    ids=repr,
)
def test_what_nobody_can_read_is_kept_as_it_came(
    handler: ListHandler, letters: MemoryDeadLetters, arguments: Any, kept: str
) -> None:
    give_up(handler, *arguments)

    letter = only(letters)
    assert (letter.argument, letter.event_id, letter.event_name) == (kept, None, None)


def test_what_is_nested_deep_is_kept_all_the_same(handler: ListHandler, letters: MemoryDeadLetters) -> None:
    deep: list[Any] = []
    for _ in range(400):
        deep = [deep]

    give_up(handler, {"specversion": "1.0", "id": "1", "type": "cat", "data": deep})

    assert json.loads(only(letters).argument)["data"] == deep
    assert only(letters).event_name == "cat"


def test_the_same_message_again_has_one_letter(handler: ListHandler, letters: MemoryDeadLetters) -> None:
    event = Event("cat")

    give_up(handler, text_of(event))
    give_up(handler, text_of(event))

    assert letters.count() == 1


# What is not kept


def test_without_a_store_it_is_left_to_the_engine() -> None:
    handler = ListHandler()

    give_up(handler, text_of(Event("cat")))

    assert [each.subscription for each in handler.engine.kept] == ["feed"]


def test_what_nobody_could_keep_is_not_told_of(diary: Diary) -> None:
    # Given an engine whose broker is away
    class Away(ListEngine):
        def keep(self, letter: DeadLetter) -> None:
            raise ConnectionError("away")

    with pytest.raises(ConnectionError):
        give_up(ListHandler(Away()), text_of(Event("cat")))

    assert diary.entries == []


def test_it_is_told_of_once_it_is_kept(
    handler: ListHandler, letters: MemoryDeadLetters, diary: Diary
) -> None:
    give_up(handler, text_of(Event("cat")))

    assert [hook for hook, *_ in diary.entries] == ["dead"]


def test_a_report_says_what_why_and_when() -> None:
    letter = letter_about(text_of(Event("cat")))

    assert failure_report(letter) == {
        "reason": "ValueError: no fish",
        "traceback": letter.traceback,
        "attempts": 6,
        "at": letter.last_at.isoformat(),
    }


def test_a_store_that_fails_leaves_it_to_the_engine_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    handler = ListHandler(dead_letters=full(MemoryDeadLetters()))

    with caplog.at_level(logging.ERROR):
        give_up(handler, text_of(Event("cat", {"secret": "tuna"})))

    assert len(handler.engine.kept) == 1

    assert " for feed goes to the engine's own" in caplog.text
    assert "tuna" not in caplog.text


# Who goes on


def ordered(name: str) -> Event:
    event = Event(name)
    event.ordering_key = "user-42"
    return event


def test_nobody_waits_for_its_receipt_any_longer() -> None:
    outbox, event = MemoryOutbox(), Event("cat")
    outbox.add([Entry(id=event.id, destination="list:events", envelope="{}", confirm="handled")])
    outbox.expect(event.id, "list:events", ["feed"])
    handler = ListHandler(outbox=outbox, relay=False)

    give_up(handler, text_of(event, receiptto="list:events"))

    assert outbox.list() == []


def test_nobody_waits_for_an_event_whose_fan_out_was_given_up() -> None:
    outbox, event = MemoryOutbox(), Event("cat")
    outbox.add([Entry(id=event.id, destination="list:events", envelope="{}", confirm="handled")])
    handler = ListHandler(outbox=outbox, relay=False)

    give_up(handler, f"[{text_of(event, receiptto='list:events')}]", subscription="fastapi_events.fan_out")

    assert outbox.list() == []


def test_of_a_batch_every_event_is_let_go() -> None:
    outbox, events = MemoryOutbox(), [Event("a"), Event("b")]
    for event in events:
        outbox.add([Entry(id=event.id, destination="list:events", envelope="{}", confirm="handled")])
        outbox.expect(event.id, "list:events", ["feed"])
    handler = ListHandler(outbox=outbox, relay=False)
    texts = [text_of(event, receiptto="list:events") for event in events]

    give_up(handler, f"[{','.join(texts)}]")

    assert outbox.list() == []


def test_a_store_that_fails_keeps_no_engine_from_going_on(caplog: pytest.LogCaptureFixture) -> None:
    # Given an outbox that takes the receipt of the second event only
    class Broken(MemoryOutbox):
        receipts = 0

        def receipt(self, *about: Any) -> None:
            self.receipts += 1
            if self.receipts == 1:
                raise StorageError("the database is gone")

    outbox = Broken()
    handler = ListHandler(outbox=outbox, relay=False)
    first, second = (text_of(Event(name), receiptto="list:events") for name in "ab")

    with caplog.at_level(logging.WARNING):
        give_up(handler, f"[{first},{second}]")

    assert outbox.receipts == 2
    assert "could be given: the database is gone" in caplog.text


@pytest.mark.parametrize("arguments", [(), ("no JSON",), (7,), ("[1]",)])
def test_of_what_nobody_can_read_nobody_waits(arguments: Any) -> None:
    handler = ListHandler(lanes=MemoryLanes())

    give_up(handler, *arguments)

    assert handler.sent == []
