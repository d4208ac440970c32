"""Performing: a message runs its subscription once, in its turn, with its receipt; or says why not."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from pydantic import BaseModel

from fastapi_events.context import current_event
from fastapi_events.dispatcher import dispatch
from fastapi_events.envelope import seal
from fastapi_events.errors import InvalidPayload, NotPublished, StorageError, UnreadableEnvelope
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.addresses import Addresses
from fastapi_events.handlers.task_queue.audit import Audit
from fastapi_events.handlers.task_queue.messages import Message, message_id
from fastapi_events.handlers.task_queue.routes import Routes
from fastapi_events.handlers.task_queue.worker.outcome import TryLater
from fastapi_events.handlers.task_queue.worker.perform import Perform
from fastapi_events.handlers.task_queue.worker.worker import Worker
from fastapi_events.ids import named_id
from fastapi_events.registry.payload_schema import registry
from fastapi_events.retry import RetryPolicy
from fastapi_events.storage.dead_letters import DeadLetter
from fastapi_events.storage.memory import MemoryInbox, MemoryOutbox
from fastapi_events.storage.outbox import Entry
from fastapi_events.subscriptions.batch import batch as batch_of
from fastapi_events.subscriptions.plan import Plan, plan
from fastapi_events.subscriptions.subscription import Subscription, Subscriptions
from tests.handlers.task_queue.fleets import fleet_of
from tests.recording import Diary, Recorder

DESTINATION = "list:events"


class Broker:
    """Takes messages, and what functions have dispatched, unless it is `refusing`."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.flushed: list[Event] = []
        self.kept: list[DeadLetter] = []
        self.refusing: Exception | None = None

    def send(self, messages: Sequence[Message], *, timeout: float | None = None) -> None:
        if self.refusing is not None:
            raise self.refusing
        self.sent.extend(messages)

    def keep(self, letter: DeadLetter) -> None:
        self.kept.append(letter)

    async def flush(self, events: Sequence[Event]) -> None:
        if self.refusing is not None:
            raise NotPublished(str(self.refusing), events=events)
        self.flushed.extend(events)


@pytest.fixture
def broker() -> Broker:
    return Broker()


Make = Callable[..., Perform]


@pytest.fixture
def perform_with(broker: Broker) -> Make:
    def make(
        *,
        outbox: MemoryOutbox | None = None,
        inbox: MemoryInbox | None = None,
    ) -> Perform:
        addresses = Addresses(Routes("events"), Subscriptions(), fleet_of(Subscriptions()))
        flushing: Any = broker  # all that is asked of it is to flush
        worker = Worker(
            Recorder(), broker, addresses, flushing, {},
            unknown_retry=RetryPolicy(), max_crashes=3, audit=Audit("events", None), outbox=outbox,
            inbox=inbox, dead_letters=None, order=None,
        )  # fmt: skip
        return worker.perform

    return make


class Function:
    """A subscription's function: remembers its events, and raises what it is told to."""

    def __init__(self) -> None:
        self.ran: list[Event] = []
        self.error: BaseException | None = None

    def __call__(self, event: Event) -> None:
        self.ran.append(event)
        if self.error is not None:
            raise self.error


@pytest.fixture
def function() -> Function:
    return Function()


def one(function: Callable[..., Any], **options: Any) -> Subscription:
    return Subscription("one", ("*",), function, plan(function), "events", RetryPolicy(), **options)


def many(function: Callable[..., Any], **options: Any) -> Subscription:
    taken = batch_of(function, size=10, window=0.0)
    settings: dict[str, Any] = {"retry": RetryPolicy(), **options}
    return Subscription(
        "many", ("*",), function, Plan(function, taken.is_async), "events", batch=taken, **settings
    )


def text_of(event: Event, **attributes: str) -> str:
    return seal(event, source="shop", extensions=attributes)


def together(*events: Event, **attributes: str) -> str:
    return f"[{','.join(text_of(event, **attributes) for event in events)}]"


def ordered(name: str) -> Event:
    event = Event(name)
    event.ordering_key = "user-42"
    return event


