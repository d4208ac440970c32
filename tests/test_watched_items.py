"""Items that a thread looks at, again and again, as long as there are any."""

from __future__ import annotations

import os
import threading
import time

import pytest

from fastapi_events import watched_items
from fastapi_events.watched_items import WatchedItems
from tests.processes import until

OFTEN = 0.001


class Looks:
    """What was looked at, and by which thread."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.threads: set[int] = set()

    def __call__(self, item: str) -> bool:
        self.threads.add(threading.get_ident())
        self.seen.append(item)
        return item != "once"


def watching(looks: Looks, every: float = OFTEN) -> WatchedItems[str]:
    return WatchedItems(looks, every=every, name="test-watched-items")


def test_an_item_is_looked_at_again_and_again_while_the_block_runs() -> None:
    items = watching(looks := Looks())

    with items.watch("one"):
        assert not items.is_idle
        until(lambda: looks.seen.count("one") >= 3, "three looks")
    assert items.is_idle
    with items.watch("other"):
        until(lambda: "other" in looks.seen, "a look at the other")  # the round with the one is over
        seen = looks.seen.count("one")
        until(lambda: looks.seen.count("other") >= 3, "three looks at the other")

    assert looks.seen.count("one") == seen


def test_one_that_needs_no_more_looks_gets_none() -> None:
    items = watching(looks := Looks())

    with items.watch("once"), items.watch("other"):
        until(lambda: looks.seen.count("other") >= 3, "three looks at the other")

    assert looks.seen.count("once") == 1


def test_all_items_of_the_process_share_one_thread_that_starts_with_the_first() -> None:
    items = watching(looks := Looks())
    assert items.is_idle

    with items.watch("one"), items.watch("other"):
        until(lambda: {"one", "other"} <= {*looks.seen}, "looks at both")

    assert len(looks.threads) == 1
    assert threading.get_ident() not in looks.threads


def test_a_thread_that_has_had_nothing_to_do_takes_up_the_next_item() -> None:
    items = watching(looks := Looks())
    with items.watch("one"):
        until(lambda: "one" in looks.seen, "a look")
    while not items._here.get().changed._waiters:  # type: ignore[attr-defined]  # until it waits for work
        time.sleep(OFTEN)

    with items.watch("other"):
        until(lambda: "other" in looks.seen, "a look at the other")
    assert len(looks.threads) == 1


def test_a_thread_that_is_idle_ends_and_the_next_item_starts_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched_items, "IDLE_SECONDS", OFTEN)
    items = watching(looks := Looks())
    with items.watch("one"):
        until(lambda: "one" in looks.seen, "a look")
        thread = items._here.get().thread
    assert thread is not None
    thread.join(30)
    assert not thread.is_alive()

    with items.watch("other"):
        until(lambda: "other" in looks.seen, "a look at the other")


def test_an_item_waits_for_its_time_however_many_come_and_go_meanwhile() -> None:
    items = watching(looks := Looks(), every=3_600.0)

    with items.watch("long"):
        for _ in range(100):
            with items.watch("short"):
                pass

    assert looks.seen == []


@pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)  # that is the point
def test_a_forked_child_looks_at_its_own_items_and_not_at_those_of_its_parent() -> None:
    items = watching(looks := Looks())
    with items.watch("parent's"):
        until(lambda: looks.seen, "a look")
        child = os.fork()
        if child == 0:
            good = False
            try:
                looks.seen.clear()
                with items.watch("child's"):
                    until(lambda: len(looks.seen) >= 3, "three looks in the child")
                good = {*looks.seen} == {"child's"}
            finally:
                os._exit(0 if good else 1)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
