"""Waiting in a real server until a list has something in it."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest
import redis

from fastapi_events.embedded.binary import find_binary
from fastapi_events.handlers.dramatiq import redis_arrivals
from fastapi_events.handlers.dramatiq.redis_arrivals import Arrivals, CannotWaitError
from tests.ports import free_port
from tests.processes import PATIENCE_SECONDS, until

pytestmark = pytest.mark.valkey


@pytest.fixture
def key() -> str:
    return f"test-arrivals-{uuid.uuid4()}"


@pytest.fixture
def client(valkey_url: str, key: str) -> Iterator[redis.Redis]:
    """A client, and by its settings those that wait, whose connections bear the name of the list."""
    with redis.Redis.from_url(valkey_url, socket_timeout=1, client_name=key) as client:
        yield client
        client.delete(key)


def waiting(client: redis.Redis, key: str) -> list[str]:
    """The connections that wait in the server for the list."""
    known: Any = client.client_list()
    return [each["id"] for each in known if each["name"] == key and "b" in each["flags"]]


def test_everybody_who_waits_is_told_and_the_list_stays_as_it_is(client: redis.Redis, key: str) -> None:
    everybody = [Arrivals(client, key) for _ in range(5)]
    for each in everybody:
        each.ask()
    until(lambda: len(waiting(client, key)) == 5, "the waiting of all")

    client.rpush(key, "first", "second", "third")

    assert [each.have_come(within=PATIENCE_SECONDS) for each in everybody] == [True] * 5
    assert client.lrange(key, 0, -1) == [b"first", b"second", b"third"]
    for each in everybody:
        each.close()


def test_what_has_come_before_is_told_at_once(client: redis.Redis, key: str) -> None:
    client.rpush(key, "first")
    arrivals = Arrivals(client, key)
    arrivals.ask()
    assert arrivals.have_come(within=PATIENCE_SECONDS)
    assert not arrivals.is_asked
    arrivals.close()


def test_the_server_keeps_waiting_while_nobody_listens(client: redis.Redis, key: str) -> None:
    arrivals = Arrivals(client, key)
    arrivals.ask()
    assert not arrivals.have_come(within=0.01)
    assert arrivals.is_asked
    client.rpush(key, "first")
    assert arrivals.have_come(within=PATIENCE_SECONDS)
    arrivals.close()


def test_the_server_is_asked_again_when_nothing_has_come(
    client: redis.Redis, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_arrivals, "_PATIENCE", 0.01)
    arrivals = Arrivals(client, key)
    arrivals.ask()
    assert not arrivals.have_come(within=PATIENCE_SECONDS)  # since the server has answered
    assert arrivals.is_asked
    client.rpush(key, "first")
    until(lambda: arrivals.have_come(within=1), "the news")
    arrivals.close()


def test_an_answer_that_is_overdue_is_a_broken_connection(
    client: redis.Redis, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrivals = Arrivals(client, key)
    arrivals.ask()
    monkeypatch.setattr(redis_arrivals, "_GRACE", -2 * redis_arrivals._PATIENCE)
    with pytest.raises(redis.TimeoutError):
        arrivals.have_come(within=0)
    assert not arrivals.is_asked


def test_a_connection_that_ends_is_opened_anew_by_asking(client: redis.Redis, key: str) -> None:
    arrivals = Arrivals(client, key)
    arrivals.ask()
    until(lambda: waiting(client, key), "the waiting")

    client.client_kill_filter(_id=waiting(client, key)[0])

    with pytest.raises(redis.ConnectionError):
        arrivals.have_come(within=PATIENCE_SECONDS)
    assert not arrivals.is_asked
    arrivals.ask()
    client.rpush(key, "first")
    assert arrivals.have_come(within=PATIENCE_SECONDS)
    arrivals.close()


def test_who_may_not_wait_is_told(client: redis.Redis, key: str, valkey_url: str) -> None:
    client.acl_setuser(key, enabled=True, passwords=["+x"], keys=["*"], commands=["+@all", "-blmove"])
    with redis.Redis.from_url(valkey_url, username=key, password="x") as forbidden:
        arrivals = Arrivals(forbidden, key)
        arrivals.ask()
        with pytest.raises(CannotWaitError, match="permission"):
            arrivals.have_come(within=PATIENCE_SECONDS)
    client.acl_deluser(key)


def test_a_server_that_knows_no_such_command_is_told_apart_from_one_in_trouble(tmp_path: Path) -> None:
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--rename-command", "BLMOVE", ""]
    old = subprocess.Popen([str(find_binary()), *options], cwd=tmp_path, stdout=subprocess.DEVNULL)
    try:
        client = redis.Redis(port=port)
        until(lambda: answers(client), "the answer of the server")
        arrivals = Arrivals(client, "list")
        arrivals.ask()
        with pytest.raises(CannotWaitError, match="unknown command"):
            arrivals.have_come(within=PATIENCE_SECONDS)
        client.close()
    finally:
        old.kill()
        old.wait()


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def test_another_kind_of_value_is_no_reason_to_look_instead(client: redis.Redis, key: str) -> None:
    client.set(key, "no list")
    arrivals = Arrivals(client, key)
    arrivals.ask()
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        arrivals.have_come(within=PATIENCE_SECONDS)


class OwnPool(redis.ConnectionPool):
    def __init__(self, place: str, **settings: object) -> None:
        super().__init__(**settings)


def test_a_pool_that_cannot_be_made_once_more_cannot_wait(valkey_url: str) -> None:
    pool = OwnPool("here", host="127.0.0.1", port=urlparse(valkey_url).port)
    with pytest.raises(CannotWaitError, match="OwnPool"):
        Arrivals(redis.Redis(connection_pool=pool), "list").ask()
