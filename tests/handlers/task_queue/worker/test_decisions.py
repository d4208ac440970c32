"""What follows a failed attempt, on each engine: policy, attempt, error, crashes of the worker, turns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import celery.exceptions
import dramatiq
import pytest
from celery import Celery
from dramatiq.broker import MessageProxy
from dramatiq.brokers.stub import StubBroker

from fastapi_events.envelope import seal
from fastapi_events.errors import DeliveredTooOften, InvalidPayload, UnreadableEnvelope
from fastapi_events.event import Event
from fastapi_events.handlers.celery import CeleryHandler
from fastapi_events.handlers.dramatiq import DramatiqHandler
from fastapi_events.handlers.dramatiq.middleware import middleware_of
from fastapi_events.handlers.task_queue.worker.outcome import Attempt, TryLater, letter_of
from fastapi_events.ids import named_id
from fastapi_events.lifecycle import Lifecycle, forget, observe
from fastapi_events.retry import RetryPolicy
from fastapi_events.storage.dead_letters import DeadLetter
from fastapi_events.storage.memory import MemoryDeadLetters

DISPATCHED = datetime.now(UTC) - timedelta(hours=1)

POLICIES = {
    "twice": RetryPolicy(max_retries=2, min_backoff=4.0, max_backoff=6.0, jitter=False),
    "never": RetryPolicy(max_retries=0),
    "not for keys": RetryPolicy(max_retries=2, min_backoff=4.0, jitter=False, give_up_on=KeyError),
}
ERRORS = {
    "value": ValueError("no fish"),
    "key": KeyError("fish"),
    "payload": InvalidPayload("does not fit"),
    "envelope": UnreadableEnvelope("no envelope"),
    "turn": TryLater(3.0),
}


@dataclass
class Decision:
    """What an engine did: the message's successor, or the letter that is kept."""

    told: list[str] = field(default_factory=list)
    wait: float | None = None
    failed: int | None = None
    letter: DeadLetter | None = None


class Kept(MemoryDeadLetters):
    def __init__(self, decision: Decision) -> None:
        super().__init__()
        self.decision = decision

    def add(self, letter: DeadLetter) -> None:
        self.decision.told.append("kept")
        self.decision.letter = letter


class Told(Lifecycle):
    def __init__(self, decision: Decision) -> None:
        self.decision = decision

    def retried(self, event: Event, *, wait: float, **_: Any) -> None:
        self.decision.told.append("retried")
        # Differs from before: with a broker that is there for tests, Dramatiq does not really wait.
        self.decision.wait = wait

    def dead(self, event: Event | None, **_: Any) -> None:
        self.decision.told.append("dead")


@contextmanager
def watched() -> Iterator[Decision]:
    decision = Decision()
    observer = Told(decision)
    observe(observer)
    try:
        yield decision
    finally:
        forget(observer)


def text() -> str:
    return seal(Event("cat", {"n": 1}, dispatched_at=DISPATCHED), source="shop")


def on_dramatiq(policy: RetryPolicy, failed_before: int, error: Exception, crashes: int) -> Decision:
    broker = StubBroker()
    with watched() as decision:
        handler = DramatiqHandler(broker, dead_letters=Kept(decision))
        handler.register(_work, name="feed", retry=policy)
        message = MessageProxy(
            dramatiq.Message(
                queue_name="events", actor_name="feed", args=(text(),), kwargs={}, message_id="m1",
                options={"retries": failed_before}, message_timestamp=int(DISPATCHED.timestamp() * 1000),
            )
        )  # fmt: skip
        if crashes:
            error = DeliveredTooOften(crashes)
        middleware_of(broker).after_process_message(broker, message, exception=error)
    for again in [*_drain(broker.queues["events.DQ"]), *_drain(broker.queues["events"])]:
        decision.failed = again.options["retries"]
        if "eta" in again.options:
            decision.wait = again.options["eta"] / 1000 - datetime.now(UTC).timestamp()
    return decision


def on_celery(policy: RetryPolicy, failed_before: int, error: Exception, crashes: int) -> Decision:
    app = Celery(broker="memory://", set_as_current=False)
    with watched() as decision:
        handler = CeleryHandler(app, dead_letters=Kept(decision))
        handler.register(_raising(error), name="feed", retry=policy)
        sent: list[Any] = []
        publisher: Any = handler.engine._publisher
        publisher.publish = lambda messages, **_: sent.extend(messages)
        counter: Any = handler.engine._tasks._crashes
        counter.before = lambda *_: _crashed(crashes)
        task = app.tasks["feed"]
        task.push_request(
            id="m1", retries=failed_before, args=(text(),), kwargs={}, called_directly=False,
            delivery_info={"routing_key": "events"},
        )  # fmt: skip
        # Given up, Celery is told of the error itself.
        with pytest.raises((celery.exceptions.Retry, DeliveredTooOften, type(error))):
            task.run(text())
        task.pop_request()
    for each in sent:
        decision.failed, decision.wait = each["retries"], each["countdown"]
    return decision


