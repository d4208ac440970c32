"""Time each page of the console before a full store, from the request to the last byte of its HTML.

```console
$ python -m benchmarks.console_load
$ python -m benchmarks.console_load --url postgresql://events@localhost/events
$ python -m benchmarks.console_load --url redis://localhost:6379/0
```

It fills a journal with 1,000,000 events and a store with 100,000 dead letters, and then asks for each page
several times, each time anew. Of each page it prints the shortest time, by which it judges, since other
processes only make it longer, the median, and the shortest processor time of this process. An existing
database is filled only once, but for the counts of the last hour, so that the second run is quick. Redis gets
the dead letters alone, whose pages are asked for there.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, Final
from urllib.parse import urlencode

import sqlalchemy as sa
from dramatiq.brokers.stub import StubBroker
from starlette.testclient import TestClient

from fastapi_events.console import console
from fastapi_events.handlers.dramatiq import DramatiqHandler
from fastapi_events.storage.base import moment
from fastapi_events.storage.dead_letters import DeadLetter
from fastapi_events.storage.histories import bits_of
from fastapi_events.storage.letters import group_id, ordering_key_in
from fastapi_events.storage.redis import RedisStore
from fastapi_events.storage.sqlalchemy import SqlStore
from fastapi_events.storage.sqlalchemy.schema import (
    dead_letters,
    journal_counts,
    journal_events,
    journal_records,
)

EVENTS: Final = 1_000_000
LETTERS: Final = 100_000
LIMIT_SECONDS: Final = 0.3
"""What a page may take."""

_CHUNK: Final = 5_000
_TIMES: Final = 5
_PATIENCE_SECONDS: Final = 60.0
_HANDLER: Final = "dramatiq:events"
_NAMES: Final = tuple(f"{one}-{two}" for one in ("order", "card", "user", "mail") for two in range(10))
_BEGIN: Final = time.time() - 86_400.0
_NO_ANSWERS: Final = ("has not answered within", "cannot be asked", "does not answer")
_OF_EVENTS: Final = ("dispatched", "published", "fanned_out")
_OF_CALLS: Final = (
    "started", "succeeded", "failed", "retried", *(f"duration<={each}" for each in (0.01, 0.05, 0.1, 0.25)),
    *(f"age<={each}" for each in (0.01, 0.05, 0.1, 0.25)),
)  # fmt: skip
_ERRORS: Final = ("ValueError", "KeyError", "TimeoutError", "httpx.ConnectError", "OSError")


def main() -> int:
    """Fill, ask, and print a table; 1 where a page takes too long."""
    parser = argparse.ArgumentParser(description="Time each page of the console before a full store.")
    parser.add_argument(
        "--url", help="database or Redis; a SQLite file that is removed afterwards if not given"
    )
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--letters", type=int, default=LETTERS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="console-load-") as folder:
        url = arguments.url or f"sqlite:///{folder}/load.db"
        if url.startswith("redis"):
            in_redis = RedisStore(url, prefix="console-load")
            if not in_redis.dead_letters.count():
                chance = random.Random(1)
                for at in range(arguments.letters):
                    in_redis.dead_letters.add(_letter(at, chance))
            slow = _ask(in_redis, {**_pages_of_letters(in_redis), **_pages_of_searches(in_redis)})
            in_redis.close()
        else:
            store = SqlStore(url, max_events=arguments.events * 2)
            store.setup()
            _fill(store, arguments.events, arguments.letters)
            slow = _ask(store, _pages(store))
            store.close()
    return 1 if slow else 0


def _ask(store: SqlStore | RedisStore, pages: dict[str, str]) -> list[str]:
    broker = StubBroker()
    handler = DramatiqHandler(broker, queue="events", store=store, catalogue=store.catalogue, relay=False)
    app = console([handler], local=("see_payloads",))
    app.state.console.reads.deadline = _PATIENCE_SECONDS  # type: ignore[attr-defined]
    slow = []
    with TestClient(app, base_url="http://localhost", client=("127.0.0.1", 1)) as client:
        for name, path in pages.items():
            seconds, of_processor = zip(*(_seconds(client, path) for _ in range(_TIMES)), strict=True)
            took, mostly, here = min(seconds), statistics.median(seconds), min(of_processor)
            verdict = "" if took < LIMIT_SECONDS else "  too slow"
            figures = f"{took * 1_000:8.1f} ms{mostly * 1_000:8.1f} ms{here * 1_000:8.1f} ms CPU"
            sys.stdout.write(f"{name:<56}{figures}{verdict}\n")
            sys.stdout.flush()
            if verdict:
                slow.append(name)
    broker.close()
    return slow


def _seconds(client: TestClient, path: str) -> tuple[float, float]:
    """How long a page takes whose answers nobody has asked for lately, and how much is computed here."""
    client.app.state.console.reads.forget()  # type: ignore[attr-defined]
    begun = time.perf_counter(), time.process_time()
    answer = client.get(path)
    took = time.perf_counter() - begun[0], time.process_time() - begun[1]
    if answer.status_code not in (200, 404) or any(each in answer.text for each in _NO_ANSWERS):
        raise RuntimeError(f"{path} answered {answer.status_code} without all that it asks for")
    return took


def _pages(store: SqlStore) -> dict[str, str]:
    """The address of each page, by its name."""
    last = store.journal.events(limit=100)[-1]
    [letter] = store.dead_letters.list(limit=1, handler=_HANDLER)
    return {
        "Now": "/",
        "Events": "/events",
        "Recent events": "/events/recent",
        "Recent events, the next page": f"/events/recent?{urlencode({'after': last.cursor})}",
        "Recent events, of one name": "/events/recent?name=order-3",
        "Recent events, of a pattern": "/events/recent?name=*-9",
        "Recent events, of a name that there is none of": "/events/recent?name=nobody",
        "Recent events, of an ordering key": "/events/recent?key=user-7000",
        "Recent events, lost, of which there are few": "/events/recent?outcome=lost",
        "Recent events, discarded, of which there are none": "/events/recent?outcome=discarded",
        "Recent events, of a name, failed, of this hour": (
            "/events/recent?name=order-*&outcome=failed&since=1h"
        ),
        "One event": f"/event/{last.id}",
        "One event that died": f"/event/{letter.event_id}",
        "Subscriptions": "/subscriptions",
        **_pages_of_letters(store),
        "Jobs": "/jobs",
        "Outbox": "/outbox",
        "Lanes": "/lanes",
        "Queues and workers": "/queues",
        "Doctor": "/doctor",
        "Audit": "/audit",
        "Search, the start of an id": f"/search?q={last.id[:8]}",
        "Search, an ordering key": "/search?q=user-7000",
        **_pages_of_searches(store),
    }


def _pages_of_letters(store: SqlStore | RedisStore) -> dict[str, str]:
    letters = store.dead_letters
    [group, *_] = letters.groups(handler=_HANDLER)
    [letter] = letters.list(limit=1, handler=_HANDLER)
    deep = letters.list(limit=1, handler=_HANDLER, after=f"{_middle(letter)!r}/")[0].cursor
    return {
        "Dead letters": "/dead",
        "Dead letters, of this hour": "/dead?since=1h",
        "Dead letters, of a subscription": "/dead?subscription=app.handlers.f7",
        "Dead letters, of an event": "/dead?event=mail-3",
        "Dead letters, by the text of the error": "/dead?error=KeyError",
        "Dead letters, by an error that there is none of": "/dead?error=nobody",
        "Dead letters, by a field that one has": "/dead?field=order&value=99000",
        "Dead letters, by a field that many have": "/dead?field=country&value=DE",
        "Letters": "/dead/letters",
        "Letters, a later page": f"/dead/letters?{urlencode({'after': deep})}",
        "Letters, of a group": f"/dead/letters?group={group.id}",
        "Letters, of a group, a later page": f"/dead/letters?{urlencode({'group': group.id, 'after': deep})}",
        "Letters, of a group by the start of its id": f"/dead/letters?group={group.id[:6]}",
        "Letters, of this hour": "/dead/letters?since=1h",
        "Letters, by the text of the error": "/dead/letters?error=KeyError",
        "Letters, by an error that one has": "/dead/letters?error=order+99000+is",
        "Letters, by an error that there is none of": "/dead/letters?error=nobody",
        "Letters, by a field that one has": "/dead/letters?field=order&value=99000",
        "Letters, by a field that many have": "/dead/letters?field=country&value=DE",
        "Letters, by a field that there is none of": "/dead/letters?field=nothing&value=1",
        "One letter": f"/letter/{letter.id}",
    }


def _middle(first: DeadLetter) -> float:
    """The middle of the day that the letters are of."""
    return first.last_at.timestamp() + 86_400 / 2


def _pages_of_searches(store: SqlStore | RedisStore) -> dict[str, str]:
    [letter] = store.dead_letters.list(limit=1, handler=_HANDLER)
    return {
        "Search, what there is none of": "/search?q=nobody",
        "Search, a name": "/search?q=order-*",
        "Search, an event that died": f"/search?q={letter.event_id}",
    }


# Filling


def _fill(store: SqlStore, events: int, letters: int) -> None:
    database = store.journal._database
    chance = random.Random(1)
    is_filled = database.read(lambda c: c.scalar(sa.select(journal_events.c.id).limit(1)))
    for chunk in _chunks(0 if is_filled else events):
        rows, bodies = zip(*(_event(at, chance) for at in chunk), strict=True)
        database.write(_inserting(journal_events, rows))
        database.write(_inserting(journal_records, bodies))
    for chunk in _chunks(0 if is_filled else letters):
        database.write(_inserting(dead_letters, [_row_of(_letter(at, chance)) for at in chunk]))
    database.write(lambda connection: connection.execute(sa.delete(journal_counts)))
    counts = list(_counts())
    for begin in range(0, len(counts), _CHUNK):
        database.write(_inserting(journal_counts, counts[begin : begin + _CHUNK]))
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("ANALYZE" if database.dialect == "sqlite" else "VACUUM ANALYZE"))


def _inserting(table: sa.Table, rows: Any) -> Callable[[sa.Connection], Any]:
    return lambda connection: connection.execute(sa.insert(table), list(rows))


def _chunks(total: int) -> Iterator[range]:
    return (range(begin, min(begin + _CHUNK, total)) for begin in range(0, total, _CHUNK))


def _id(chance: random.Random) -> str:
    text = f"{chance.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _event(at: int, chance: random.Random) -> tuple[dict[str, Any], dict[str, Any]]:
    when, id_ = _BEGIN + at * 86_400 / EVENTS, _id(chance)
    outcomes = ["dispatched", "published", "fanned_out", "started", "succeeded"]
    if at % 20 == 0:
        outcomes += ["failed", "retried"]
    if at % 100_000 == 7:
        outcomes.append("lost")
    row = {
        "id": id_, "name": _NAMES[at % len(_NAMES)], "first_at": when, "last_at": when + chance.random(),
        "outcomes": bits_of(outcomes), "notable": at % 20 == 0 or "lost" in outcomes, "cause": None,
        "correlation": id_, "ordering_key": f"user-{at // 10}" if at % 10 == 3 else None, "payload": None,
    }  # fmt: skip
    ended = {"what": "succeeded", "at": when, "process": "host:2", "subscription": f"app.handlers.f{at % 40}"}
    body = [{"what": "dispatched", "at": when, "process": "host:1"}, ended | {"duration": 0.01}]
    return row, {"event_id": id_, "body": json.dumps(body)}


def _letter(at: int, chance: random.Random) -> DeadLetter:
    when, error, function = _BEGIN + at * 86_400 / LETTERS, _ERRORS[at % 5], f"f{at % 40}"
    frames = "".join(
        f'  File "/srv/app/{module}.py", line {at % 90}, in {function}\n    raise {error}\n'
        for module in ("handlers", "orders", "prices", "clients")
    )
    data = {"order": at, "country": "DE" if at % 3 else "FR", "note": "x" * 300}
    return DeadLetter(
        id=_id(chance), handler=_HANDLER, subscription=f"app.handlers.{function}", queue="events",
        event_id=_id(chance), event_name=_NAMES[at % len(_NAMES)],
        argument=json.dumps(
            {"specversion": "1.0", "id": str(at), "partitionkey": f"user-{at // 10}", "data": data}
        ),
        reason=f"{error}: order {at} is not there",
        traceback=f"Traceback (most recent call last):\n{frames}{error}: order {at} is not there\n",
        attempts=6, first_at=moment(when - 60), last_at=moment(when),
    )  # fmt: skip


def _row_of(letter: DeadLetter) -> dict[str, Any]:
    values = {each: getattr(letter, each) for each in DeadLetter.__dataclass_fields__}
    times = {"first_at": letter.first_at.timestamp(), "last_at": letter.last_at.timestamp()}
    return (
        values
        | times
        | {
            "fingerprint": group_id(letter),
            "event_key": (letter.event_id or "")[:64],
            "ordering_key": ordering_key_in(letter.argument),
        }
    )


def _counts() -> Iterator[dict[str, Any]]:
    """Three hours of 40 names with two functions each, and what a recorder counts of them in a minute."""
    now = int(time.time() // 60) * 60
    for minute in range(now - 3 * 3_600, now + 60, 60):
        for at, name in enumerate(_NAMES):
            for subscription, measures in (
                ("", _OF_EVENTS), (f"app.handlers.f{at}", _OF_CALLS), ("app.handlers.audit", _OF_CALLS)
            ):  # fmt: skip
                for measure in measures:
                    yield {
                        "minute": minute, "event_name": name, "handler": _HANDLER if subscription else "",
                        "subscription": subscription, "measure": measure, "count": 9,
                    }  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
