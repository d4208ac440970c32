"""Queue handlers: publish → fan out → perform, retries, and messages that nobody can read."""

from __future__ import annotations

import asyncio
import json
import socket
import uuid
from typing import Any

import pytest
from pydantic import BaseModel

from fastapi_events.dispatcher import dispatch
from fastapi_events.errors import ConfigurationError, UnserialisablePayload
from fastapi_events.event import Event
from fastapi_events.handlers.local import LocalHandler
from fastapi_events.handlers.task_queue.messages import message_id
from fastapi_events.registry.payload_schema import registry
from fastapi_events.retry import RetryPolicy
from fastapi_events.scope import collect_events
from tests.places import QUICK, QueuePlace, dramatiq_on_stub
from tests.recording import Diary, Recorder


def envelope(**attributes: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": str(uuid.uuid4()), "source": "test", "type": "hello", **attributes}


# Failures


def test_a_failed_function_runs_again_alone(queue_place: QueuePlace, diary: Diary) -> None:
    calls: list[str] = []

    @queue_place.handler.register
    def flaky(event: Event) -> None:
        calls.append("flaky")
        if calls.count("flaky") < 3:
            raise ValueError("not yet")

    @queue_place.handler.register
    def steady(event: Event) -> None:
        calls.append("steady")

    queue_place.dispatch("hello")

    assert sorted(calls) == ["flaky", "flaky", "flaky", "steady"]
    assert [rest["attempt"] for _, rest in diary.of("retried")] == [1, 2]
    assert queue_place.dead() == []


def test_a_function_that_keeps_failing_is_given_up_with_its_reason(
    queue_place: QueuePlace, diary: Diary
) -> None:
    calls: list[str] = []

    @queue_place.handler.register(name="hopeless")
    def hopeless(event: Event) -> None:
        calls.append(event.id)
        raise ValueError("never")

    queue_place.dispatch("hello", {"n": 1})

    assert len(calls) == 1 + QUICK.max_retries
    [message] = queue_place.dead()
    assert message.task == "hopeless"
    assert json.loads(message.arguments[0])["data"] == {"n": 1}
    report = message.report
    assert report["reason"] == "ValueError: never"
    assert 'raise ValueError("never")' in report["traceback"]
    assert report["attempts"] == 3
    assert [rest["subscription"] for _, rest in diary.of("dead")] == ["hopeless"]


def test_a_policy_of_its_own_counts(queue_place: QueuePlace) -> None:
    calls: list[str] = []

    @queue_place.handler.register(name="once", retry=RetryPolicy(max_retries=0))
    def once(event: Event) -> None:
        calls.append("once")
        raise ValueError("no")

    @queue_place.handler.register(name="picky", retry=RetryPolicy(min_backoff=0.01, give_up_on=(KeyError,)))
    def picky(event: Event) -> None:
        calls.append("picky")
        raise KeyError("no retry can mend it")

    queue_place.dispatch("hello")

    assert sorted(calls) == ["once", "picky"]
    assert len(queue_place.dead()) == 2


def test_what_a_failed_attempt_dispatched_is_not_published(queue_place: QueuePlace, diary: Diary) -> None:
    heard: list[str] = []
    attempts: list[int] = []

    @queue_place.handler.register(event_name="hello")
    def work(event: Event) -> None:
        attempts.append(1)
        dispatch("follow-up", {"attempt": len(attempts)})
        if len(attempts) == 1:
            raise ValueError("after dispatching")

    @queue_place.handler.register(event_name="follow-up")
    def follow(event: Event) -> None:
        heard.append(event.payload)

    queue_place.dispatch("hello")

    assert heard == [{"attempt": 2}]
    assert [name for name, _ in diary.of("discarded")] == ["follow-up"]


# Payloads


class Fish(BaseModel):
    __event_name__ = "fish"

    size: int


def test_a_payload_that_does_not_fit_is_not_retried(queue_place: QueuePlace, diary: Diary) -> None:
    calls: list[str] = []

    @queue_place.handler.register(Fish)
    def work(fish: Fish) -> None:
        calls.append("ran")

    queue_place.dispatch("fish", {"size": "enormous"})

    assert calls == []
    assert diary.of("retried") == []
    [reason] = queue_place.reasons()
    assert reason.startswith("InvalidPayload")
    assert "size" in reason
    assert "enormous" not in reason


def test_a_payload_is_validated_against_the_registered_schema_again(queue_place: QueuePlace) -> None:
    heard: list[Any] = []
    queue_place.handler.register(lambda event: heard.append(event.payload), event_name="fish", name="work")
    registry.register(Fish)
    try:
        queue_place.dispatch("fish", {"size": "3"})
        queue_place.send(json.dumps([envelope(type="fish", data={"size": "enormous"})]))
        queue_place.settle()
    finally:
        del registry["fish"]

    assert heard == [{"size": 3}]
    assert [reason.partition(":")[0] for reason in queue_place.reasons()] == ["InvalidPayload"]


def test_a_payload_that_cannot_travel_is_refused_where_it_is_dispatched(queue_place: QueuePlace) -> None:
    heard: list[Any] = []
    queue_place.handler.register(lambda event: heard.append(event.name), name="work")

    async def main() -> None:
        async with collect_events([queue_place.handler]):
            dispatch("before")
            with socket.socket() as connection, pytest.raises(UnserialisablePayload) as raised:
                dispatch("broken", {"items": [1, {"connection": connection}]})
            assert (raised.value.event_name, raised.value.path) == ("broken", "payload.items[1].connection")
            dispatch("after")

    asyncio.run(main())
    queue_place.settle()
    assert sorted(heard) == ["after", "before"]


def test_what_happens_to_the_payload_later_does_not_change_the_event(queue_place: QueuePlace) -> None:
    heard: list[Any] = []
    queue_place.handler.register(lambda event: heard.append(event.payload), name="work")
    payload = {"cats": ["tom"]}

    async def main() -> None:
        async with collect_events([queue_place.handler]):
            dispatch("hello", payload)
            payload["cats"].append("felix")

    asyncio.run(main())
    queue_place.settle()
    assert heard == [{"cats": ["tom"]}]


def test_a_local_handler_beside_it_gets_the_object_itself(queue_place: QueuePlace) -> None:
    recorder, payload = Recorder(), {"when": object}

    class Thing(BaseModel):
        n: int

    thing = Thing(n=1)

    async def main() -> None:
        async with collect_events([queue_place.handler, recorder]):
            dispatch("hello", {"thing": thing})

    asyncio.run(main())
    assert recorder.events[0].payload["thing"] is thing
    assert payload


def test_a_payload_over_the_limit_is_refused(queue_place: QueuePlace) -> None:
    async def main() -> None:
        async with collect_events([queue_place.handler]):
            dispatch("fits", "x" * 262_142)
            with pytest.raises(UnserialisablePayload, match="262"):
                dispatch("too big", "x" * 262_143)

    asyncio.run(main())


# Registration


def test_stacked_decorators_make_one_subscription_that_runs_once(queue_place: QueuePlace) -> None:
    heard: list[Any] = []

    @queue_place.handler.register(event_name="a*")
    @queue_place.handler.register(event_name="*b")
    @queue_place.handler.register(event_name="c")
    def work(event: Event) -> None:
        heard.append(event.name)

    queue_place.dispatch("ab")
    queue_place.dispatch("c")

    assert sorted(heard) == ["ab", "c"]
    [subscription] = queue_place.handler.subscriptions
    assert subscription.patterns == ("c", "*b", "a*")
    assert (
        subscription.name
        == f"{__name__}.test_stacked_decorators_make_one_subscription_that_runs_once.<locals>.work"
    )


def test_a_name_that_is_taken_is_refused(queue_place: QueuePlace) -> None:
    queue_place.handler.register(lambda event: None, name="taken")
    with pytest.raises(ConfigurationError, match="named 'taken' is registered already"):
        queue_place.handler.register(lambda event: None, name="taken")


def test_other_options_need_another_name(queue_place: QueuePlace) -> None:
    def work(event: Event) -> None: ...

    queue_place.handler.register(work, event_name="a")
    with pytest.raises(ConfigurationError, match="other options"):
        queue_place.handler.register(work, event_name="b", queue="elsewhere")
    queue_place.handler.register(work, event_name="b", queue="elsewhere", name="work-elsewhere")
    assert [each.queue for each in queue_place.handler.subscriptions] == ["events", "elsewhere"]


def test_one_function_cannot_be_given_two_kinds_of_argument(queue_place: QueuePlace) -> None:
    def work(given) -> None: ...  # type: ignore[no-untyped-def]

    queue_place.handler.register(Fish)(work)
    queue_place.handler.register(Fish, event_name="big-fish")(work)
    with pytest.raises(ConfigurationError, match="another argument"):
        queue_place.handler.register(work, event_name="cat*")
    [subscription] = queue_place.handler.subscriptions
    assert subscription.patterns == ("fish", "big-fish")


def test_each_of_two_queues_has_its_own_limit(queue_place: QueuePlace, diary: Diary) -> None:
    with dramatiq_on_stub(max_payload_bytes=20) as small:

        async def main() -> None:
            async with collect_events([queue_place.handler, small.handler]):
                dispatch("fits", "ö" * 9)
                with pytest.raises(UnserialisablePayload, match="takes 22 bytes as JSON, more than the 20"):
                    dispatch("too big", "ö" * 10)

        asyncio.run(main())

    assert {name for name, _ in diary.of("published")} == {"fits"}


def test_a_subscription_may_have_a_queue_of_its_own(queue_place: QueuePlace) -> None:
    heard: list[Any] = []
    queue_place.handler.register(heard.append, queue="kitchen", name="cook")

    queue_place.dispatch("hello")

    assert len(heard) == 1


# The wire


@pytest.mark.parametrize("form", ["value", "text", "a single envelope", "a list of texts"])
def test_anyone_can_produce_an_event(queue_place: QueuePlace, form: str) -> None:
    heard: list[Event] = []
    queue_place.handler.register(heard.append, name="work")
    sent = envelope(data={"n": 1}, time="2026-01-02T03:04:05.678Z", tracestate="a=b", somethingnew=5)

    argument = {
        "value": [sent],
        "text": json.dumps([sent]),
        "a single envelope": sent,
        "a list of texts": [json.dumps(sent)],
    }[form]
    queue_place.send(argument)
    queue_place.settle()

    [event] = heard
    assert event == ("hello", {"n": 1})
    assert event.id == sent["id"]
    assert event.dispatched_at.isoformat() == "2026-01-02T03:04:05.678000+00:00"
    assert event.headers == {"source": "test", "tracestate": "a=b", "somethingnew": 5}


def test_a_message_to_a_subscription_takes_one_envelope(queue_place: QueuePlace) -> None:
    heard: list[Event] = []
    queue_place.handler.register(heard.append, name="work")

    queue_place.send(envelope(), task="work")
    queue_place.send(json.dumps(envelope()), task="work")
    queue_place.settle()

    assert len(heard) == 2


@pytest.mark.parametrize(
    "argument",
    [
        "not json",
        "5",
        None,
        "[" * 100_000,
        {"type": "hello"},
        envelope(specversion="2.0"),
        envelope(id=""),
        envelope(type=7),
        envelope(time="yesterday"),
        envelope(data_base64="§§§"),
    ],
)
def test_a_message_that_is_no_event_is_kept_with_its_reason(
    queue_place: QueuePlace, argument: Any, diary: Diary
) -> None:
    heard: list[Event] = []
    queue_place.handler.register(heard.append, name="work")

    queue_place.send(argument)
    queue_place.send(json.dumps([envelope()]))
    queue_place.settle()

    assert [reason.partition(":")[0] for reason in queue_place.reasons()] == ["UnreadableEnvelope"]
    assert diary.of("retried") == []
    assert len(heard) == 1


def test_an_unreadable_event_harms_no_other_in_its_batch(queue_place: QueuePlace) -> None:
    heard: list[Event] = []
    queue_place.handler.register(heard.append, name="work")

    queue_place.send([envelope(type="one"), {"broken": True}, "nonsense", 5, envelope(type="two")])
    queue_place.settle()

    assert sorted(event.name for event in heard) == ["one", "two"]  # type: ignore[type-var]
    assert len(queue_place.dead()) == 3


@pytest.mark.parametrize("arguments", [(), ("a", "b")])
def test_a_message_with_other_arguments_is_kept_as_well(
    queue_place: QueuePlace, arguments: tuple[str, ...]
) -> None:
    queue_place.handler.register(lambda event: None, name="work")

    queue_place.send(*arguments)
    queue_place.send(*arguments, task="work")
    queue_place.settle()

    assert len(queue_place.dead()) == 2


def test_a_message_for_an_unknown_subscription_waits_and_is_then_kept(
    queue_place: QueuePlace, diary: Diary
) -> None:
    queue_place.send(json.dumps(envelope()), task="not.deployed.yet")
    queue_place.settle()

    [message] = queue_place.dead()
    assert message.task == "not.deployed.yet"
    assert queue_place.reasons() == ["UnknownSubscription: no worker of this queue has 'not.deployed.yet'"]
    assert [rest["attempt"] for _, rest in diary.of("retried")] == [1, 2]


def test_identity_is_made_of_event_and_subscription(queue_place: QueuePlace) -> None:
    queue_place.handler.register(lambda event: None, name="work")
    sent = envelope()

    queue_place.send([sent])
    queue_place.send([sent])
    queue_place.settle()

    assert [each.id for each in queue_place.sent if each.task == "work"] == [
        message_id(sent["id"], "work")
    ] * 2


def test_a_flush_is_published_as_one_message_and_in_order(queue_place: QueuePlace) -> None:
    async def main() -> None:
        async with collect_events([queue_place.handler]):
            for n in range(5):
                dispatch("hello", n)

    asyncio.run(main())

    [message] = queue_place.sent
    assert (message.task, message.queue) == ("fastapi_events.fan_out", "events")
    assert [each["data"] for each in json.loads(message.argument)] == [0, 1, 2, 3, 4]


def test_an_envelope_carries_what_the_specification_asks_for(queue_place: QueuePlace) -> None:
    heard: list[Event] = []
    queue_place.handler.register(heard.append, name="work")
    registry.register(Fish)
    try:
        queue_place.dispatch("fish", {"size": 1}, headers={"tenant": "acme"})
    finally:
        del registry["fish"]

    [event] = heard
    assert event.headers["source"] == "fastapi-events"
    assert event.headers["tenant"] == "acme"
    assert event.headers["dataschema"].endswith("Fish")


def test_moving_a_function_to_a_queue_changes_one_decorator(queue_place: QueuePlace) -> None:
    heard: list[Any] = []

    def work(event: Event) -> None:
        heard.append(event.payload)

    local = LocalHandler()
    local.register(work, event_name="cat*")
    queue_place.handler.register(work, event_name="cat*")

    async def main() -> None:
        async with collect_events([local]):
            dispatch("cat", {"n": 1})

    asyncio.run(main())
    queue_place.dispatch("cat", {"n": 1})

    assert heard == [{"n": 1}, {"n": 1}]
