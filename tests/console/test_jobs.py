"""Jobs go on in the background, one process at a time, whatever becomes of the one that began."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from fastapi_events.console.jobs import Jobs
from fastapi_events.storage.jobs import LEASE_SECONDS, Job
from fastapi_events.storage.memory import MemoryStore
from tests.console.conftest import Shop
from tests.handlers.task_queue.broker import ListHandler
from tests.processes import until


@pytest.fixture
def jobs(shop: Shop) -> Iterator[Jobs]:
    made = Jobs(shop.handlers)
    yield made
    made.stop()


def job(id_: str = "1", **more: Any) -> Job:
    values: dict[str, Any] = {"verb": "replay", "by": "alice", "began": time.time(), **more}
    return Job(id=id_, **values)


def state(jobs: Jobs, id_: str = "1") -> str:
    found = jobs.find(id_)
    return "" if found is None else found[1].state


def test_a_job_replays_what_was_there_when_it_began(shop: Shop, jobs: Jobs) -> None:
    for number in range(1, 6):
        shop.letter(number)

    jobs.begin(shop.events, job())
    again = jobs.begin(shop.events, job(by="mallory"))

    until(lambda: state(jobs) == "done", "it is done")
    assert again.by == "alice"
    [done] = jobs.of(shop.events)
    assert jobs.of(shop.mail) == []
    assert (done.done, done.total) == (5, 5)
    assert len(shop.events.sent) == 5


def test_it_is_stopped_and_goes_on(shop: Shop, jobs: Jobs) -> None:
    for number in range(1, 41):
        shop.letter(number)
    jobs.begin(shop.events, job(rate=10.0))
    until(lambda: len(shop.events.sent) >= 2, "it has begun")

    assert jobs.interrupt(shop.events, "1", by="bob")
    assert not jobs.interrupt(shop.events, "1", by="bob")
    until(lambda: state(jobs) == "stopped" and not jobs._runs, "it has stopped")
    sent = len(shop.events.sent)
    assert sent < 40

    assert jobs.go_on(shop.events, "1", by="bob")
    until(lambda: len(shop.events.sent) > sent, "it goes on")
    found = jobs.find("1")
    assert found is not None
    assert found[1].state == "running"
    assert [each.what for each in shop.store.journal.actions()][:1] == ["went on with"]


def test_another_process_goes_on_where_one_has_stopped(shop: Shop, jobs: Jobs) -> None:
    for number in range(1, 41):
        shop.letter(number)
    jobs.begin(shop.events, job(rate=40.0))
    until(lambda: len(shop.events.sent) >= 2, "it has begun")
    jobs.stop()
    assert not any(each.name == "fastapi-events-job-1" for each in threading.enumerate())
    assert jobs._runs == {}  # the first process has let it go
    sent = [each.id for each in shop.events.sent]
    assert len(sent) < 40

    other = Jobs(shop.handlers)
    other.start()
    try:
        until(lambda: state(other) == "done", "the other has done it")
    finally:
        other.stop()

    assert sorted(each.id for each in shop.events.sent) == sorted(
        f"letter-{number}" for number in range(1, 41)
    )
    assert len(shop.events.sent) == 40
    assert [each.done for each in other.of(shop.events)] == [40]


def test_who_takes_over_from_a_process_that_was_killed_counts_what_that_one_has_done(
    shop: Shop, jobs: Jobs
) -> None:
    for number in range(1, 4):
        shop.letter(number)
    # Given a job of five letters, of which a process has done two, and told of none before it was killed
    killed = job().held("somebody else", time.time() - LEASE_SECONDS, total=5)
    shop.store.catalogue.change_job(shop.events.name, "1", lambda before, now: killed)

    jobs.start()

    until(lambda: state(jobs) == "done", "it is done")
    [done] = jobs.of(shop.events)
    assert (done.done, done.total) == (5, 5)
    assert len(shop.events.sent) == 3


def test_a_store_that_hangs_holds_up_no_lease_of_another_one(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_asked, answers = threading.Event(), threading.Event()

    def hang(handler: str) -> Sequence[Job]:
        is_asked.set()
        answers.wait(60)
        return ()

    store = MemoryStore()
    monkeypatch.setattr(store.catalogue, "jobs", hang)
    slow = ListHandler(queue="slow", store=store, catalogue=store.catalogue, relay=False)
    shop.letter()
    kept = shop.store.catalogue
    kept.change_job(shop.events.name, "1", lambda before, now: replace(job(), changed=now))
    jobs = Jobs([slow, shop.events])
    jobs.start()
    try:
        assert is_asked.wait(60)
        until(lambda: kept.jobs(shop.events.name)[0].state == "done", "it is done meanwhile")
    finally:
        answers.set()
        jobs.stop()


def test_a_store_that_is_away_is_said_once(
    shop: Shop, jobs: Jobs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[str] = []

    def fail(handler: str) -> Sequence[Job]:
        asked.append(handler)
        raise ConnectionError("away")

    monkeypatch.setattr(shop.store.catalogue, "jobs", fail)
    for _ in range(3):
        jobs._look(shop.events)

    assert asked == [shop.events.name] * 3
    [said] = [each.getMessage() for each in caplog.records]
    assert said == "The jobs of dramatiq:events cannot be looked at: away"


def test_one_that_fails_says_why_and_can_go_on(shop: Shop, jobs: Jobs) -> None:
    shop.letter()
    jobs.begin(shop.events, job(max_in_flight=0))
    until(lambda: state(jobs) == "failed", "it has failed")
    found = jobs.find("1")
    assert found is not None
    assert "max_in_flight" in found[1].trouble
    assert jobs.go_on(shop.events, "1", by="alice")


def test_letters_are_discarded(shop: Shop, jobs: Jobs) -> None:
    shop.letter(1)
    shop.letter(2, reason="KeyError: 'cat'")
    jobs.begin(shop.events, job(verb="discard", matching={"error": "KeyError"}))
    until(lambda: state(jobs) == "done", "it is done")
    assert [each.id for each in shop.store.dead_letters.list()] == ["letter-1"]
    assert shop.events.sent == []


def test_where_there_is_no_catalogue_jobs_are_those_of_this_process(shop: Shop) -> None:
    jobs = Jobs([shop.bare])
    jobs.begin(shop.bare, job())
    try:
        until(lambda: state(jobs) == "failed", "it has failed: there is no store of letters either")
    finally:
        jobs.stop()
    assert not jobs.is_kept(shop.bare)
