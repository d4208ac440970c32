"""Hooks, observers, and what is logged by default."""

from __future__ import annotations

import dataclasses
import logging

import pytest

from fastapi_events import lifecycle
from fastapi_events.context import reported
from fastapi_events.event import Event
from fastapi_events.lifecycle import (
    Lifecycle,
    LogLifecycle,
    forget,
    observe,
    report_failure,
    report_unreported,
    tell,
)
from tests.recording import Diary


def test_only_those_who_listen_are_called() -> None:
    heard: list[str] = []

    class Losses(Lifecycle):
        def lost(self, event: Event, *, handler: str, reason: str) -> None:
            heard.append(reason)

    observer = Losses()
    observe(observer)
    tell(Lifecycle.lost, Event("hello"), handler="h", reason="gone")
    tell(Lifecycle.relayed, 1, handler="h")
    assert Lifecycle.lost in lifecycle.heard
    assert Lifecycle.relayed not in lifecycle.heard
    forget(observer)
    tell(Lifecycle.lost, Event("hello"), handler="h", reason="again")

    assert heard == ["gone"]
    assert lifecycle.listeners(Lifecycle.relayed) == []


def test_an_observer_that_fails_harms_nobody(diary: Diary, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Lifecycle):
        def dispatched(self, event: Event) -> None:
            raise ValueError("broken observer")

    broken = Broken()
    observe(broken)
    try:
        tell(Lifecycle.dispatched, Event("hello"))
    finally:
        forget(broken)

    assert [name for name, _ in diary.of("dispatched")] == ["hello"]
    assert "broken observer" in caplog.text


def test_a_failure_is_told_once_in_a_delivery(diary: Diary) -> None:
    error, event = ValueError("no"), Event("hello")

    for _ in range(2):
        token = reported.set({})
        report_failure([event], handler="inner", error=error, subscription="work")
        report_unreported([event], handler="outer", error=error)
        report_unreported([event], handler="outer", error=ExceptionGroup("", [error, KeyError()]))
        reported.reset(token)

    told = [(rest["handler"], type(rest["error"])) for _, rest in diary.of("failed")]
    assert told == [("inner", ValueError), ("outer", KeyError)] * 2


def test_outside_of_a_delivery_each_failure_is_told(diary: Diary) -> None:
    error = ValueError("no")
    report_unreported([Event("hello")], handler="h", error=error)
    report_unreported([Event("hello")], handler="h", error=error)
    assert len(diary.of("failed")) == 2


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: int


def test_nothing_is_written_on_an_error(diary: Diary) -> None:
    error = Frozen(5)
    token = reported.set({})
    report_failure([Event("hello")], handler="h", error=error)
    report_unreported([Event("hello")], handler="h", error=error)
    reported.reset(token)
    assert len(diary.of("failed")) == 1
    assert not hasattr(error, "__notes__")


def test_what_is_lost_failed_or_dead_is_logged_with_its_id_and_never_with_its_payload(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    event = Event("hello", {"secret": "swordfish"})
    log, error = LogLifecycle(), ValueError("no")

    log.lost(event, handler="H", reason="the broker is away")
    log.failed([event], handler="H", subscription="work", error=error)
    log.retried(event, subscription="work", error=error, attempt=1, wait=2.0)
    log.dead(event, subscription="work", reason="ValueError: no", attempts=3)
    log.dead(None, subscription="work", reason="not an event", attempts=1)
    log.unmatched(event, handler="H")

    assert [record.levelname for record in caplog.records] == [
        "ERROR", "ERROR", "WARNING", "ERROR", "ERROR", "WARNING",
    ]  # fmt: skip
    assert all(event.id in record.getMessage() for record in caplog.records if "hello" in record.getMessage())
    assert "swordfish" not in caplog.text


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (1, "Event 'cat' (0) of list:events waits in the outbox: the broker is away"),
        (2, "2 events of list:events wait in the outbox, 'cat' (0) first: the broker is away"),
    ],
)
def test_what_waits_is_told_in_the_number_that_it_has(
    count: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    events = [Event("cat", id=str(number)) for number in range(count)]

    LogLifecycle().stored(events, handler="list:events", reason="the broker is away")

    assert caplog.messages == [said]


@pytest.mark.parametrize(("attempts", "said"), [(1, "after 1 attempt, now"), (6, "after 6 attempts, now")])
def test_attempts_are_told_in_the_number_that_they_have(
    attempts: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    LogLifecycle().dead(Event("cat"), subscription="cook", reason="no fish", attempts=attempts)

    assert said in caplog.text


def test_that_nobody_listens_is_said_once_a_minute_for_each_name_with_a_count(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1_000.0]
    monkeypatch.setattr(lifecycle.time, "monotonic", lambda: now[0])
    log = LogLifecycle()

    for _ in range(1_000):
        log.unmatched(Event("hello"), handler="H")
    log.unmatched(Event("bye"), handler="H")
    log.unmatched(Event("hello"), handler="other")
    assert [record.getMessage().split(" (")[0] for record in caplog.records] == [
        "Nobody listens to event 'hello' in H",
        "Nobody listens to event 'bye' in H",
        "Nobody listens to event 'hello' in other",
    ]
    assert "another application that uses the same queue" in caplog.text

    now[0] += 60
    caplog.clear()
    log.unmatched(Event("hello"), handler="H")

    assert "'hello' in H: 1000 since this was said last" in caplog.text
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_names_without_end_are_counted_together(caplog: pytest.LogCaptureFixture) -> None:
    log = LogLifecycle()

    for number in range(2_000):
        log.unmatched(Event(f"hello-{number}"), handler="H")

    assert len(caplog.records) == 1_001
