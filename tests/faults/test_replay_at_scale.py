"""A hundred thousand dead letters, replayed by a command that is interrupted and killed on the way."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from fastapi_events.storage.dead_letters import DeadLetter
from fastapi_events.storage.redis import RedisStore
from fastapi_events.storage.redis.server import _argument
from fastapi_events.storage.sqlalchemy import SqlStore
from fastapi_events.storage.sqlalchemy.schema import dead_letters
from tests.faults.conftest import EVENTS as EVENTS_OF_A_ROW
from tests.fork_server import ForkedProcess
from tests.processes import Project, until

pytestmark = [pytest.mark.acceptance, pytest.mark.valkey, pytest.mark.timeout(600)]

LETTERS = 100 * EVENTS_OF_A_ROW
PAGE = 500

EVENTS = """
    import dramatiq
    from dramatiq.brokers.redis import RedisBroker
    from fastapi_events.handlers.dramatiq import DramatiqHandler
    broker = RedisBroker(url="redis://localhost:6379/0")
    dramatiq.set_broker(broker)
    STORE
    events = DramatiqHandler(broker, dead_letters=store.dead_letters)
"""

STORES = {
    "redis": """
    from fastapi_events.storage.redis import RedisStore
    store = RedisStore("redis://localhost:6379/0")
""",
    "sqlite": """
    from fastapi_events.storage.sqlalchemy import SqlStore
    store = SqlStore("sqlite:///letters.db")
""",
}


def letter(number: int) -> DeadLetter:
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(milliseconds=number)
    event = {"specversion": "1.0", "id": f"e{number}", "source": "shop", "type": "hello", "data": number}
    return DeadLetter(
        id=f"letter-{number}", handler="dramatiq:events", subscription="hear", queue="events",
        event_id=f"e{number}", event_name="hello", argument=json.dumps(event), reason="ValueError: no fish",
        traceback="Traceback\n" * 20, attempts=6, first_at=at, last_at=at,
    )  # fmt: skip


def add_in_redis(project: Project) -> Any:
    """As the store does it, many in one round trip."""
    store = RedisStore(project.url)
    server: Any = store._server
    scripts: dict[str, Any] = {}
    pipeline = project.redis.pipeline(transaction=False)

    def queue(script: str, *arguments: object) -> int:
        if script not in scripts:
            scripts[script] = server.client.register_script(script)
        scripts[script](keys=[], args=[server.prefix, "", *map(_argument, arguments)], client=pipeline)
        return 1

    server.run, run = queue, server.run
    for number in range(LETTERS):
        store.dead_letters.add(letter(number))
        if number % 1_000 == 999:
            pipeline.execute()
    server.run = run
    return store


def add_in_sqlite(project: Project) -> Any:
    """Straight into the table."""
    store = SqlStore(f"sqlite:///{project.folder / 'letters.db'}")
    store.setup()

    def row(number: int) -> dict[str, Any]:
        at = letter(number).last_at.timestamp()
        return {**dataclasses.asdict(letter(number)), "first_at": at, "last_at": at}

    store.dead_letters._database.write(
        lambda connection: connection.execute(sa.insert(dead_letters), [row(each) for each in range(LETTERS)])
    )
    return store


ADD: dict[str, Callable[[Project], Any]] = {"redis": add_in_redis, "sqlite": add_in_sqlite}


def sent(project: Project) -> int:
    return int(project.redis.llen("dramatiq:events"))


def replay(project: Project) -> ForkedProcess:
    path = f"{project.folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    return project.start("fastapi_events", "dead", "replay", "app.events", "--all", PYTHONPATH=path)


def memory_of(process: ForkedProcess) -> int:
    """The most bytes that it has had by now; 0 where the system does not say."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1_024 for line in status.splitlines() if "VmHWM" in line), 0)


@pytest.mark.parametrize("kind", STORES)
def test_what_is_interrupted_and_killed_goes_on_where_it_was(project: Project, kind: str) -> None:
    # Given many letters
    project.write(events=EVENTS.replace("    STORE\n", STORES[kind].lstrip("\n")))
    store = ADD[kind](project)
    letters = store.dead_letters
    assert letters.count() == LETTERS
    # When their replay is interrupted
    process = replay(project)
    until(lambda: sent(project) > LETTERS // 5, "a fifth of it")
    process.send_signal(signal.SIGINT)
    assert project.wait(process) == 130, project.logs()
    # Then what is left is what was not sent, but for a page
    assert 0 <= sent(project) + letters.count() - LETTERS <= PAGE
    # When it is begun again, and killed
    before = sent(project)
    process = replay(project)
    until(lambda: sent(project) > before + LETTERS // 5, "another fifth")
    process.kill()
    project.wait(process)
    assert 0 <= sent(project) + letters.count() - LETTERS <= 2 * PAGE
    # When it is begun once more
    left = letters.count()
    process = replay(project)
    peak = first = memory_of(process)

    def ended() -> bool:
        nonlocal peak
        peak = max(peak, memory_of(process))
        return process.poll() is not None

    until(ended, "the rest of it")
    # Then it comes to its end, and holds no more than a page at a time
    assert process.returncode == 0, project.logs()
    assert f"{left} replayed" in project.logs()
    assert peak - first < 100_000_000
    # And each message was sent, a page of them twice for each interruption at most
    bodies = project.redis.hvals("dramatiq:events.msgs")
    times = Counter(json.loads(body)["message_id"] for body in bodies)
    assert set(times) == {f"letter-{number}" for number in range(LETTERS)}
    assert max(times.values()) <= 3
    assert sum(times.values()) - LETTERS <= 2 * PAGE
    assert letters.count() == 0
    store.close()
