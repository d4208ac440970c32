"""Forwarding to SQS, against moto, and against answers that moto never gives."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from enum import Enum
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from moto import mock_aws

from fastapi_events.dispatcher import dispatch
from fastapi_events.errors import ConfigurationError, NotPublished
from fastapi_events.event import Event
from fastapi_events.handlers import aws
from fastapi_events.handlers.aws import SQSForwardHandler
from fastapi_events.scope import collect_events
from tests.recording import Diary

REGION = "eu-central-1"


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(variable, "testing")


@pytest.fixture
def sqs() -> Iterator[Any]:
    with mock_aws():
        yield boto3.client("sqs", region_name=REGION)


@pytest.fixture
def queue_url(sqs: Any) -> str:
    return str(sqs.create_queue(QueueName="events")["QueueUrl"])


def received(sqs: Any, queue_url: str) -> list[Any]:
    bodies: list[Any] = []
    while True:
        messages = sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10).get("Messages", [])
        if not messages:
            return bodies
        bodies += [json.loads(message["Body"]) for message in messages]


class Cat(Enum):
    WOKE = "woke"


def test_events_arrive_as_json(sqs: Any, queue_url: str) -> None:
    with collect_events([SQSForwardHandler(queue_url, REGION)]):
        dispatch("hello", {"n": 1})
        dispatch(Cat.WOKE)

    assert sorted(received(sqs, queue_url), key=str) == [["hello", {"n": 1}], ["woke", None]]


def test_many_events_go_in_batches(sqs: Any, queue_url: str, diary: Diary) -> None:
    with collect_events([SQSForwardHandler(queue_url, REGION)]):
        for n in range(25):
            dispatch("hello", n)

    assert sorted(n for _, n in received(sqs, queue_url)) == list(range(25))
    assert len(diary.of("published")) == 25


def test_a_batch_is_no_larger_than_sqs_takes() -> None:
    client = Client()
    handler = handler_with(client)

    asyncio.run(handler.handle_many([Event("big", "x" * 100_000) for _ in range(5)]))

    assert [len(entries) for entries in client.batches] == [2, 2, 1]


def test_a_serializer_of_ones_own(sqs: Any, queue_url: str) -> None:
    handler = SQSForwardHandler(queue_url, REGION, serializer=lambda event: json.dumps({"name": event[0]}))
    with collect_events([handler]):
        dispatch("hello")

    assert received(sqs, queue_url) == [{"name": "hello"}]


@pytest.mark.parametrize(
    "wrong",
    [
        {"queue_url": " "},
        {"region_name": ""},
        {"region_name": 5},
        {"serializer": 5},
        {"id_generator": "x"},
        {"max_batch_size": 11},
        {"max_batch_size": 0},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        SQSForwardHandler(**{"queue_url": "url", "region_name": REGION, **wrong})


class Client:
    """Answers as it is told: for each call the ids that fail, as (code, sender's fault)."""

    def __init__(self, *answers: dict[int, tuple[str, bool]] | Exception) -> None:
        self.answers = list(answers)
        self.batches: list[list[dict[str, str]]] = []

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, str]]) -> dict[str, Any]:  # noqa: N803
        self.batches.append(Entries)
        answer = self.answers.pop(0) if self.answers else {}
        if isinstance(answer, Exception):
            raise answer
        return {
            "Failed": [
                {"Id": Entries[index]["Id"], "Code": code, "SenderFault": fault}
                for index, (code, fault) in answer.items()
            ]
        }


def handler_with(client: Any) -> SQSForwardHandler:
    with mock_aws():
        handler = SQSForwardHandler("url", REGION)
    handler._client = client
    return handler


EVENTS = [Event("a"), Event("b"), Event("c")]


def test_entries_that_sqs_refuses_for_the_moment_are_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws, "_RETRY", aws.RetryPolicy(min_backoff=0, max_backoff=0))
    client = Client({1: ("InternalError", False)}, {0: ("InternalError", False)})

    asyncio.run(handler_with(client).handle_many(EVENTS))

    assert [[json.loads(entry["MessageBody"])[0] for entry in batch] for batch in client.batches] == [
        ["a", "b", "c"],
        ["b"],
        ["b"],
    ]