def held(*events: Event, expecting: str = "one") -> MemoryOutbox:
    """An outbox that waits for receipts."""
    outbox = MemoryOutbox()
    outbox.add(
        [Entry(id=each.id, destination=DESTINATION, envelope="{}", confirm="handled") for each in events]
    )
    for event in events:
        outbox.expect(event.id, DESTINATION, [expecting])
    return outbox


# A message


def test_the_function_gets_the_event_that_is_in_the_message(
    perform_with: Make, function: Function, diary: Diary
) -> None:
    event = Event("cat", {"n": 1})

    perform_with()(one(function), text_of(event))

    [got] = function.ran
    assert (got, got.id) == (event, event.id)
    assert [hook for hook, *_ in diary.entries] == ["started", "succeeded"]


def test_an_engine_that_reads_json_itself_may_pass_the_object(perform_with: Make, function: Function) -> None:
    perform_with()(one(function), json.loads(text_of(Event("cat", {"n": 1}))))

    assert function.ran == [Event("cat", {"n": 1})]


@pytest.mark.parametrize("arguments", [(), ("{}", "{}")])
def test_a_message_of_another_number_of_arguments_is_unreadable(
    perform_with: Make, function: Function, arguments: Any
) -> None:
    with pytest.raises(UnreadableEnvelope, match="expected one"):
        perform_with()(one(function), *arguments)
    with pytest.raises(UnreadableEnvelope, match="1 keyword"):
        perform_with()(one(function), "{}", more="{}")

    assert function.ran == []


@pytest.mark.parametrize("argument", ["no JSON", '{"specversion": "1.0"}', "[]", 7, None])
def test_what_is_no_event_is_unreadable(perform_with: Make, function: Function, argument: Any) -> None:
    with pytest.raises(UnreadableEnvelope):
        perform_with()(one(function), argument)

    assert function.ran == []


def test_the_event_is_current_while_its_function_runs_and_no_longer(perform_with: Make) -> None:
    seen: list[Event | None] = []

    perform_with()(one(lambda event: seen.append(current_event.get())), text_of(Event("cat")))

    assert seen == [Event("cat")]
    assert current_event.get() is None


def test_the_current_event_is_forgotten_after_a_failure_too(perform_with: Make, function: Function) -> None:
    function.error = ValueError("no")

    with pytest.raises(ValueError, match="no"):
        perform_with()(one(function), text_of(Event("cat")))

    assert current_event.get() is None


# Failures


def test_a_failure_is_told_once_and_reaches_the_engine(
    perform_with: Make, function: Function, diary: Diary
) -> None:
    function.error = ValueError("no")

    with pytest.raises(ValueError, match="no"):
        perform_with()(one(function), text_of(Event("cat")))

    assert [(name, rest["subscription"], rest["error"]) for name, rest in diary.of("failed")] == [
        ("cat", "one", function.error)
    ]
    assert diary.of("succeeded") == []


def test_an_interruption_by_the_engine_counts_as_a_failure(
    perform_with: Make, function: Function, diary: Diary
) -> None:
    class TimeLimit(BaseException):
        pass

    function.error = TimeLimit()

    with pytest.raises(TimeLimit):
        perform_with()(one(function), text_of(Event("cat")))

    assert len(diary.of("failed")) == 1


def test_to_be_tried_later_is_no_failure(perform_with: Make, function: Function, diary: Diary) -> None:
    function.error = TryLater(1.0)

    with pytest.raises(TryLater):
        perform_with()(one(function), text_of(Event("cat")))

    assert diary.of("failed") == []


def test_what_does_not_fit_the_schema_of_its_name_never_reaches_the_function(
    perform_with: Make, function: Function, diary: Diary
) -> None:
    class Fish(BaseModel):
        size: int

    perform = perform_with()
    registry.register(Fish, "fish")
    try:
        for payload in ({"size": "enormous"}, None):
            with pytest.raises(InvalidPayload, match="size"):
                perform(one(function), text_of(Event("fish", payload)))
        perform(one(function), text_of(Event("fish", {"size": 3})))
    finally:
        del registry["fish"]

    assert function.ran == [Event("fish", {"size": 3})]
    assert len(diary.of("failed")) == 2


