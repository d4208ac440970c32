"""A transaction with Redis on the event loop, and what is left to a thread."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import dramatiq
import pytest
import redis
from dramatiq.brokers.redis import RedisBroker

from fastapi_events.errors import NotPublished
from fastapi_events.event import Event
from fastapi_events.handlers.dramatiq import DramatiqHandler
from fastapi_events.handlers.dramatiq.redis_loop_connection import Exchange
from tests.proxy import Proxy

PUSH = [("RPUSH", "list", "one")]


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_url, socket_timeout=5) as client:
        client.delete("list")
        yield client
        client.delete("list")


@contextmanager
def opened(client: redis.Redis) -> Iterator[Exchange]:
    exchange = Exchange()
    exchange.open(client.connection_pool)
    yield exchange
    exchange.close()


async def transact(exchange: Exchange, commands: Any) -> bool | None:
    """Whether it was confirmed; None when the exchange leaves it to somebody else."""
    answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    if exchange.begin(lambda: commands, answer.set_result) is None:
        return None
    return await asyncio.wait_for(answer, 10)


@pytest.mark.valkey
def test_it_is_confirmed_once_the_server_has_it_on_whatever_loop(client: redis.Redis) -> None:
    with opened(client) as exchange:
        assert asyncio.run(transact(exchange, PUSH)) is True
        assert asyncio.run(transact(exchange, [*PUSH, *PUSH])) is True

    assert client.lrange("list", 0, -1) == [b"one"] * 3


@pytest.mark.valkey
def test_what_the_socket_does_not_take_at_once_follows(client: redis.Redis) -> None:
    large = "x" * 20_000_000

    with opened(client) as exchange:
        assert asyncio.run(transact(exchange, [("RPUSH", "list", large)])) is True

    assert client.llen("list") == 1
    assert client.lindex("list", 0) == large.encode()


@pytest.mark.valkey
def test_a_refusal_is_no_confirmation_and_changes_nothing(client: redis.Redis) -> None:
    with opened(client) as exchange:
        refused = asyncio.run(transact(exchange, [*PUSH, ("RPUSH", "list")]))
        afterwards = asyncio.run(transact(exchange, PUSH))
        exchange.open(client.connection_pool)
        opened_again = asyncio.run(transact(exchange, PUSH))

    assert (refused, afterwards, opened_again) == (False, None, True)
    assert client.llen("list") == 1


@pytest.mark.valkey
def test_it_serves_one_at_a_time(client: redis.Redis) -> None:
    async def two() -> list[bool | None]:
        return list(await asyncio.gather(transact(exchange, PUSH), transact(exchange, PUSH)))

    with opened(client) as exchange:
        assert asyncio.run(two()) == [True, None]


@pytest.mark.valkey
def test_a_connection_that_the_server_has_closed_is_not_used(client: redis.Redis) -> None:
    with opened(client) as exchange:
        for each in client.client_list(_type="normal"):
            if int(each["id"]) != client.client_id():
                client.client_kill_filter(_id=each["id"])

        assert asyncio.run(transact(exchange, PUSH)) is None


@pytest.mark.valkey
def test_who_gives_up_gives_up_the_connection(client: redis.Redis) -> None:
    async def give_up() -> None:
        abandon = exchange.begin(lambda: PUSH, lambda confirmed: pytest.fail("nobody waits"))
        assert abandon is not None
        abandon()
        abandon()

    with opened(client) as exchange:
        asyncio.run(give_up())
        assert asyncio.run(transact(exchange, PUSH)) is None


@pytest.mark.valkey
def test_commands_that_cannot_be_made_leave_nothing_behind(client: redis.Redis) -> None:
    async def fail() -> None:
        exchange.begin(lambda: [("RPUSH", "list", object())], lambda confirmed: None)

    with opened(client) as exchange:
        with pytest.raises(AttributeError):
            asyncio.run(fail())
        exchange.open(client.connection_pool)
        assert asyncio.run(transact(exchange, PUSH)) is True


@pytest.mark.valkey
def test_a_loop_without_selector_leaves_it_to_threads(client: redis.Redis) -> None:
    class Loop(asyncio.SelectorEventLoop):
        def add_reader(self, *_: Any) -> None:
            raise NotImplementedError

    loop = Loop()
    with opened(client) as exchange:
        assert loop.run_until_complete(transact(exchange, PUSH)) is None
    loop.close()
    assert client.llen("list") == 0


def test_an_encrypted_connection_is_left_to_threads() -> None:
    class Encrypted:
        def __init__(self, **_: Any) -> None: ...

        def connect(self) -> None:
            self._sock = ssl.create_default_context().wrap_socket(
                socket.socket(), server_hostname="cats.example"
            )

        def disconnect(self) -> None:
            self._sock.close()

    pool: Any = redis.ConnectionPool(connection_class=Encrypted)  # type: ignore[type-var]
    exchange = Exchange()
    exchange.open(pool)

    assert asyncio.run(transact(exchange, PUSH)) is None


Flush = Callable[[str], Coroutine[Any, Any, None]]
Story = Callable[[Flush], Coroutine[Any, Any, None]]


def tell(client: redis.Redis, port: int, story: Story, *middleware: dramatiq.Middleware) -> list[Any]:
    """Run a story in which a handler flushes events, after a first flush by which it has connected.

    Returns:
        What waits in the queue then, as Dramatiq reads it.
    """
    broker = RedisBroker(url=f"redis://127.0.0.1:{port}", namespace="test-exchange")
    for each in middleware:
        broker.add_middleware(each)
    handler = DramatiqHandler(broker, flush_deadline=2.0)

    async def flush(name: str) -> None:
        await handler.handle_many([Event(name, {"cat": 7})])

    async def run() -> None:
        await flush("first")
        await story(flush)
        await handler.on_shutdown()

    asyncio.run(run())
    broker.client.close()
    ids: Any = client.lrange("test-exchange:events", 0, -1)
    messages: Any = client.hgetall("test-exchange:events.msgs")
    client.delete("test-exchange:events", "test-exchange:events.msgs")
    return [dramatiq.Message.decode(messages[each]) for each in dict.fromkeys(ids)]


@pytest.fixture
def port(valkey_url: str) -> int:
    return int(redis.Redis.from_url(valkey_url).connection_pool.connection_kwargs["port"])


@pytest.mark.valkey
def test_once_connected_a_flush_is_sent_by_the_loop(
    client: redis.Redis, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(flush: Flush) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(redis.Connection, "send_packed_command", lambda *_, **__: pytest.fail("a thread"))
            await flush("second")

    first, second = tell(client, port, story)

    assert '"second"' in second.args[0]
    assert first.actor_name == second.actor_name
    assert second.options.keys() == {"redis_message_id"}


@pytest.mark.valkey
def test_what_hears_of_messages_is_called_in_a_thread(client: redis.Redis, port: int) -> None:
    class Listening(dramatiq.Middleware):
        def after_enqueue(self, broker: Any, message: Any, delay: Any) -> None:
            heard.append(threading.current_thread())

    async def story(flush: Flush) -> None:
        await flush("second")

    heard: list[threading.Thread] = []
    tell(client, port, story, Listening())

    assert len(heard) == 2
    assert threading.main_thread() not in heard


@pytest.mark.valkey
def test_a_server_that_does_not_answer_costs_one_deadline(client: redis.Redis, port: int) -> None:
    async def story(flush: Flush) -> None:
        proxy.hang()
        with pytest.raises(NotPublished, match="it may have it"):
            await flush("second")
        proxy.heal()
        await flush("third")
        await flush("fourth")

    with Proxy(port) as proxy:
        assert len(tell(client, proxy.port, story)) == 4


@pytest.mark.valkey
def test_a_message_whose_confirmation_is_lost_is_stored_once(client: redis.Redis, port: int) -> None:
    async def story(flush: Flush) -> None:
        proxy.hang()
        second = asyncio.ensure_future(flush("second"))
        while client.llen("test-exchange:events") < 2:
            await asyncio.sleep(0.001)
        proxy.cut()
        proxy.heal()
        await second

    with Proxy(port) as proxy:
        _, second = tell(client, proxy.port, story)

    assert '"second"' in second.args[0]


@pytest.mark.valkey
def test_flushes_at_once_all_arrive(client: redis.Redis, port: int) -> None:
    async def story(flush: Flush) -> None:
        await asyncio.gather(*(flush(f"event-{n}") for n in range(50)))

    assert len(tell(client, port, story)) == 51
