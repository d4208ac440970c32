"""What a process knows of the fleet: who else listens, and when a message is passed on."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastapi_events.errors import StorageError
from fastapi_events.handlers.task_queue import announcement
from fastapi_events.handlers.task_queue import fleet as fleet_module
from fastapi_events.handlers.task_queue.fleet import Fleet
from fastapi_events.handlers.task_queue.worker.outcome import TryLater
from fastapi_events.storage.base import Clock
from fastapi_events.storage.catalogue import FORGET_AFTER_SECONDS, Fields, Listing, Worker
from fastapi_events.storage.memory import MemoryCatalogue
from fastapi_events.storage.sqlalchemy import SqlStore
from fastapi_events.subscriptions.plan import plan
from fastapi_events.subscriptions.subscription import Subscription, Subscriptions
from tests.handlers.task_queue.fleets import fleet_of

HANDLER = "list:events"


def subscriptions(*names: str) -> Subscriptions:
    def function(event: Any) -> None: ...

    found = Subscriptions()
    for name in names:
        found.add(Subscription(name, ("cat*",), function, plan(function), "events", module="app.mail"))
    return found


def others(
    catalogue: MemoryCatalogue, *names: str, module: str = "app.others", version: str | None = None
) -> None:
    """Another worker has booted, with functions of these names."""
    worker = Worker(
        id="other", host="there", pid=1, engine="list", queues=("events",), modules=(module,),
        subscriptions=names, version=version,
    )  # fmt: skip
    catalogue.announce(
        HANDLER,
        worker,
        [
            Listing(name=each, patterns=("cat*",), queue="events", engine="list", module=module)
            for each in names
        ],
    )


class Away(MemoryCatalogue):
    """A catalogue that cannot be read while it is away."""

    away = False
    asked = 0

    def _read(self, destination: str) -> tuple[Fields, float]:
        self.asked += 1
        if self.away:
            raise StorageError("the store is away")
        return super()._read(destination)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Fleet]]:
    """Fleets whose threads end with the test; nobody waits until others know."""
    monkeypatch.setattr(announcement, "SETTLE_SECONDS", 0.0)
    fleets: list[Fleet] = []
    yield fleets
    for each in fleets:
        each.leave()


def test_who_listens_are_the_functions_of_this_process_and_of_others(started: list[Fleet]) -> None:
    catalogue = MemoryCatalogue()
    others(catalogue, "bill", "mail")
    fleet = fleet_of(subscriptions("mail"), catalogue)
    started.append(fleet)

    assert [each.name for each in fleet.match("cat-fed")] == ["mail", "bill"]
    assert list(fleet.match("dog-fed")) == []
    assert fleet.named("bill") is not None
    assert fleet.named("nobody") is None


def test_a_forked_child_reads_the_catalogue_before_it_goes_by_what_its_parent_knew(
    started: list[Fleet], tmp_path: Path
) -> None:
    store = SqlStore.open(tmp_path / "fleet.db")
    fleet = fleet_of(subscriptions("mail"), store.catalogue)
    fleet.boot(["events"], engine="list")
    others(store.catalogue, "bill")

    child = os.fork()
    if child == 0:
        found = [each.name for each in fleet.match("cat-fed")]
        os._exit(0 if found == ["mail", "bill"] else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    fleet.leave()
    store.close()


def test_what_is_old_is_read_again_before_it_is_used(
    started: list[Fleet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_module, "REFRESH_SECONDS", 3_600.0)  # a thread that has no turn
    catalogue = MemoryCatalogue()
    fleet = fleet_of(subscriptions("mail"), catalogue)
    started.append(fleet)
    fleet.look()
    others(catalogue, "bill")
    assert [each.name for each in fleet.match("cat-fed")] == ["mail"]

    now = time.monotonic()
    monkeypatch.setattr(fleet_module.time, "monotonic", lambda: now + 2.1)

    assert [each.name for each in fleet.match("cat-fed")] == ["mail", "bill"]


def test_a_store_that_is_away_is_not_asked_for_each_message(
    started: list[Fleet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_module, "REFRESH_SECONDS", 3_600.0)
    catalogue = Away()
    others(catalogue, "bill")
    fleet = fleet_of(subscriptions("mail"), catalogue)
    started.append(fleet)
    fleet.look()
    now, asked = time.monotonic(), catalogue.asked
    monkeypatch.setattr(fleet_module.time, "monotonic", lambda: now + 60)
    catalogue.away = True

    for _ in range(10):
        assert [each.name for each in fleet.match("cat-fed")] == ["mail", "bill"]

    assert catalogue.asked == asked + 1


def test_without_a_catalogue_a_process_knows_itself_only() -> None:
    fleet = fleet_of(subscriptions("mail"))

    assert [each.name for each in fleet.match("cat-fed")] == ["mail"]
    assert fleet.elsewhere("bill", ["{}"]) is None


def test_a_message_is_passed_on_at_once_while_a_live_worker_has_its_function(started: list[Fleet]) -> None:
    catalogue = MemoryCatalogue()
    others(catalogue, "bill")
    fleet = fleet_of(subscriptions("mail"), catalogue)
    started.append(fleet)

    waits = [fleet.elsewhere("bill", ["{}"]) for _ in range(12)]

    assert waits[0] == 0.0
    assert waits[-1] is not None
    assert 0.0 < waits[-1] <= 2.0  # it comes back again and again
    assert fleet.elsewhere("bill", ["another"]) == 0.0
    assert fleet.elsewhere("unheard-of", ["{}"]) is None


def test_a_message_waits_for_a_function_none_of_whose_workers_is_alive(started: list[Fleet]) -> None:
    now = [1_800_000_000.0]
    clock: Clock = lambda: now[0]  # noqa: E731
    catalogue = MemoryCatalogue(clock=clock)
    others(catalogue, "bill")
    now[0] += 60
    fleet = fleet_of(subscriptions("mail"), catalogue)
    started.append(fleet)

    wait = fleet.elsewhere("bill", ["{}"])

    assert wait is not None
    assert 0.75 <= wait <= 30.0


def test_a_boot_announces_what_the_worker_has_and_its_end_takes_it_off_the_list(started: list[Fleet]) -> None:
    catalogue = MemoryCatalogue()
    fleet = fleet_of(subscriptions("mail"), catalogue)
    started.append(fleet)

    fleet.boot(["events"], engine="list")

    snapshot = catalogue.read(HANDLER)
    assert [each.name for each in snapshot.listings] == ["mail"]
    assert [each.subscriptions for each in snapshot.workers] == [("mail",)]
    fleet.leave()
    assert catalogue.read(HANDLER).workers == ()
    assert [each.name for each in catalogue.read(HANDLER).listings] == ["mail"]


def test_unlike_workers_on_one_queue_are_told_by_name(
    started: list[Fleet], caplog: pytest.LogCaptureFixture
) -> None:
    catalogue = MemoryCatalogue()
    others(catalogue, "bill")
    fleet = fleet_of(subscriptions("mail"), catalogue)
    started.append(fleet)

    with caplog.at_level(logging.WARNING):
        fleet.boot(["events"], engine="list")

    assert "'events'" in caplog.text
    assert "bill" in caplog.text
    assert "queue of their own" in caplog.text


def test_a_worker_without_a_function_says_so(started: list[Fleet], caplog: pytest.LogCaptureFixture) -> None:
    fleet = fleet_of(subscriptions(), MemoryCatalogue())
    started.append(fleet)

    with caplog.at_level(logging.WARNING):
        fleet.boot(["events"], engine="list")

    assert "has no function of list:events" in caplog.text


@pytest.mark.parametrize("version", [None, "1.2"])
def test_workers_that_register_conditionally_in_one_module_are_told_that_they_replace_each_other(
    started: list[Fleet],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    version: str | None,
) -> None:
    if version is not None:
        monkeypatch.setenv("FASTAPI_EVENTS_APPLICATION_VERSION", version)
    catalogue = MemoryCatalogue()
    others(catalogue, "bill", "mail", module="app.mail", version=version)
    fleet = fleet_of(subscriptions("mail"), catalogue)
    started.append(fleet)

    with caplog.at_level(logging.WARNING):
        fleet.boot(["events"], engine="list")

    assert "does not register bill, which a live worker of" in caplog.text
    assert [each.name for each in catalogue.read(HANDLER).listings] == ["mail"]


@pytest.mark.parametrize(
    ("module", "version"), [("app.others", None), ("app.mail", "1.1")], ids=["other module", "older version"]
)
def test_a_deploy_and_other_modules_are_nothing_to_be_told_of(
    started: list[Fleet], caplog: pytest.LogCaptureFixture, module: str, version: str | None
) -> None:
    catalogue = MemoryCatalogue()
    others(catalogue, "bill", module=module, version=version)
    fleet = fleet_of(subscriptions("mail"), catalogue)
    started.append(fleet)

    with caplog.at_level(logging.WARNING):
        fleet.boot(["events"], engine="list")

    assert "does not register" not in caplog.text


def test_a_function_none_of_whose_workers_was_heard_of_for_long_is_unknown_again(
    started: list[Fleet],
) -> None:
    now = [1_800_000_000.0]
    catalogue = MemoryCatalogue(clock=lambda: now[0])
    others(catalogue, "bill")
    now[0] += FORGET_AFTER_SECONDS - 1
    fleet = fleet_of(subscriptions("mail"), catalogue)
    started.append(fleet)
    fleet.boot(["events"], engine="list")
    fleet._attempt(expires=True)
    assert fleet.elsewhere("bill", ["{}"]) is not None

    now[0] += 2
    fleet._attempt(expires=True)

    assert fleet.elsewhere("bill", ["{}"]) is None
    assert [each.name for each in fleet.match("cat-fed")] == ["mail"]


def test_a_store_that_is_away_leaves_what_is_known_in_force_and_says_so_once(
    started: list[Fleet], caplog: pytest.LogCaptureFixture
) -> None:
    catalogue = Away()
    others(catalogue, "bill")
    fleet = fleet_of(subscriptions("mail"), catalogue)
    started.append(fleet)
    assert len(fleet.match("cat-fed")) == 2

    catalogue.away = True
    for _ in range(3):
        fleet._attempt()

    assert len(fleet.match("cat-fed")) == 2
    assert caplog.text.count("cannot be reached") == 1


def test_events_are_not_shared_out_before_the_catalogue_could_be_read(started: list[Fleet]) -> None:
    catalogue = Away()
    catalogue.away = True
    fleet = fleet_of(subscriptions("mail"), catalogue)
    started.append(fleet)

    with pytest.raises(TryLater):
        fleet.match("cat-fed")
