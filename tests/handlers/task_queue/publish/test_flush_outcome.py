"""What becomes of a flush: published, kept in the outbox, or reported lost."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fastapi_events.dispatcher import dispatch
from fastapi_events.envelope import unseal
from fastapi_events.errors import ConfigurationError, NotPublished, StorageError
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.worker.outcome import NO_RETRY, Attempt, letter_of
from fastapi_events.scope import collect_events
from fastapi_events.storage.memory import MemoryDeadLetters, MemoryInbox, MemoryLanes, MemoryOutbox
from tests.full import full
from tests.handlers.task_queue.broker import ListHandler
from tests.handlers.task_queue.publish.conftest import Time
from tests.recording import Diary

AWAY = ConnectionError("connection refused")


def flush(handler: ListHandler, *names: str) -> None:
    with collect_events([handler]):
        for name in names:
            dispatch(name)


def names(outbox: MemoryOutbox) -> list[str]:
    return [str(unseal(entry.envelope).name) for entry in outbox.list()]


def test_what_the_broker_takes_never_sees_the_outbox(outbox: MemoryOutbox, diary: Diary) -> None:
    handler = ListHandler(outbox=outbox, relay=False)

    flush(handler, "a", "b")

    assert len(handler.sent) == 1
    assert outbox.list() == []
    assert [name for name, _ in diary.of("published")] == ["a", "b"]


def test_what_the_broker_refuses_is_in_the_outbox_in_order(outbox: MemoryOutbox, diary: Diary) -> None:
    handler = ListHandler(outbox=outbox, relay=False)
    handler.refusing = AWAY

    flush(handler, "a", "b")

    assert names(outbox) == ["a", "b"]
    reason = "ConnectionError: connection refused"
    assert [(name, rest["reason"]) for name, rest in diary.of("stored")] == [("a", reason), ("b", reason)]
    assert diary.of("lost") == []


def test_while_the_broker_is_known_to_be_away_nobody_asks_it(outbox: MemoryOutbox) -> None:
    handler = ListHandler(outbox=outbox, relay=False)
    handler.refusing = AWAY

    flush(handler, "a")
    tried = handler.tried
    flush(handler, "b")

    assert handler.tried == tried
    assert names(outbox) == ["a", "b"]


def test_without_an_outbox_a_single_failure_does_not_stop_those_that_follow(diary: Diary) -> None:
    handler = ListHandler()
    handler.refusing = AWAY
    flush(handler, "a")
    handler.refusing = None

    flush(handler, "b")

    assert len(handler.sent) == 1
    assert [name for name, _ in diary.of("lost")] == ["a"]


def test_when_the_outbox_fails_too_the_events_are_lost_with_both_reasons(diary: Diary) -> None:
    handler = ListHandler(outbox=MemoryOutbox(max_entries=1), relay=False)
    handler.refusing = AWAY

    flush(handler, "a", "b")

    [(first, rest), (second, _)] = diary.of("lost")
    assert [first, second] == ["a", "b"]
    assert "connection refused" in rest["reason"]
    assert "outbox did not take it" in rest["reason"]


class Away(MemoryOutbox):
    """An outbox that a test takes away."""

    refusing = False
    tried = 0

    def add(self, entries: Any) -> None:
        self.tried += 1
        if self.refusing:
            raise StorageError("away")
        super().add(entries)


def test_before_events_are_lost_a_broker_that_was_away_is_asked_once_more(diary: Diary) -> None:
    outbox = Away()
    handler = ListHandler(outbox=outbox, relay=False)
    handler.refusing = AWAY
    flush(handler, "kept")

    # When the broker is back, which nobody knows yet, and the outbox is away
    handler.refusing = None
    outbox.refusing = True
    flush(handler, "a")

    assert diary.of("lost") == []
    assert [name for name, _ in diary.of("published")] == ["a"]


def test_before_events_are_lost_an_outbox_that_was_away_is_asked_once_more(diary: Diary) -> None:
    outbox = Away()
    handler = ListHandler(outbox=outbox, relay=False)
    handler.refusing = AWAY
    outbox.refusing = True
    flush(handler, "lost")

    outbox.refusing = False
    flush(handler, "a")

    assert [name for name, _ in diary.of("lost")] == ["lost"]
    assert names(outbox) == ["a"]


def test_without_an_outbox_the_broker_is_asked_each_time(diary: Diary) -> None:
    handler = ListHandler()
    handler.refusing = AWAY
    for name in "abcd":
        flush(handler, name)
    handler.refusing = None

    flush(handler, "e")

    assert [name for name, _ in diary.of("lost")] == ["a", "b", "c", "d"]
    assert [name for name, _ in diary.of("published")] == ["e"]


def test_an_outbox_that_was_away_keeps_no_event_in_order_back(diary: Diary) -> None:
    class Lanes(MemoryLanes):
        refusing = True

        def put(self, items: Any) -> Any:
            if self.refusing:
                raise StorageError("away")
            return super().put(items)

    outbox, lanes = Away(), Lanes()
    handler = ListHandler(outbox=outbox, lanes=lanes, relay=False)
    outbox.refusing = True
    got: list[str] = []
    handler.register(lambda event: got.append(event.name), name="one")

    def in_order(name: str) -> None:
        with collect_events([handler]):
            dispatch(name, ordering_key="user-42")

    # Given an event that neither lanes nor outbox took
    in_order("lost")
    assert [name for name, _ in diary.of("lost")] == ["lost"]

    # When the lanes are back, which nobody knows yet, and the outbox is not
    lanes.refusing = False
    in_order("a")
    in_order("b")
    handler.run()

    # Then nothing is lost that one of the two could take
    assert got == ["a", "b"]
    assert [name for name, _ in diary.of("lost")] == ["lost"]


def test_a_long_delay_is_waited_for_in_the_outbox(
    outbox: MemoryOutbox, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    handler = ListHandler(outbox=outbox, relay=False)
    event = Event("a")
    event.due = datetime.now(UTC) + timedelta(hours=1)

    asyncio.run(handler.handle_many([event]))
    assert handler.sent == []
    assert handler.relay_thread().step() == 0
    assert caplog.records == []  # it was asked for

    time.ahead = 3_601
    assert handler.relay_thread().step() == 1
    assert len(handler.sent) == 1


def test_the_process_ends_before_the_broker_answers(outbox: MemoryOutbox) -> None:
    handler = ListHandler(outbox=outbox, relay=False)
    handler.refusing = AWAY

    flush(handler, "a")
    asyncio.run(handler.on_shutdown())

    assert names(outbox) == ["a"]


# confirm="handled"


def test_an_event_is_kept_until_its_subscriptions_have_run(outbox: MemoryOutbox) -> None:
    handler = ListHandler(outbox=outbox, confirm="handled", relay=False)
    handler.register(lambda event: None, name="one")
    handler.register(lambda event: None, name="two")

    flush(handler, "a")
    assert names(outbox) == ["a"]
    [fan_out] = handler.sent
    handler.sent.clear()
    handler.worker.fan_out(fan_out.argument)
    first, second = handler.sent
    handler.worker.perform(handler.subscriptions.named(first.task), first.argument)  # type: ignore[arg-type]
    assert names(outbox) == ["a"]
    handler.worker.perform(handler.subscriptions.named(second.task), second.argument)  # type: ignore[arg-type]

    assert outbox.list() == []


def test_a_lost_message_is_sent_again_to_those_who_have_not_run(outbox: MemoryOutbox, time: Time) -> None:
    ran: list[str] = []
    handler = ListHandler(outbox=outbox, confirm="handled", relay=False, resend_after=60.0)
    handler.register(lambda event: ran.append("one"), name="one")
    handler.register(lambda event: ran.append("two"), name="two")

    # Given the message to one of two subscriptions has been lost
    flush(handler, "a")
    handler.worker.fan_out(handler.sent.pop().argument)
    handler.sent.pop()
    handler.run()
    assert ran == ["one"]

    # When its time is over
    assert handler.relay_thread().step() == 0
    time.ahead = 61
    handler.relay_thread().step()
    handler.run()

    # Then only the other runs
    assert ran == ["one", "two"]
    assert outbox.list() == []


def test_an_event_that_was_sent_again_during_a_backlog_runs_once(
    outbox: MemoryOutbox, time: Time, diary: Diary
) -> None:
    ran: list[str] = []
    handler = ListHandler(outbox=outbox, confirm="handled", relay=False, resend_after=60.0)
    handler.register(lambda event: ran.append("one"), name="one")
    handler.register(lambda events: ran.append("many"), name="many", batch=10)

    # Given no worker for ten times as long as an event waits for its receipts
    flush(handler, "a")
    relay = handler.relay_thread()
    for _ in range(60):
        time.ahead += 10
        relay.step()
    assert len(handler.sent) == 5  # at 60, 120, 240 and 480 s, too

    # When workers come, which find all of it
    handler.run()

    # Then each function has run once
    assert sorted(ran) == ["many", "one"]
    assert outbox.list() == []
    assert diary.of("skipped") != []


def test_what_was_given_up_and_sent_again_runs_when_it_is_replayed(outbox: MemoryOutbox, time: Time) -> None:
    letters = MemoryDeadLetters()
    handler = ListHandler(
        outbox=outbox, dead_letters=letters, confirm="handled", relay=False, resend_after=60.0
    )
    ran: list[str] = []

    def one(event: Event) -> None:
        ran.append("one")

    handler.register(one, name="one")
    flush(handler, "a")
    handler.sent.clear()  # lost
    time.ahead = 61
    handler.relay_thread().step()
    handler.worker.fan_out(handler.sent.pop().argument)
    [message] = handler.sent
    handler.sent.clear()
    attempt = Attempt(
        handler=handler.name, subscription="one", queue="events", message_id=message.id, policy=NO_RETRY,
        arguments=[message.argument],
    )  # fmt: skip
    handler.worker.dead_letters.give_up(letter_of(attempt, ValueError("not now"), attempts=1))
    assert outbox.list() == []

    handler.replay(letters.list())
    handler.run()

    assert ran == ["one"]


@pytest.mark.parametrize("settings", [{"confirm": "handled"}, {"durability": "response"}])
def test_what_the_broker_refuses_is_relayed_as_soon_as_it_is_back(
    outbox: MemoryOutbox, settings: dict[str, Any]
) -> None:
    handler = ListHandler(outbox=outbox, relay=False, **settings)
    handler.refusing = AWAY
    event = Event("a")

    asyncio.run(handler.persist([event]))
    asyncio.run(handler.handle_many([event]))
    handler.refusing = None

    assert handler.relay_thread().step() == 1


def test_an_event_that_nobody_listens_to_is_done(outbox: MemoryOutbox) -> None:
    handler = ListHandler(outbox=outbox, confirm="handled", relay=False)

    flush(handler, "a")
    handler.run()

    assert outbox.list() == []


def test_an_event_whose_subscription_is_given_up_is_done(outbox: MemoryOutbox) -> None:
    handler = ListHandler(outbox=outbox, confirm="handled", relay=False)
    handler.register(lambda event: None, name="one")

    flush(handler, "a")
    handler.worker.fan_out(handler.sent.pop().argument)
    attempt = Attempt(
        handler=handler.name, subscription="one", queue="events", message_id="m1", policy=NO_RETRY,
        arguments=[handler.sent[0].argument],
    )  # fmt: skip
    handler.worker.dead_letters.give_up(letter_of(attempt, ValueError("never"), attempts=1))

    assert outbox.list() == []


def test_events_go_out_though_the_outbox_is_full(diary: Diary) -> None:
    handler = ListHandler(outbox=full(MemoryOutbox()), confirm="handled", relay=False)

    flush(handler, "a")

    assert len(handler.sent) == 1
    assert diary.of("lost") == []


def test_events_in_order_cost_the_others_nothing_when_they_cannot_be_put(diary: Diary) -> None:
    handler = ListHandler(lanes=MemoryLanes(max_items=1))

    with collect_events([handler]):
        dispatch("free")
        dispatch("first", ordering_key="user-42")
        dispatch("second", ordering_key="user-42")
        dispatch("other", ordering_key="user-43")

    assert sorted(name for name, _ in diary.of("published")) == ["free", "other"]
    assert [name for name, _ in diary.of("lost")] == ["first", "second"]


def test_lanes_and_outbox_that_are_away_cost_plain_events_nothing(diary: Diary) -> None:
    class LanesAway(MemoryLanes):
        def put(self, items: Any) -> Any:
            raise StorageError("away")

    class OutboxAway(MemoryOutbox):
        def add(self, entries: Any) -> None:
            raise StorageError("away, too")

    handler = ListHandler(lanes=LanesAway(), outbox=OutboxAway(), relay=False)

    with collect_events([handler]):
        dispatch("free")
        dispatch("first", ordering_key="user-42")

    assert [name for name, _ in diary.of("published")] == ["free"]
    assert [name for name, _ in diary.of("lost")] == ["first"]


def test_a_broker_that_is_away_costs_events_in_order_nothing(diary: Diary) -> None:
    handler = ListHandler(lanes=MemoryLanes())
    handler.refusing = AWAY

    with collect_events([handler]):
        dispatch("free")
        dispatch("first", ordering_key="user-42")

    assert [name for name, _ in diary.of("lost")] == ["free"]
    assert [name for name, _ in diary.of("published")] == ["first"]


# Configuration and errors


@pytest.mark.parametrize("settings", [{"durability": "response"}, {"confirm": "handled"}])
def test_what_needs_an_outbox_says_so(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="needs an outbox"):
        ListHandler(**settings)


def test_an_event_is_refused_that_nobody_could_keep_in_order() -> None:
    handler = ListHandler()
    event = Event("a")
    event.ordering_key = "user-42"

    with pytest.raises(ConfigurationError, match="nothing to keep it in order with"):
        handler.on_dispatch(event)


def test_publishing_from_a_worker_raises_when_nobody_took_it() -> None:
    handler = ListHandler()
    handler.refusing = AWAY

    with pytest.raises(NotPublished, match="connection refused"):
        asyncio.run(handler.publish([Event("a")]))


def test_startup_refuses_an_outbox_that_is_not_ready() -> None:
    class Missing(MemoryOutbox):
        def check(self) -> None:
            raise StorageError("the table is missing")

    with pytest.raises(StorageError, match="table is missing"):
        asyncio.run(ListHandler(outbox=Missing()).on_startup())


def test_once_needs_an_inbox() -> None:
    with pytest.raises(ConfigurationError, match="once=True needs an inbox"):
        ListHandler().register(lambda event: None, name="one", once=True)
    ListHandler(inbox=MemoryInbox()).register(lambda event: None, name="one", once=True)
