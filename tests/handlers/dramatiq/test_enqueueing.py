"""Hooks are called where somebody listens, and messages written as Dramatiq writes them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker
from dramatiq.encoder import Encoder

from fastapi_events.handlers.dramatiq.enqueueing import EnqueueHooks, encoder, has_own_encoder


def message(*args: Any) -> dramatiq.Message[Any]:
    return dramatiq.Message("events", "work", args, {"n": 1.5}, {"retries": 2})


class Listening(dramatiq.Middleware):
    def __init__(self) -> None:
        self.heard: list[tuple[str, Any, Any]] = []

    def before_enqueue(self, broker: Any, message: Any, delay: Any) -> None:
        self.heard.append(("before", message, delay))

    def after_enqueue(self, broker: Any, message: Any, delay: Any) -> None:
        self.heard.append(("after", message, delay))


def test_hooks_are_heard_from_when_a_middleware_has_them() -> None:
    broker, listening, sent = StubBroker(), Listening(), message()
    hooks = EnqueueHooks(broker)
    assert not hooks.are_heard()
    hooks.before([(sent, None)])

    broker.add_middleware(listening)
    hooks.before([(sent, 5)])
    hooks.after([(sent, 5)])

    assert hooks.are_heard()
    assert listening.heard == [("before", sent, 5), ("after", sent, 5)]


@pytest.mark.parametrize("argument", ['{"text": "für"}', {"deep": [1, None, True]}, "\ud800"])
def test_a_message_is_written_so_that_dramatiq_reads_it(argument: Any) -> None:
    sent = message(argument)

    assert not has_own_encoder()
    assert dramatiq.Message.decode(encoder()(sent)) == dramatiq.Message.decode(sent.encode())


class Marking(Encoder):
    def encode(self, data: Any) -> bytes:
        return b"mine:" + json.dumps(data).encode()

    def decode(self, data: bytes) -> Any:
        return json.loads(data.removeprefix(b"mine:"))


@pytest.fixture
def own_encoder() -> Iterator[None]:
    theirs = dramatiq.get_encoder()
    dramatiq.set_encoder(Marking())
    yield
    dramatiq.set_encoder(theirs)


@pytest.mark.usefixtures("own_encoder")
def test_the_programs_own_encoder_is_used() -> None:
    assert has_own_encoder()
    assert encoder()(message()).startswith(b"mine:")
