"""What every catalogue does."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from fastapi_events.storage.catalogue import Change, Listing, Relay, Worker
from fastapi_events.storage.jobs import LEASE_SECONDS, Job, filter_as_json
from fastapi_events.storage.letters import LetterFilter

_HANDLER = "dramatiq:events"
_BEGIN = datetime(2026, 7, 1, tzinfo=UTC)


def _listing(name: str, module: str = "app.mail", **more: Any) -> Listing:
    return Listing(name=name, patterns=("cat*",), queue="events", engine="dramatiq", module=module, **more)


def _worker(id_: str, *subscriptions: str, modules: tuple[str, ...] = ("app.mail",)) -> Worker:
    return Worker(
        id=id_, host="here", pid=1, engine="dramatiq", queues=("events",), modules=modules,
        subscriptions=subscriptions,
    )  # fmt: skip


def _listed(store: Any, destination: str = _HANDLER) -> list[str]:
    return [each.name for each in store.catalogue.read(destination).listings]


def _alive(store: Any) -> list[str]:
    return [each.id for each in store.catalogue.read(_HANDLER).workers]


def _paused(store: Any, destination: str = _HANDLER) -> list[str]:
    return [each.subscription for each in store.catalogue.read(destination).paused]


def _job(id_: str, **more: Any) -> Job:
    return Job(id=id_, verb="replay", by="alice", began=1_000.0, changed=1_000.0, **more)


class CatalogueContract:
    """Tests of the fixture `store`, whose `catalogue` is looked at; it goes by the fixture `clock`."""

    def test_what_a_worker_announces_is_read_as_it_was(self, store: Any, clock: Any) -> None:
        one = _listing(
            "feed", batch_size=10, once=True, retry={"max_retries": 5}, payload="Fish",
            payload_schema={"type": "object", "required": ["kind"], "title": "Fisch 🐟"}, version="1.2",
        )  # fmt: skip

        store.catalogue.announce(_HANDLER, _worker("w", "feed"), [one])

        found = store.catalogue.read(_HANDLER)
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

    def test_nothing_is_known_of_a_handler_that_nobody_announced(self, store: Any) -> None:
        assert _listed(store) == []
        assert _alive(store) == []

    def test_handlers_do_not_see_each_others(self, store: Any) -> None:
        store.catalogue.announce(_HANDLER, _worker("w"), [_listing("feed")])

        assert _listed(store, "dramatiq:other") == []

    def test_a_boot_replaces_what_its_modules_announced_and_touches_nobody_elses(self, store: Any) -> None:
        catalogue = store.catalogue
        catalogue.announce(_HANDLER, _worker("a"), [_listing("feed"), _listing("mail")])
        catalogue.announce(_HANDLER, _worker("b", modules=("app.bills",)), [_listing("bill", "app.bills")])

        catalogue.announce(_HANDLER, _worker("c"), [_listing("feed"), _listing("post")])
        assert _listed(store) == ["bill", "feed", "post"]

        # a rolled back deploy announces the old set again
        catalogue.announce(_HANDLER, _worker("d"), [_listing("feed"), _listing("mail")])
        assert _listed(store) == ["bill", "feed", "mail"]

        # and a module without functions has none any more
        catalogue.announce(_HANDLER, _worker("e", modules=("app.bills",)), [])
        assert _listed(store) == ["feed", "mail"]

    def test_a_function_that_has_moved_to_another_module_is_listed_once(self, store: Any) -> None:
        store.catalogue.announce(_HANDLER, _worker("a"), [_listing("feed")])
        store.catalogue.announce(
            _HANDLER, _worker("b", modules=("app.food",)), [_listing("feed", "app.food")]
        )

        store.catalogue.announce(_HANDLER, _worker("c"), [])

        assert [each.module for each in store.catalogue.read(_HANDLER).listings] == ["app.food"]

    def test_a_listing_says_since_when_it_is_as_it_is(self, store: Any, clock: Any) -> None:
        began = clock.now
        store.catalogue.announce(_HANDLER, _worker("a"), [_listing("feed"), _listing("mail")])
        clock.forward(60)

        store.catalogue.announce(_HANDLER, _worker("b"), [_listing("feed"), _listing("mail", once=True)])

        assert [each.since for each in store.catalogue.read(_HANDLER).listings] == [began, clock.now]

    def test_a_worker_that_falls_silent_is_off_the_list_and_what_it_listed_stays(
        self, store: Any, clock: Any
    ) -> None:
        catalogue = store.catalogue
        catalogue.announce(_HANDLER, _worker("killed"), [_listing("feed")])
        catalogue.announce(_HANDLER, _worker("alive"), [_listing("feed")])
        clock.forward(8)
        assert catalogue.heard(_HANDLER, _worker("alive")) is True
        clock.forward(3)

        assert _alive(store) == ["alive"]
        assert catalogue.expire(_HANDLER) == 0
        assert _alive(store) == ["alive"]
        assert catalogue.heard(_HANDLER, _worker("killed")) is False
        assert _listed(store) == ["feed"]

    def test_a_worker_that_ends_is_off_the_list_at_once(self, store: Any) -> None:
        store.catalogue.announce(_HANDLER, _worker("w"), [_listing("feed")])

        store.catalogue.leave(_HANDLER, "w")

        assert _alive(store) == []
        assert _listed(store) == ["feed"]
        assert store.catalogue.heard(_HANDLER, _worker("w")) is False

    def test_a_listing_is_forgotten_by_command(self, store: Any) -> None:
        store.catalogue.announce(_HANDLER, _worker("w"), [_listing("feed"), _listing("mail")])

        assert store.catalogue.forget(_HANDLER, "feed") is True
        assert store.catalogue.forget(_HANDLER, "feed") is False
        assert _listed(store) == ["mail"]

    def test_a_listing_is_forgotten_when_none_of_its_workers_was_heard_of(
        self, store: Any, clock: Any
    ) -> None:
        mail, bills = _worker("mail"), _worker("bills", modules=("app.bills",))
        store.catalogue.announce(_HANDLER, mail, [_listing("feed")])
        store.catalogue.announce(_HANDLER, bills, [_listing("bill", "app.bills")])
        clock.forward(80)
        store.catalogue.heard(_HANDLER, bills)
        clock.forward(30)

        assert store.catalogue.expire(_HANDLER, forget_after=100) == 1

        assert _listed(store) == ["bill"]
        assert store.catalogue.expire(_HANDLER, forget_after=100) == 0

    def test_what_another_version_wrote_beside_is_left_alone(self, store: Any) -> None:
        store.catalogue.announce(_HANDLER, _worker("w"), [_listing("feed")])
        beside = {
            "listing/new": json.dumps({"name": "new"}),  # lacks what this version needs
            "listing/odd": "[1]",
            "moon/phase": "full",
            "listing/more": json.dumps(
                {"name": "more", "patterns": ["*"], "queue": "q", "engine": "celery", "module": "m", "hue": 3}
            ),
        }  # fmt: skip
        store.catalogue._change(_HANDLER, lambda found, now: Change(beside))  # noqa: SLF001 - what a store writes

        assert _listed(store) == ["feed", "more"]
        store.catalogue.announce(_HANDLER, _worker("w"), [_listing("feed")])
        assert "moon/phase" in store.catalogue._read(_HANDLER)[0]  # noqa: SLF001

    def test_a_pause_lasts_until_it_is_resumed(self, store: Any, clock: Any) -> None:
        made = store.catalogue.pause(_HANDLER, "feed", duration=None, by="ada")

        clock.now += 30 * 86_400
        store.catalogue.expire(_HANDLER)
        assert store.catalogue.read(_HANDLER).paused == (made,)
        assert (made.subscription, made.until, made.by) == ("feed", None, "ada")
        assert _paused(store, "dramatiq:other") == []

        assert store.catalogue.resume(_HANDLER, "feed")
        assert _paused(store) == []
        assert not store.catalogue.resume(_HANDLER, "feed")

    def test_a_pause_for_a_while_ends_by_itself(self, store: Any, clock: Any) -> None:
        made = store.catalogue.pause(_HANDLER, "feed", duration=60, by="")
        assert made.until == clock.now + 60

        clock.now += 59
        assert _paused(store) == ["feed"]
        again = store.catalogue.pause(_HANDLER, "feed", duration=60, by="")
        assert (again.since, again.until) == (made.since, clock.now + 60)
        clock.now += 61
        assert _paused(store) == []
        assert not store.catalogue.resume(_HANDLER, "feed")
        assert store.catalogue.pause(_HANDLER, "feed", duration=60, by="").since == clock.now

    def test_boots_leave_pauses_as_they_are(self, store: Any, clock: Any) -> None:
        store.catalogue.pause(_HANDLER, "feed", duration=None, by="")
        store.catalogue.pause(_HANDLER, "cook", duration=5, by="")

        store.catalogue.announce(_HANDLER, _worker("w", "feed"), [_listing("feed")])
        assert _paused(store) == ["cook", "feed"]
        clock.now += 6
        store.catalogue.expire(_HANDLER)
        assert _paused(store) == ["feed"]

    def test_after_a_pause_that_is_half_open_one_event_is_tried_before_all_go_on(
        self, store: Any, clock: Any
    ) -> None:
        catalogue = store.catalogue
        made = catalogue.pause(_HANDLER, "feed", duration=60, by="Down", half_open=True)
        assert not catalogue.try_one(_HANDLER, "feed", lease=30)

        # Given: it is over; then one of two has the turn, until nothing has been heard of it for the lease
        clock.now += 61
        assert catalogue.read(_HANDLER).paused == (made,)
        assert [catalogue.try_one(_HANDLER, "feed", lease=30) for _ in range(2)] == [True, False]
        assert catalogue.read(_HANDLER).paused[0].trial_until == clock.now + 30
        clock.now += 31
        assert catalogue.try_one(_HANDLER, "feed", lease=30)

        # When: it has met the error again, then all wait again, from when they did at first
        again = catalogue.pause(_HANDLER, "feed", duration=60, by="Down", half_open=True)
        assert (again.since, again.trial_until) == (made.since, None)
        assert not catalogue.go_on(_HANDLER, "feed")

        # Then: once another was tried without it all go on
        clock.now += 61
        assert catalogue.try_one(_HANDLER, "feed", lease=30)
        assert catalogue.go_on(_HANDLER, "feed")
        assert _paused(store) == []
        assert not catalogue.go_on(_HANDLER, "feed")
        assert not catalogue.try_one(_HANDLER, "feed", lease=30)

    def test_one_without_events_is_not_half_open_for_ever(self, store: Any, clock: Any) -> None:
        store.catalogue.pause(_HANDLER, "feed", duration=60, by="Down", half_open=True)

        clock.now += 7 * 86_400
        store.catalogue.expire(_HANDLER)

        assert _paused(store) == []

    def test_what_somebody_has_paused_no_error_lets_go_on(self, store: Any, clock: Any) -> None:
        made = store.catalogue.pause(_HANDLER, "feed", duration=None, by="ada")

        assert store.catalogue.pause(_HANDLER, "feed", duration=1, by="Down", half_open=True) == made

        clock.now += 2
        assert store.catalogue.read(_HANDLER).paused == (made,)
        assert not store.catalogue.try_one(_HANDLER, "feed", lease=30)
        assert not store.catalogue.go_on(_HANDLER, "feed")

    def test_jobs_are_kept_and_changed(self, store: Any, clock: Any) -> None:
        made = _job(
            "1", matching=filter_as_json(LetterFilter(error="ValueError", since=_BEGIN, fields={"id": 7}))
        )

        assert (
            store.catalogue.change_job(_HANDLER, "1", lambda before, _: made if before is None else None)
            == made
        )
        assert (
            store.catalogue.change_job(_HANDLER, "1", lambda before, _: _job("1") if before is None else None)
            == made
        )
        store.catalogue.change_job(_HANDLER, "2", lambda _, now: _job("2").held("me", now))

        [first, second] = store.catalogue.jobs(_HANDLER)
        assert (first.id, first.wanted.error, first.wanted.since, first.wanted.fields) == (
            "1", "ValueError", _BEGIN, {"id": 7},
        )  # fmt: skip
        assert first.wanted.before is not None
        assert first.wanted.before.timestamp() == 1_000.0
        assert (second.owner, second.held_until) == ("me", clock.now + LEASE_SECONDS)
        assert store.catalogue.jobs("celery:events") == []

    def test_old_jobs_are_forgotten(self, store: Any, clock: Any) -> None:
        store.catalogue.change_job(_HANDLER, "old", lambda _, now: _job("old").let_go(now, state="done"))
        clock.now += 7 * 86_400
        store.catalogue.change_job(_HANDLER, "new", lambda _, now: _job("new").let_go(now, state="done"))
        clock.now += 10

        store.catalogue.expire(_HANDLER)

        assert [each.id for each in store.catalogue.jobs(_HANDLER)] == ["new"]

    def test_relays_are_listed_until_they_end_or_fall_silent(self, store: Any, clock: Any) -> None:
        catalogue = store.catalogue
        catalogue.relay_heard(_HANDLER, Relay(id="a", host="here", pid=1), behind=0.5)
        catalogue.relay_heard(_HANDLER, Relay(id="b", host="here", pid=2), behind=0.0)
        clock.forward(15)
        catalogue.relay_heard(_HANDLER, Relay(id="a", host="here", pid=1), behind=3.0)

        found = catalogue.read(_HANDLER).relays
        assert [(each.id, each.behind, each.heard_at) for each in found] == [
            ("a", 3.0, clock.now), ("b", 0.0, clock.now - 15),
        ]  # fmt: skip
        clock.forward(15)
        assert [each.id for each in catalogue.read(_HANDLER).relays] == ["a"]
        catalogue.relay_ended(_HANDLER, "a")
        assert catalogue.read(_HANDLER).relays == ()