def test_entries_that_stay_refused_are_reported_lost(diary: Diary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws, "_RETRY", aws.RetryPolicy(max_retries=1, min_backoff=0, max_backoff=0))
    client = Client({0: ("InvalidMessageContents", True), 1: ("Busy", False)}, {0: ("Busy", False)})

    with pytest.raises(NotPublished, match="2 events"):
        asyncio.run(handler_with(client).handle_many(EVENTS))

    assert [(name, rest["reason"]) for name, rest in diary.of("lost")] == [
        ("a", "SQS refused it: InvalidMessageContents"),
        ("b", "SQS refused it: Busy"),
    ]
    assert [name for name, _ in diary.of("published")] == ["c"]


def test_a_batch_that_fails_does_not_stop_the_next(diary: Diary) -> None:
    client = Client(ConnectionError("no route"))
    handler = handler_with(client)

    with collect_events([handler]):
        for n in range(12):
            dispatch("hello", n)

    assert len(diary.of("lost")) == 10
    assert len(diary.of("published")) == 2
    assert diary.of("failed") == []  # lost says it already


def test_ids_that_repeat_begin_a_new_batch(sqs: Any, queue_url: str, diary: Diary) -> None:
    with collect_events([SQSForwardHandler(queue_url, REGION, id_generator=lambda event: "same")]):
        for n in range(3):
            dispatch("hello", n)

    assert [n for _, n in received(sqs, queue_url)] == [0, 1, 2]
    assert [name for name, _ in diary.of("published")] == ["hello"] * 3


def test_an_answer_that_makes_no_sense_costs_its_own_batch_only(diary: Diary) -> None:
    class Confused(Client):
        def send_message_batch(self, **arguments: Any) -> dict[str, Any]:
            answer = super().send_message_batch(**arguments)
            return {"Failed": [{"Id": "unknown"}]} if len(self.batches) == 1 else answer

    client = Confused()
    with pytest.raises(NotPublished, match="10 events"):
        asyncio.run(handler_with(client).handle_many([Event("hello", n) for n in range(12)]))

    assert len(diary.of("lost")) == 10
    assert len(diary.of("published")) == 2


def test_the_real_client_accepts_what_it_is_given_and_its_answers_are_understood(
    sqs: Any, diary: Diary
) -> None:
    handler = SQSForwardHandler("https://sqs/events", REGION, id_generator=lambda event: event[0])
    refused = {"Id": "b", "Code": "InvalidMessageContents", "Message": "not XML", "SenderFault": True}
    with Stubber(handler._client) as stub:
        stub.add_response(
            "send_message_batch",
            {"Successful": [{"Id": "a", "MessageId": "1", "MD5OfMessageBody": "x"}], "Failed": [refused]},
            {
                "QueueUrl": "https://sqs/events",
                "Entries": [
                    {"Id": "a", "MessageBody": '["a", null]'},
                    {"Id": "b", "MessageBody": '["b", null]'},
                ],
            },
        )
        stub.add_client_error("send_message_batch", "AccessDenied", "not yours")
        with pytest.raises(NotPublished):
            asyncio.run(handler.handle_many([Event("a"), Event("b")]))
        with pytest.raises(NotPublished):
            asyncio.run(handler.handle(Event("c")))

    assert [name for name, _ in diary.of("published")] == ["a"]
    [(_, of_b), (_, of_c)] = diary.of("lost")
    assert of_b["reason"] == "SQS refused it: InvalidMessageContents not XML"
    assert of_c["reason"].startswith("ClientError: ")
    assert "AccessDenied" in of_c["reason"]


def test_an_event_that_cannot_be_serialised_costs_no_other(diary: Diary) -> None:
    client = Client()
    circular: dict[str, Any] = {}
    circular["self"] = circular

    with pytest.raises(NotPublished):
        asyncio.run(handler_with(client).handle_many([Event("bad", circular), Event("good")]))

    assert [json.loads(entry["MessageBody"])[0] for batch in client.batches for entry in batch] == ["good"]


def test_the_event_loop_goes_on_while_sqs_takes_its_time() -> None:
    class Slow(Client):
        def __init__(self) -> None:
            super().__init__()
            self.gate = threading.Event()

        def send_message_batch(self, **arguments: Any) -> Any:
            assert self.gate.wait(10)
            return super().send_message_batch(**arguments)

    client = Slow()

    async def main() -> None:
        flush = asyncio.create_task(handler_with(client).handle(Event("hello")))
        await asyncio.sleep(0)
        client.gate.set()  # only reached if the loop is not blocked
        await flush

    asyncio.run(main())
    assert len(client.batches) == 1
