"""The catalogue of a fleet: what one worker announces, all others read."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from typing import Any

from fastapi_events.storage.catalogue import Change, Listing, Worker
from fastapi_events.storage.jobs import LEASE_SECONDS, Job, filter_as_json
from fastapi_events.storage.letters import LetterFilter

HANDLER = "dramatiq:events"
BEGIN = datetime(2026, 7, 1, tzinfo=UTC)


def listing(name: str, module: str = "app.mail", **more: Any) -> Listing:
    return Listing(name=name, patterns=("cat*",), queue="events", engine="dramatiq", module=module, **more)


def worker(id_: str, *subscriptions: str, modules: tuple[str, ...] = ("app.mail",)) -> Worker:
    return Worker(
        id=id_, host="here", pid=1, engine="dramatiq", queues=("events",), modules=modules,
        subscriptions=subscriptions,
    )  # fmt: skip


def listed(store: Any, destination: str = HANDLER) -> list[str]:
    return [each.name for each in store.catalogue.read(destination).listings]


def alive(store: Any) -> list[str]:
    return [each.id for each in store.catalogue.read(HANDLER).workers]


def test_what_a_worker_announces_is_read_as_it_was(store: Any, clock: Any) -> None:
    one = listing(
        "feed", batch_size=10, once=True, retry={"max_retries": 5}, payload="Fish",
        payload_schema={"type": "object", "required": ["kind"], "title": "Fisch 🐟"}, version="1.2",
    )  # fmt: skip

    store.catalogue.announce(HANDLER, worker("w", "feed"), [one])

    found = store.catalogue.read(HANDLER)
    assert [(each.name, each.since) for each in found.listings] == [("feed", clock.now)]
    assert found.listings[0].payload_schema == one.payload_schema
    assert (found.listings[0].patterns, found.listings[0].batch_size, found.listings[0].once) == (
        ("cat*",), 10, True,
    )  # fmt: skip
    assert [(each.id, each.subscriptions, each.heard_at) for each in found.workers] == [
        ("w", ("feed",), clock.now)
    ]
    assert found.workers_of("feed") == found.workers
    assert found.workers_of("other") == ()


def test_nothing_is_known_of_a_handler_that_nobody_announced(store: Any) -> None:
    assert listed(store) == []
    assert alive(store) == []


def test_handlers_are_strangers_to_each_other(store: Any) -> None:
    store.catalogue.announce(HANDLER, worker("w"), [listing("feed")])

    assert listed(store, "dramatiq:other") == []


def test_a_boot_replaces_what_its_modules_announced_and_touches_nobody_elses(store: Any) -> None:
    catalogue = store.catalogue
    catalogue.announce(HANDLER, worker("a"), [listing("feed"), listing("mail")])
    catalogue.announce(HANDLER, worker("b", modules=("app.bills",)), [listing("bill", "app.bills")])

    catalogue.announce(HANDLER, worker("c"), [listing("feed"), listing("post")])
    assert listed(store) == ["bill", "feed", "post"]

    # a rolled back deploy announces the old set again
    catalogue.announce(HANDLER, worker("d"), [listing("feed"), listing("mail")])
    assert listed(store) == ["bill", "feed", "mail"]

    # and a module without functions has none any more
    catalogue.announce(HANDLER, worker("e", modules=("app.bills",)), [])
    assert listed(store) == ["feed", "mail"]


def test_a_function_that_has_moved_to_another_module_is_listed_once(store: Any) -> None:
    store.catalogue.announce(HANDLER, worker("a"), [listing("feed")])
    store.catalogue.announce(HANDLER, worker("b", modules=("app.food",)), [listing("feed", "app.food")])

    store.catalogue.announce(HANDLER, worker("c"), [])

    assert [each.module for each in store.catalogue.read(HANDLER).listings] == ["app.food"]


def test_a_listing_says_since_when_it_is_as_it_is(store: Any, clock: Any) -> None:
    began = clock.now
    store.catalogue.announce(HANDLER, worker("a"), [listing("feed"), listing("mail")])
    clock.forward(60)

    store.catalogue.announce(HANDLER, worker("b"), [listing("feed"), listing("mail", once=True)])

    assert [each.since for each in store.catalogue.read(HANDLER).listings] == [began, clock.now]


def test_a_worker_that_falls_silent_is_off_the_list_and_what_it_listed_stays(store: Any, clock: Any) -> None:
    catalogue = store.catalogue
    catalogue.announce(HANDLER, worker("killed"), [listing("feed")])
    catalogue.announce(HANDLER, worker("alive"), [listing("feed")])
    clock.forward(8)
    assert catalogue.heard(HANDLER, worker("alive")) is True
    clock.forward(3)

    assert alive(store) == ["alive"]
    assert catalogue.expire(HANDLER) == 0
    assert alive(store) == ["alive"]
    assert catalogue.heard(HANDLER, worker("killed")) is False
    assert listed(store) == ["feed"]


def test_a_worker_that_ends_is_off_the_list_at_once(store: Any) -> None:
    store.catalogue.announce(HANDLER, worker("w"), [listing("feed")])

    store.catalogue.leave(HANDLER, "w")

    assert alive(store) == []
    assert listed(store) == ["feed"]
    assert store.catalogue.heard(HANDLER, worker("w")) is False


def test_a_listing_is_forgotten_by_command(store: Any) -> None:
    store.catalogue.announce(HANDLER, worker("w"), [listing("feed"), listing("mail")])

    assert store.catalogue.forget(HANDLER, "feed") is True
    assert store.catalogue.forget(HANDLER, "feed") is False
    assert listed(store) == ["mail"]


def test_a_listing_is_forgotten_when_none_of_its_workers_was_heard_of(store: Any, clock: Any) -> None:
    mail, bills = worker("mail"), worker("bills", modules=("app.bills",))
    store.catalogue.announce(HANDLER, mail, [listing("feed")])
    store.catalogue.announce(HANDLER, bills, [listing("bill", "app.bills")])
    clock.forward(80)
    store.catalogue.heard(HANDLER, bills)
    clock.forward(30)

    assert store.catalogue.expire(HANDLER, forget_after=100) == 1

    assert listed(store) == ["bill"]
    assert store.catalogue.expire(HANDLER, forget_after=100) == 0


def test_what_another_version_wrote_beside_is_left_alone(store: Any) -> None:
    store.catalogue.announce(HANDLER, worker("w"), [listing("feed")])
    beside = {
        "listing/new": json.dumps({"name": "new"}),  # lacks what this version needs
        "listing/odd": "[1]",
        "moon/phase": "full",
        "listing/more": json.dumps({
            "name": "more", "patterns": ["*"], "queue": "q", "engine": "celery", "module": "m", "colour": 3,
        }),
    }  # fmt: skip
    store.catalogue._change(HANDLER, lambda found, now: Change(beside))

    assert listed(store) == ["feed", "more"]
    store.catalogue.announce(HANDLER, worker("w"), [listing("feed")])
    assert "moon/phase" in store.catalogue._read(HANDLER)[0]


def test_many_workers_that_boot_at_once_are_all_listed(on_own_clock: Any) -> None:
    def boot(number: int) -> None:
        module = f"app.module{number}"
        one = listing(f"function{number}", module)
        on_own_clock.catalogue.announce(HANDLER, worker(str(number), modules=(module,)), [one])
        assert on_own_clock.catalogue.heard(HANDLER, worker(str(number), modules=(module,)))

    threads = [threading.Thread(target=boot, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len(listed(on_own_clock)) == 8
    assert len(alive(on_own_clock)) == 8


# Pauses


def paused(store: Any, destination: str = HANDLER) -> list[str]:
    return [each.subscription for each in store.catalogue.read(destination).paused]


def test_a_pause_lasts_until_it_is_resumed(store: Any, clock: Any) -> None:
    made = store.catalogue.pause(HANDLER, "feed", duration=None, by="ada")

    clock.now += 30 * 86_400
    store.catalogue.expire(HANDLER)
    assert store.catalogue.read(HANDLER).paused == (made,)
    assert (made.subscription, made.until, made.by) == ("feed", None, "ada")
    assert paused(store, "dramatiq:other") == []

    assert store.catalogue.resume(HANDLER, "feed")
    assert paused(store) == []
    assert not store.catalogue.resume(HANDLER, "feed")


def test_a_pause_for_a_while_ends_by_itself(store: Any, clock: Any) -> None:
    made = store.catalogue.pause(HANDLER, "feed", duration=60, by="")
    assert made.until == clock.now + 60

    clock.now += 59
    assert paused(store) == ["feed"]
    again = store.catalogue.pause(HANDLER, "feed", duration=60, by="")
    assert (again.since, again.until) == (made.since, clock.now + 60)
    clock.now += 61
    assert paused(store) == []
    assert not store.catalogue.resume(HANDLER, "feed")
    assert store.catalogue.pause(HANDLER, "feed", duration=60, by="").since == clock.now


def test_boots_leave_pauses_as_they_are(store: Any, clock: Any) -> None:
    store.catalogue.pause(HANDLER, "feed", duration=None, by="")
    store.catalogue.pause(HANDLER, "cook", duration=5, by="")

    store.catalogue.announce(HANDLER, worker("w", "feed"), [listing("feed")])
    assert paused(store) == ["cook", "feed"]
    clock.now += 6
    store.catalogue.expire(HANDLER)
    assert paused(store) == ["feed"]


def test_after_a_pause_that_is_half_open_one_event_is_tried_before_all_go_on(store: Any, clock: Any) -> None:
    catalogue = store.catalogue
    made = catalogue.pause(HANDLER, "feed", duration=60, by="Down", half_open=True)
    assert not catalogue.try_one(HANDLER, "feed", lease=30)

    # Given: it is over; then one of two has the turn, until nothing has been heard of it for the lease
    clock.now += 61
    assert catalogue.read(HANDLER).paused == (made,)
    assert [catalogue.try_one(HANDLER, "feed", lease=30) for _ in range(2)] == [True, False]
    assert catalogue.read(HANDLER).paused[0].trial_until == clock.now + 30
    clock.now += 31
    assert catalogue.try_one(HANDLER, "feed", lease=30)

    # When: it has met the error again, then all wait again, from when they did at first
    again = catalogue.pause(HANDLER, "feed", duration=60, by="Down", half_open=True)
    assert (again.since, again.trial_until) == (made.since, None)
    assert not catalogue.go_on(HANDLER, "feed")

    # Then: once another was tried without it all go on
    clock.now += 61
    assert catalogue.try_one(HANDLER, "feed", lease=30)
    assert catalogue.go_on(HANDLER, "feed")
    assert paused(store) == []
    assert not catalogue.go_on(HANDLER, "feed")
    assert not catalogue.try_one(HANDLER, "feed", lease=30)


def test_one_without_events_is_not_half_open_for_ever(store: Any, clock: Any) -> None:
    store.catalogue.pause(HANDLER, "feed", duration=60, by="Down", half_open=True)

    clock.now += 7 * 86_400
    store.catalogue.expire(HANDLER)

    assert paused(store) == []


def test_what_somebody_has_paused_no_error_lets_go_on(store: Any, clock: Any) -> None:
    made = store.catalogue.pause(HANDLER, "feed", duration=None, by="ada")

    assert store.catalogue.pause(HANDLER, "feed", duration=1, by="Down", half_open=True) == made

    clock.now += 2
    assert store.catalogue.read(HANDLER).paused == (made,)
    assert not store.catalogue.try_one(HANDLER, "feed", lease=30)
    assert not store.catalogue.go_on(HANDLER, "feed")


def job(id_: str, **more: Any) -> Job:
    return Job(id=id_, verb="replay", by="alice", began=1_000.0, changed=1_000.0, **more)


def test_jobs_are_kept_and_changed(store: Any, clock: Any) -> None:
    made = job("1", matching=filter_as_json(LetterFilter(error="ValueError", since=BEGIN, fields={"id": 7})))

    assert (
        store.catalogue.change_job(HANDLER, "1", lambda before, _: made if before is None else None) == made
    )
    assert (
        store.catalogue.change_job(HANDLER, "1", lambda before, _: job("1") if before is None else None)
        == made
    )
    store.catalogue.change_job(HANDLER, "2", lambda _, now: job("2").held("me", now))

    [first, second] = store.catalogue.jobs(HANDLER)
    assert (first.id, first.wanted.error, first.wanted.since, first.wanted.fields) == (
        "1", "ValueError", BEGIN, {"id": 7},
    )  # fmt: skip
    assert first.wanted.before is not None
    assert first.wanted.before.timestamp() == 1_000.0
    assert (second.owner, second.held_until) == ("me", clock.now + LEASE_SECONDS)
    assert store.catalogue.jobs("celery:events") == []


def test_old_jobs_are_forgotten(store: Any, clock: Any) -> None:
    store.catalogue.change_job(HANDLER, "old", lambda _, now: job("old").let_go(now, state="done"))
    clock.now += 7 * 86_400
    store.catalogue.change_job(HANDLER, "new", lambda _, now: job("new").let_go(now, state="done"))
    clock.now += 10

    store.catalogue.expire(HANDLER)

    assert [each.id for each in store.catalogue.jobs(HANDLER)] == ["new"]
