"""Many at once, and nothing twice."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from fastapi_events.storage.base import NEW, Busy
from fastapi_events.storage.outbox import Entry
from fastapi_events.storage.sqlalchemy import SqlStore
from tests.embedded.conftest import Python, python
from tests.storage.conftest import SQL, opened, postgres_url, schema_of_its_own

__all__ = ["python"]

ENTRIES = 2_000


def entries(number: int, **settings: Any) -> list[Entry]:
    return [Entry(id=str(each), destination="h", envelope="{}", **settings) for each in range(number)]


def in_threads(number: int, work: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=work, args=(each,)) for each in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def claim_all(store: Any, token: str) -> list[str]:
    """Claim until nothing is left; that nothing comes may also mean that others hold the rest just now."""
    found: list[str] = []
    while store.outbox.status().waiting:
        claimed = store.outbox.claim(token, destinations=["h"], limit=17, lease=600)
        found += [entry.id for entry in claimed]
    return found


CLAIM_ALL = """
import sys
from fastapi_events.storage.sqlalchemy import SqlStore
from tests.storage.test_concurrency import claim_all, in_threads
store = SqlStore(sys.argv[1])
found = []
in_threads(4, lambda number: found.extend(claim_all(store, f"{sys.argv[2]}-{number}")))
print(" ".join(found))
store.close()
"""


def claims_of_two_processes(python: Callable[..., Python], url: str) -> list[str]:
    store = SqlStore(url)
    store.setup()
    store.outbox.add(entries(ENTRIES))
    store.close()
    processes = [python(CLAIM_ALL, url, name) for name in "ab"]
    found: list[str] = []
    for process in processes:
        out, err, code = process.finish()
        assert code == 0, err
        found += out.split()
    return found


def test_two_processes_of_four_threads_claim_each_entry_once(
    python: Callable[..., Python],
    tmp_path: Path,
) -> None:
    found = claims_of_two_processes(python, f"sqlite:///{tmp_path / 'events.db'}")
    assert Counter(found) == Counter(str(number) for number in range(ENTRIES))


@pytest.mark.postgres
def test_so_do_they_on_postgresql(python: Callable[..., Python]) -> None:
    with schema_of_its_own() as schema:
        found = claims_of_two_processes(python, f"{postgres_url()}?options=-csearch_path%3D{schema}")
    assert Counter(found) == Counter(str(number) for number in range(ENTRIES))


@pytest.mark.parametrize("kind", SQL)
def test_one_key_never_goes_to_two_relays(kind: str, request: pytest.FixtureRequest) -> None:
    # Given entries that all have one key
    with opened(kind, request, None) as store:
        store.outbox.add(entries(40, ordering_key="cat-7"))
        published: list[str] = []

        # When four relays claim a few at a time, publish them, and say so
        def relay(number: int) -> None:
            while store.outbox.status().oldest is not None:
                claimed = store.outbox.claim(f"relay-{number}", destinations=["h"], limit=3, lease=600)
                published.extend(entry.id for entry in claimed)
                store.outbox.published(f"relay-{number}", claimed)

        in_threads(4, relay)
        # Then they were published in order
        assert published == [str(number) for number in range(40)]


@pytest.mark.parametrize("kind", SQL)
def test_the_last_of_two_receipts_removes_the_entry(kind: str, request: pytest.FixtureRequest) -> None:
    with opened(kind, request, None) as store:
        store.outbox.add(entries(20, confirm="handled"))
        for number in range(20):
            store.outbox.expect(str(number), "h", ["s0", "s1", "s2", "s3"])
        in_threads(
            4,
            lambda each: (
                [store.outbox.receipt(str(number), "h", f"s{each}") for number in range(20)] and None
            ),
        )
        assert store.outbox.list() == []


def test_of_many_who_begin_at_once_one_may(on_own_clock: Any) -> None:
    answers: list[object] = []
    in_threads(8, lambda each: answers.append(on_own_clock.inbox.begin("key", token=str(each), lease=600)))
    assert answers.count(NEW) == 1
    assert len(answers) == 8


def test_many_add_at_once(on_own_clock: Any) -> None:
    if not hasattr(on_own_clock, "outbox"):
        pytest.skip("Redis has no outbox")

    def add(each: int) -> None:
        for number in range(20):
            on_own_clock.outbox.add([Entry(id=f"{each}-{number}", destination="h", envelope="{}")])

    in_threads(4, add)
    assert len(on_own_clock.outbox.list()) == 80


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_opens_connections_of_its_own(on_own_clock: Any) -> None:
    # Given a store that has been used in the parent
    assert on_own_clock.inbox.begin("parent", token="parent", lease=600) is NEW
    # When a child uses it as well
    child = os.fork()
    if not child:  # pragma: no cover
        code = 1
        try:
            answer = on_own_clock.inbox.begin("child", token="child", lease=600)
            on_own_clock.close()
            code = 0 if answer is NEW else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    # Then both see one store, and the parent's connections still work
    assert on_own_clock.inbox.complete("child", token="parent", keep=60) is False
    assert on_own_clock.inbox.complete("parent", token="parent", keep=60) is True


def test_of_what_threads_ask_at_the_same_moment_each_gets_its_own_answer(
    request: pytest.FixtureRequest, valkey_url: str
) -> None:
    begun: Counter[str] = Counter()
    told: dict[tuple[int, str], object] = {}
    with opened("redis", request, None) as store, redis.Redis.from_url(valkey_url) as server:

        def work(number: int) -> None:
            for each in range(60):
                if number == 0 and each % 20 == 10:
                    server.script_flush()
                # Every second one is another thread's, too.
                key = f"{number // (1 + each % 2)}-{each}"
                told[number, key] = store.inbox.begin(key, token=f"{number}", lease=60)

        in_threads(8, work)
        for (_, key), answer in told.items():
            assert answer is NEW or isinstance(answer, Busy)
            begun[key] += answer is NEW

    assert len(begun) == 8 * 30 + 4 * 30
    assert set(begun.values()) == {1}
