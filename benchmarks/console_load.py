"""Time what each page of the console asks of a full store.

```console
$ python -m benchmarks.console_load
$ python -m benchmarks.console_load --url postgresql://events@localhost/events
```

It fills a journal with 1,000,000 events and a store with 100,000 dead letters, and then asks each question
several times. An existing database is filled only once, so that the second run is quick.
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
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from fastapi_events.storage.base import moment
from fastapi_events.storage.dead_letters import DeadLetter
from fastapi_events.storage.histories import bits_of
from fastapi_events.storage.journal import Count
from fastapi_events.storage.letters import group_id
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
_HANDLER: Final = "dramatiq:events"
_NAMES: Final = tuple(f"{one}-{two}" for one in ("order", "card", "user", "mail") for two in range(10))
_BEGIN: Final = time.time() - 86_400.0
_ERRORS: Final = ("ValueError", "KeyError", "TimeoutError", "httpx.ConnectError", "OSError")


def main() -> int:
    """Fill, ask, and print a table; 1 where a question takes too long."""
    parser = argparse.ArgumentParser(description="Time what each page of the console asks of a full store.")
    parser.add_argument("--url", help="the database; a SQLite file that is removed afterwards if not given")
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--letters", type=int, default=LETTERS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="console-load-") as folder:
        url = arguments.url or f"sqlite:///{folder}/load.db"
        store = SqlStore(url, max_events=arguments.events * 2)
        store.setup()
        _fill(store, arguments.events, arguments.letters)
        slow = _ask(store)
        store.close()
    return 1 if slow else 0


def _ask(store: SqlStore) -> list[str]:
    slow = []
    for name, question in _questions(store).items():
        seconds = []
        for _ in range(_TIMES):
            begun = time.perf_counter()
            question()
            seconds.append(time.perf_counter() - begun)
        took = statistics.median(seconds)
        verdict = "" if took < LIMIT_SECONDS else "  too slow"
        sys.stdout.write(f"{name:<52}{took * 1_000:8.1f} ms{verdict}\n")
        if verdict:
            slow.append(name)
    return slow


def _questions(store: SqlStore) -> dict[str, Callable[[], Any]]:
    """What the pages ask, by the page."""
    letters, journal = store.dead_letters, store.journal
    since = datetime.now(UTC) - timedelta(hours=1)
    last = journal.events(limit=100)[-1]
    [group, *_] = letters.groups(handler=_HANDLER)
    [letter] = letters.list(limit=1, handler=_HANDLER)
    deep = letters.list(limit=1, handler=_HANDLER, after=f"{_BEGIN + 86_400 / 2!r}/")[0].cursor
    return {
        "header: count of dead letters": lambda: letters.count(handler=_HANDLER),
        "Now: counts of the last hour": lambda: journal.counts(since),
        "Now: the last notable events": lambda: journal.events(limit=20, outcome="failed"),
        "Events: the latest": lambda: journal.events(limit=100),
        "Events: the next page": lambda: journal.events(limit=100, after=last.cursor),
        "Events: of one name": lambda: journal.events(limit=100, name="order-3"),
        "Events: of a pattern": lambda: journal.events(limit=100, name="*-9"),
        "Events: of a name that there is none of": lambda: journal.events(limit=100, name="nobody"),
        "Events: lost, of which there are few": lambda: journal.events(limit=100, outcome="lost"),
        "Events: discarded, of which there are none": lambda: journal.events(limit=100, outcome="discarded"),
        "One event: its records": lambda: journal.records(last.id),
        "One event: its chain": lambda: journal.chain(last.id),
        "Search: the beginning of an event's id": lambda: journal.find(last.id[:8]),
        "Search: an id that there is none of": lambda: journal.find("zzz"),
        "Search: an event among the dead letters": lambda: letters.find(
            letter.event_id or "", handler=_HANDLER
        ),
        "Dead letters: groups": lambda: letters.groups(handler=_HANDLER),
        "Dead letters: a group's first page": lambda: letters.list(handler=_HANDLER, group=group.id),
        "Dead letters: a group's later page": lambda: letters.list(
            handler=_HANDLER, group=group.id, after=deep
        ),
        "Dead letters: a group's count": lambda: letters.count(handler=_HANDLER, group=group.id),
        "Dead letters: the first page": lambda: letters.list(handler=_HANDLER),
        "Dead letters: a later page": lambda: letters.list(handler=_HANDLER, after=deep),
        "Dead letters: of a subscription": lambda: letters.list(
            handler=_HANDLER, subscription="app.handlers.f7"
        ),
        "Dead letters: of an event": lambda: letters.list(handler=_HANDLER, event_name="mail-3"),
        "Dead letters: one": lambda: letters.get(letter.id),
        "Audit": lambda: journal.actions(limit=100),
    }


# Filling


def _fill(store: SqlStore, events: int, letters: int) -> None:
    database = store.journal._database
    chance = random.Random(1)
    there = database.read(lambda c: c.scalar(sa.select(sa.func.count()).select_from(journal_events)))
    if there:
        return
    for chunk in _chunks(events):
        rows, bodies = zip(*(_event(at, chance) for at in chunk), strict=True)
        database.write(_inserting(journal_events, rows))
        database.write(_inserting(journal_records, bodies))
    for chunk in _chunks(letters):
        database.write(_inserting(dead_letters, [_letter(at, chance) for at in chunk]))
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
        "correlation": id_, "payload": None,
    }  # fmt: skip
    ended = {"what": "succeeded", "at": when, "process": "host:2", "subscription": f"app.handlers.f{at % 40}"}
    body = [{"what": "dispatched", "at": when, "process": "host:1"}, ended | {"duration": 0.01}]
    return row, {"event_id": id_, "body": json.dumps(body)}


def _letter(at: int, chance: random.Random) -> dict[str, Any]:
    when, error, function = _BEGIN + at * 86_400 / LETTERS, _ERRORS[at % 5], f"f{at % 40}"
    frames = "".join(
        f'  File "/srv/app/{module}.py", line {at % 90}, in {function}\n    raise {error}\n'
        for module in ("handlers", "orders", "prices", "clients")
    )
    letter = DeadLetter(
        id=_id(chance), handler=_HANDLER, subscription=f"app.handlers.{function}", queue="events",
        event_id=_id(chance), event_name=_NAMES[at % len(_NAMES)],
        argument=json.dumps({"specversion": "1.0", "id": str(at), "data": {"order": at, "note": "x" * 300}}),
        reason=f"{error}: order {at} is not there",
        traceback=f"Traceback (most recent call last):\n{frames}{error}: order {at} is not there\n",
        attempts=6, first_at=moment(when - 60), last_at=moment(when),
    )  # fmt: skip
    values = {each: getattr(letter, each) for each in DeadLetter.__dataclass_fields__}
    times = {"first_at": letter.first_at.timestamp(), "last_at": letter.last_at.timestamp()}
    return values | times | {"fingerprint": group_id(letter), "event_key": (letter.event_id or "")[:64]}


def _counts() -> Iterator[dict[str, Any]]:
    now = int(time.time() // 60) * 60
    for minute in range(now - 3 * 3_600, now + 60, 60):
        for at, name in enumerate(_NAMES):
            for measure in ("started", "succeeded", "failed", "duration<=0.05", "duration<=0.1", "age<=0.1"):
                count = Count(
                    minute=minute,
                    event_name=name,
                    subscription=f"app.handlers.f{at}",
                    measure=measure,
                    count=9,
                )
                yield {
                    "minute": count.minute, "event_name": count.event_name,
                    "subscription": count.subscription, "measure": count.measure, "count": count.count,
                }  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