def test_what_it_dispatches_goes_out_before_it_has_succeeded(
    perform_with: Make, broker: Broker, diary: Diary
) -> None:
    perform_with()(one(lambda event: dispatch("follow-up")), text_of(Event("cat")))

    assert broker.flushed == [Event("follow-up")]
    assert [hook for hook, *_ in diary.entries] == ["started", "dispatched", "succeeded"]


def test_it_fails_when_what_it_dispatched_cannot_go_out(
    perform_with: Make, broker: Broker, diary: Diary
) -> None:
    broker.refusing = ConnectionError("refused")

    with pytest.raises(NotPublished, match="refused"):
        perform_with()(one(lambda event: dispatch("follow-up")), text_of(Event("cat")))

    assert diary.of("succeeded") == []
    assert [name for name, _ in diary.of("failed")] == ["follow-up"]  # an error is told once, where it arose


def test_a_payload_gets_the_types_back_that_json_has_no_word_for(perform_with: Make) -> None:
    class Picture(BaseModel):
        pixels: bytes

    seen: list[Picture] = []

    def show(picture: Picture) -> None:
        seen.append(picture)

    show.__annotations__["picture"] = Picture
    perform_with()(one(show), text_of(Event("shown", {"pixels": b"\xff\x00"})))

    assert seen == [Picture(pixels=b"\xff\x00")]


# Receipts


def test_a_receipt_is_given_once_it_has_run(perform_with: Make, function: Function) -> None:
    event = Event("cat")
    outbox = held(event)

    perform_with(outbox=outbox)(one(function), text_of(event, receiptto=DESTINATION))

    assert outbox.list() == []


def test_who_has_failed_gives_no_receipt(perform_with: Make, function: Function) -> None:
    event = Event("cat")
    outbox = held(event)
    function.error = ValueError("no")

    with pytest.raises(ValueError, match="no"):
        perform_with(outbox=outbox)(one(function), text_of(event, receiptto=DESTINATION))

    assert len(outbox.list()) == 1


class Broken(MemoryOutbox):
    """An outbox that takes no receipts."""

    def receipt(self, *_: Any) -> None:
        raise StorageError("the database is gone")


def test_who_wants_no_receipt_does_not_bother_the_outbox(perform_with: Make, function: Function) -> None:
    perform_with(outbox=Broken())(one(function), text_of(Event("cat")))

    assert len(function.ran) == 1


def test_a_receipt_that_cannot_be_given_is_no_success(perform_with: Make, function: Function) -> None:
    with pytest.raises(StorageError):
        perform_with(outbox=Broken())(one(function), text_of(Event("cat"), receiptto=DESTINATION))


# Once


def test_the_second_delivery_is_skipped_and_gives_its_receipt_again(
    perform_with: Make, function: Function, diary: Diary
) -> None:
    # Given a function that has run, whose receipt was lost
    event, inbox = Event("cat"), MemoryInbox()
    subscription, text = one(function, once=True), text_of(event, receiptto=DESTINATION)
    perform_with(inbox=inbox)(subscription, text)
    outbox = held(event)

    # When its message comes again
    perform_with(inbox=inbox, outbox=outbox)(subscription, text)

    assert len(function.ran) == 1
    assert [rest["subscription"] for _, rest in diary.of("skipped")] == ["one"]
    assert outbox.list() == []


def test_who_has_not_asked_for_it_runs_at_each_delivery(perform_with: Make, function: Function) -> None:
    perform, text = perform_with(inbox=MemoryInbox()), text_of(Event("cat"))

    perform(one(function), text)
    perform(one(function), text)

    assert len(function.ran) == 2


def test_who_failed_may_begin_again_at_once(perform_with: Make, function: Function) -> None:
    perform, text, subscription = (
        perform_with(inbox=MemoryInbox()),
        text_of(Event("cat")),
        one(function, once=True),
    )
    function.error = ValueError("not yet")
    with pytest.raises(ValueError, match="not yet"):
        perform(subscription, text)
    function.error = None

    perform(subscription, text)
    perform(subscription, text)

    assert len(function.ran) == 2


