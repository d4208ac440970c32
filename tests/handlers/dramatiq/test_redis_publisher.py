"""Many Dramatiq messages in one round trip, as Dramatiq itself would have stored them."""

from __future__ import annotations

from typing import Any

import dramatiq
import pytest
import redis
from dramatiq.encoder import JSONEncoder

from fastapi_events.handlers.dramatiq import redis_publisher
from tests.places import Dramatiq, dramatiq_on_redis

pytestmark = pytest.mark.valkey


def stored(place: Dramatiq, queue: str) -> list[Any]:
    client, key = place.broker.client, f"{place.broker.namespace}:{queue}"
    messages = client.hgetall(f"{key}.msgs")
    return [dramatiq.Message.decode(messages[identity]) for identity in client.lrange(key, 0, -1)]


def test_what_we_store_is_what_dramatiq_stores(valkey_url: str) -> None:
    with dramatiq_on_redis(valkey_url) as place:
        message = dramatiq.Message("events", "work", ("one",), {}, {})
        place.broker.enqueue(message)
        ours = message.copy(options={"redis_message_id": "ours"})
        redis_publisher.enqueue(
            place.broker.client, place.broker.namespace, {"events": [("ours", ours.encode())]}
        )

        theirs, mine = stored(place, "events")

    assert mine.options == {"redis_message_id": "ours"}
    assert {**theirs.asdict(), "options": None} == {**mine.asdict(), "options": None}


def test_the_order_is_kept_and_queues_are_apart(valkey_url: str) -> None:
    def message(name: str, queue: str) -> tuple[str, bytes]:
        return name, dramatiq.Message(queue, "work", (name,), {}, {}).encode()

    with dramatiq_on_redis(valkey_url) as place:
        redis_publisher.enqueue(
            place.broker.client,
            place.broker.namespace,
            {"events": [message("a", "events"), message("b", "events")], "other": [message("c", "other")]},
        )

        assert [each.args for each in stored(place, "events")] == [("a",), ("b",)]
        assert [each.args for each in stored(place, "other")] == [("c",)]


def test_it_is_one_round_trip_and_all_or_nothing(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    send = redis.Connection.send_packed_command

    def listen(self: Any, command: Any, *args: Any, **kwargs: Any) -> Any:
        sent.append(b"".join(command))
        return send(self, command, *args, **kwargs)

    with dramatiq_on_redis(valkey_url) as place:
        client = redis_publisher.publishing_client(place.broker.client, timeout=1.0)
        client.ping()
        messages = [(str(n), b"{}") for n in range(100)]
        with monkeypatch.context() as patch:
            patch.setattr(redis.Connection, "send_packed_command", listen)
            redis_publisher.enqueue(client, place.broker.namespace, {"events": messages})
        client.close()

    [command] = sent
    assert command.startswith(b"*1\r\n$5\r\nMULTI")
    assert command.endswith(b"EXEC\r\n")


def test_the_publishing_client_is_bounded_whatever_the_original_allows(valkey_url: str) -> None:
    patient = redis.Redis.from_url(valkey_url, socket_timeout=None)
    client = redis_publisher.publishing_client(patient, timeout=0.5)

    settings = client.connection_pool.connection_kwargs
    assert settings["socket_timeout"] == settings["socket_connect_timeout"] == 0.5
    assert client.ping()
    client.close()
    patient.close()


def test_we_write_what_the_programs_encoder_writes(valkey_url: str) -> None:
    class Marking(JSONEncoder):
        def encode(self, data: Any) -> bytes:
            return super().encode({**data, "kwargs": {"marked": True}})

    with dramatiq_on_redis(valkey_url) as place:
        publisher = redis_publisher.RedisPublisher(place.broker)
        message = dramatiq.Message("events", "work", ('\N{CAT FACE} "7"',), {}, {"priority": 1.5})

        publisher.publish([(message.copy(), None)], timeout=None)
        theirs = dramatiq.get_encoder()
        dramatiq.set_encoder(Marking())
        try:
            publisher.publish([(message.copy(), None)], timeout=None)
        finally:
            dramatiq.set_encoder(theirs)
        ours, marked = stored(place, "events")

    assert {**ours.asdict(), "options": None} == {**message.asdict(), "options": None}
    assert ours.options.keys() == {"priority", "redis_message_id"}
    assert marked.kwargs == {"marked": True}