ENGINES: dict[str, Callable[..., Decision]] = {"dramatiq": on_dramatiq, "celery": on_celery}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("policy", "failed_before", "error"), list(product(POLICIES, (0, 1, 2), ("value", "key")))
)
def test_the_policy_decides_whether_there_is_another_attempt(
    engine: str, policy: str, failed_before: int, error: str
) -> None:
    decision = ENGINES[engine](POLICIES[policy], failed_before, ERRORS[error], 0)

    hopeless = policy == "not for keys" and error == "key"
    if policy == "never" or hopeless or failed_before == 2:
        assert_dead(decision, attempts=failed_before + 1, reason=type(ERRORS[error]).__name__)
    else:
        longest = 6.0 if policy == "twice" else 8.0
        assert_again(decision, wait=min(4.0 * 2**failed_before, longest), failed=failed_before + 1)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("failed_before", "error"), list(product((0, 1), ("payload", "envelope"))))
def test_what_no_retry_can_mend_is_given_up_at_once(engine: str, failed_before: int, error: str) -> None:
    decision = ENGINES[engine](POLICIES["twice"], failed_before, ERRORS[error], 0)

    assert_dead(decision, attempts=failed_before + 1, reason=type(ERRORS[error]).__name__)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("failed_before", [0, 2])
def test_a_turn_that_has_not_come_is_no_failure(engine: str, failed_before: int) -> None:
    decision = ENGINES[engine](POLICIES["never"], failed_before, ERRORS["turn"], 0)

    assert (decision.told, decision.letter, decision.failed) == ([], None, failed_before)
    assert decision.wait == pytest.approx(3.0, abs=0.5)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("failed_before", "crashes"), [(0, 3), (1, 3), (0, 5)])
def test_a_message_that_kills_its_workers_is_given_up(engine: str, failed_before: int, crashes: int) -> None:
    decision = ENGINES[engine](POLICIES["twice"], failed_before, ERRORS["value"], crashes)

    # Differs from before: what had failed, and what had died, is all counted, on both engines.
    assert_dead(decision, attempts=failed_before + crashes, reason="DeliveredTooOften")


@pytest.mark.parametrize("engine", ["celery"])
def test_fewer_crashes_than_allowed_change_nothing(engine: str) -> None:
    decision = ENGINES[engine](POLICIES["twice"], 0, ERRORS["value"], 2)

    assert_again(decision, wait=4.0, failed=1)


def assert_again(decision: Decision, *, wait: float, failed: int) -> None:
    assert (decision.told, decision.letter, decision.failed) == (["retried"], None, failed)
    assert decision.wait == pytest.approx(wait, abs=0.5)


def assert_dead(decision: Decision, *, attempts: int, reason: str) -> None:
    letter = decision.letter
    assert letter is not None
    assert decision.wait is None
    # Differs from before: told when it is kept, on Dramatiq as well.
    assert decision.told == ["kept", "dead"]
    # Differs from before: the id is of the handler, the function and the event, not of the message.
    identity = letter.event_id if letter.event_id is not None else "m1"
    assert letter.id == named_id(letter.handler, "feed", identity)
    assert (letter.subscription, letter.queue) == ("feed", "events")
    assert (letter.attempts, letter.reason.split(":")[0]) == (attempts, reason)
    # Differs from before: Celery, too, knows since when there has been a message.
    assert abs(letter.first_at - DISPATCHED) < timedelta(seconds=1)


def _work() -> None: ...


def _raising(error: Exception) -> Callable[[Event], None]:
    def feed(_: Event) -> None:
        raise error

    return feed


@contextmanager
def _crashed(crashes: int) -> Iterator[int]:
    yield crashes


def _drain(queue: Any) -> list[Any]:
    found = []
    while not queue.empty():
        found.append(dramatiq.Message.decode(queue.get()))
    return found


def test_handlers_that_share_a_store_keep_a_letter_each() -> None:
    store, one = MemoryDeadLetters(), text()
    attempts = [
        Attempt(
            handler=handler, subscription="feed", queue="events", message_id="m1",
            policy=RetryPolicy(max_retries=0), arguments=[one],
        )
        for handler in ("dramatiq:events", "celery:events")
    ]  # fmt: skip

    for attempt in [*attempts, *attempts]:  # each gives it up once more
        store.add(letter_of(attempt, ValueError("no fish"), attempts=1))

    assert sorted(each.handler for each in store.list()) == ["celery:events", "dramatiq:events"]