def test_what_another_worker_is_at_is_tried_later_without_a_receipt(
    perform_with: Make, function: Function, diary: Diary
) -> None:
    event, inbox = Event("cat"), MemoryInbox()
    outbox = held(event)
    inbox.begin(message_id(Recorder().name, event.id, "one"), token="another", lease=60.0)

    with pytest.raises(TryLater):
        perform_with(inbox=inbox, outbox=outbox)(
            one(function, once=True), text_of(event, receiptto=DESTINATION)
        )

    assert (function.ran, diary.of("failed"), len(outbox.list())) == ([], [], 1)


# In order


def test_an_event_with_a_key_that_comes_in_a_message_runs_as_it_comes(
    perform_with: Make, function: Function
) -> None:
    perform_with()(one(function), text_of(ordered("a")))

    assert [event.name for event in function.ran] == ["a"]


# Many at once


def test_a_batch_gives_a_receipt_for_each_that_has_succeeded_and_gives_up_what_is_hopeless(
    perform_with: Make, broker: Broker, diary: Diary
) -> None:
    # Given a payload among others that does not fit
    class Row(BaseModel):
        n: int

    rows: list[int] = []

    def insert(batch: list[Row]) -> None:
        rows.extend(row.n for row in batch)

    insert.__annotations__["batch"] = list[Row]
    good, bad = Event("row", {"n": 1}), Event("row", {"n": "many"})
    outbox = held(good, bad, expecting="many")

    perform_with(outbox=outbox)(many(insert), together(good, bad, receiptto=DESTINATION))

    # Then it is given up at once, since no retry can mend it, and the other is done
    assert rows == [1]
    assert broker.sent == []
    [letter] = broker.kept
    assert letter.id == named_id(letter.handler, "many", bad.id)
    assert (letter.queue, letter.attempts) == ("events", 1)
    assert json.loads(letter.argument)["data"] == {"n": "many"}
    assert [hook for hook, *_ in diary.entries] == ["failed", "started", "succeeded", "dead"]
    assert outbox.list() == []  # nobody waits for it any longer


def test_an_event_whose_batch_has_failed_goes_on_alone(
    perform_with: Make, broker: Broker, diary: Diary
) -> None:
    def fails(events: list[Event]) -> None:
        raise ValueError("no")

    event = Event("a", {"n": 1})
    perform_with()(many(fails), together(event))

    [alone] = broker.sent
    assert (alone.task, alone.queue, alone.id) == ("many", "events", message_id(event.id, "many"))
    assert alone.failed == 1  # the attempt with the others counts
    assert 0.5 <= alone.delay <= 1.0
    [(_, retried)] = diary.of("retried")
    assert (retried["attempt"], retried["wait"]) == (1, alone.delay)


def test_what_another_worker_is_at_is_sent_alone_for_later_and_has_not_failed(
    perform_with: Make, broker: Broker, diary: Diary
) -> None:
    event, inbox, ran = Event("a"), MemoryInbox(), []
    inbox.begin(message_id(Recorder().name, event.id, "many"), token="another", lease=3.0)

    def insert(events: list[Event]) -> None:
        ran.extend(events)

    perform_with(inbox=inbox)(many(insert, once=True), together(event, Event("b")))

    assert ran == [Event("b")]
    assert [0 < each.delay <= 3.0 for each in broker.sent] == [True]
    assert (diary.of("retried"), diary.of("failed")) == ([], [])


def test_a_batch_that_cannot_be_taken_apart_is_delivered_again(perform_with: Make, broker: Broker) -> None:
    def fails(events: list[Event]) -> None:
        raise ValueError("no")

    broker.refusing = ConnectionError("refused")

    with pytest.raises(ConnectionError):
        perform_with()(many(fails), together(Event("a")))


def test_a_message_of_one_runs_alone_and_fails_alone(
    perform_with: Make, broker: Broker, diary: Diary
) -> None:
    sizes: list[int] = []

    def fails(events: list[Event]) -> None:
        sizes.append(len(events))
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        perform_with()(many(fails), text_of(Event("a")))

    assert sizes == [1]
    assert broker.sent == []  # it is the engine that tries it again
    assert len(diary.of("failed")) == 1
