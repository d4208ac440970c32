"""Forwarding to Pub/Sub, with a client that confirms, refuses or stays silent as it is told."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import Future
from typing import Any

import pytest
from google.cloud import pubsub_v1

from fastapi_events.dispatcher import dispatch
from fastapi_events.errors import ConfigurationError, NotPublished
from fastapi_events.event import Event
from fastapi_events.handlers import gcp
from fastapi_events.handlers.gcp import GoogleCloudSimplePubSubHandler
from fastapi_events.scope import collect_events
from tests.recording import Diary


class Client:
    def __init__(self, settings: Any) -> None:
        self.settings = settings
        self.messages: list[tuple[str, Any]] = []
        self.outcomes: dict[str, Any] = {}
        self.stopped = False

    def topic_path(self, project: str, topic: str) -> str:
        return f"projects/{project}/topics/{topic}"

    def publish(self, topic: str, data: bytes) -> Future[str]:
        if self.stopped:
            raise RuntimeError("Cannot publish on a stopped publisher.")
        name = json.loads(data)[0]
        self.messages.append((topic, json.loads(data)))
        future: Future[str] = Future()
        outcome = self.outcomes.get(name, "id")
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        elif outcome is not None:
            future.set_result(outcome)
        return future

    def stop(self) -> None:
        if self.stopped:  # as the real one does
            raise RuntimeError("Cannot stop a publisher already stopped.")
        self.stopped = True


@pytest.fixture(autouse=True)
def _client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gcp.pubsub_v1, "PublisherClient", Client)


def test_events_arrive_as_json_in_order() -> None:
    handler = GoogleCloudSimplePubSubHandler("shop", "events")
    with collect_events([handler]):
        for n in range(3):
            dispatch("hello", n)

    assert handler._client.messages == [("projects/shop/topics/events", ["hello", n]) for n in range(3)]


@pytest.mark.parametrize("extra", [None, {}, {"max_latency": 0.5}, {"max_messages": 5}])
def test_it_can_be_constructed_with_and_without_batch_settings(extra: Any) -> None:
    handler = GoogleCloudSimplePubSubHandler("shop", "events", max_batch_size=20, batch_settings_kwargs=extra)

    settings = handler._client.settings
    assert isinstance(settings, pubsub_v1.types.BatchSettings)
    assert settings.max_messages == (extra or {}).get("max_messages", 20)


@pytest.mark.parametrize(
    "wrong",
    [
        {"project_id": ""},
        {"topic_id": 5},
        {"serializer": 5},
        {"max_batch_size": 1001},
        {"max_batch_size": 0},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        GoogleCloudSimplePubSubHandler(**{"project_id": "shop", "topic_id": "events", **wrong})


def test_what_is_not_confirmed_is_reported_lost(diary: Diary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gcp, "CONFIRMATION_DEADLINE", 0.01)
    handler = GoogleCloudSimplePubSubHandler("shop", "events")
    handler._client.outcomes = {"refused": PermissionError("not yours"), "silent": None}

    with pytest.raises(NotPublished, match="2 events"):
        asyncio.run(handler.handle_many([Event("refused"), Event("silent"), Event("fine")]))

    assert {name: rest["reason"] for name, rest in diary.of("lost")} == {
        "refused": "PermissionError: not yours",
        "silent": "not confirmed within 0.01 s; it may have arrived",
    }
    assert [name for name, _ in diary.of("published")] == ["fine"]


def test_an_event_that_cannot_be_serialised_costs_no_other(diary: Diary) -> None:
    handler = GoogleCloudSimplePubSubHandler("shop", "events", serializer=lambda event: event[1])  # type: ignore[arg-type, return-value]

    with pytest.raises(NotPublished):
        asyncio.run(handler.handle_many([Event("bad", 5), Event("good", '["good"]')]))

    assert [name for name, _ in diary.of("lost")] == ["bad"]
    assert [message for _, message in handler._client.messages] == [["good"]]


def test_the_event_loop_goes_on_while_pubsub_takes_its_time() -> None:
    gate = threading.Event()
    handler = GoogleCloudSimplePubSubHandler("shop", "events")
    publish = handler._client.publish

    def slow(*arguments: Any) -> Any:
        assert gate.wait(10)
        return publish(*arguments)

    handler._client.publish = slow

    async def main() -> None:
        flush = asyncio.create_task(handler.handle(Event("hello")))
        await asyncio.sleep(0)
        gate.set()  # only reached if the loop is not blocked
        await flush

    asyncio.run(main())
    assert len(handler._client.messages) == 1


def test_shutdown_lets_the_client_finish() -> None:
    handler = GoogleCloudSimplePubSubHandler("shop", "events")
    asyncio.run(handler.on_shutdown())
    assert handler._client.stopped


def test_an_application_may_stop_and_start_again(diary: Diary) -> None:
    handler = GoogleCloudSimplePubSubHandler("shop", "events")

    async def live() -> None:
        await handler.on_startup()
        await handler.handle(Event("hello"))
        await handler.on_shutdown()
        await handler.on_shutdown()

    asyncio.run(live())
    asyncio.run(live())

    assert len(diary.of("published")) == 2
