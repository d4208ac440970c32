"""The catalogue: what the workers of a handler know of each other.

For each handler it is a map of fields to plain JSON; "The catalogue" in docs/wire.md shows the form. A reader
ignores fields and attributes that it does not know, so that versions of this library can share one.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, TypeAlias, TypeVar

from fastapi_events.storage import jobs
from fastapi_events.storage.base import Store
from fastapi_events.storage.jobs import Job

HEARTBEAT_SECONDS = 2.0
"""How often a worker says that it is alive."""

SILENT_AFTER_SECONDS = 10.0
"""A worker that has not been heard of for so long counts as gone."""

RELAY_HEARTBEAT_SECONDS = 5.0
"""How often a relay says that it is alive."""

RELAY_SILENT_AFTER_SECONDS = 20.0
"""A relay that has not been heard of for so long counts as gone."""

FORGET_AFTER_SECONDS = 7 * 86_400.0
"""A subscription none of whose workers has been heard of for so long is forgotten."""

_HALF_OPEN_SECONDS = 86_400.0
"""After so long without an event a subscription goes on that no event was tried with."""

_LISTING, _WORKER, _MODULE, _HEARD = "listing/", "worker/", "module/", "heard/"
_PAUSE, _RELAY = "paused/", "relay/"
_JOB = "job/"

R = TypeVar("R", bound="Listing | Worker | Pause | Job | Relay")


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """A subscription that some worker of the fleet has.

    Parameters:
        name: The subscription's name.
        patterns: The names of events that it listens to.
        queue: Where its messages wait.
        engine: `dramatiq` or `celery`.
        module: Where it is registered.
        batch_size: How many events a message to it may carry; None where it takes one.
        priority: Of its messages, where the engine sends it with them.
        expires: Seconds after which its messages are too old, where the engine sends it with them.
        once: Whether it skips an event that it has completed before.
        retry: Its policy: `max_retries`, `min_backoff`, `max_backoff`.
        payload: The name of the type that it asks for, if it asks for one.
        payload_schema: The JSON Schema of that type.
        version: The version of the application that announced it, where that is known.
        since: When it was announced like this for the first time; seconds since 1970.
    """

    name: str
    patterns: tuple[str, ...]
    queue: str
    engine: str
    module: str
    batch_size: int | None = None
    priority: int | None = None
    expires: float | None = None
    once: bool = False
    retry: Mapping[str, float] = field(default_factory=dict)
    payload: str | None = None
    payload_schema: Mapping[str, Any] | None = None
    version: str | None = None
    since: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Worker:
    """A process that runs subscriptions.

    Parameters:
        id: Its own; another boot has another.
        host: Where it runs.
        pid: Its process.
        engine: `dramatiq` or `celery`.
        queues: What it consumes.
        modules: Where its subscriptions are registered, and those that it has imported beside.
        subscriptions: The names of those that it runs.
        version: The version of the application, where that is known.
        booted_at: When it was announced; seconds since 1970.
        heard_at: When it was last heard of.
    """

    id: str
    host: str
    pid: int
    engine: str
    queues: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    subscriptions: tuple[str, ...] = ()
    version: str | None = None
    booted_at: float = 0.0
    heard_at: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Pause:
    """A subscription that starts nothing for a while.

    Parameters:
        subscription: Its name.
        since: When it was paused; seconds since 1970.
        until: When it goes on by itself; None where somebody has to resume it.
        by: Who has paused it, or why.
        half_open: Whether one event is tried after that before all go on.
        trial_until: Until when one is being tried, unless nothing more is heard of it.
    """

    subscription: str
    since: float
    until: float | None = None
    by: str = ""
    half_open: bool = False
    trial_until: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Relay:
    """A process that takes events from the outbox to the broker.

    Parameters:
        id: Its own; another start has another.
        host: Where it runs.
        pid: Its process.
        heard_at: When it was last heard of; seconds since 1970.
        behind: Seconds since it had published what the outbox held, as it was heard of.
    """

    id: str
    host: str
    pid: int
    heard_at: float = 0.0
    behind: float = 0.0


Pauses: TypeAlias = tuple[Pause, ...]
Listings: TypeAlias = tuple[Listing, ...]
Workers: TypeAlias = tuple[Worker, ...]
Relays: TypeAlias = tuple[Relay, ...]
Fields: TypeAlias = Mapping[str, str]
Decision: TypeAlias = "Callable[[Fields, float], Change | None]"


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """What a catalogue holds of one handler, at one time.

    Parameters:
        listings: The subscriptions of the fleet, by name.
        workers: Those that have been heard of lately, the oldest first.
        paused: The subscriptions that start nothing just now, by name.
        relays: Those that have been heard of lately.
        now: The time, as the catalogue tells it.
    """

    listings: Listings = ()
    workers: Workers = ()
    paused: Pauses = ()
    relays: Relays = ()
    now: float = 0.0

    def workers_of(self, subscription: str) -> Workers:
        """The live workers that run a subscription."""
        return tuple(each for each in self.workers if subscription in each.subscriptions)


@dataclass(frozen=True, slots=True)
class Change:
    """Fields to set, and fields to remove."""

    put: Fields
    remove: Collection[str] = ()


class Catalogue(Store, ABC):
    """Who listens to what, and which workers there are, for all processes of a handler.

    `destination` is the handler's name.
    """

    def announce(
        self, destination: str, worker: Worker, listings: Sequence[Listing], *, again: bool = False
    ) -> None:
        """A worker has booted: what its modules announced before is replaced, and nobody else's.

        Parameters:
            listings: The subscriptions that its modules register.
            again: It has booted before, and the catalogue has lost it: others of its modules may have booted
                since, whose listings stay.
        """

        def decide(found: Fields, now: float) -> Change:
            known = {each.name: each for each in _records(found, _LISTING, Listing)}
            names = {each.name for each in listings}
            gone = [each.name for each in known.values() if each.module in worker.modules]
            put = {_WORKER + worker.id: _text(replace(worker, booted_at=now))}
            put |= {_HEARD + worker.id: repr(now)} | {_MODULE + each: repr(now) for each in worker.modules}
            for each in listings:
                if again and _MODULE + each.module in found:
                    continue
                before = known.get(each.name)
                unchanged = before is not None and replace(each, since=before.since) == before
                since = before.since if before is not None and unchanged else now
                put[_LISTING + each.name] = _text(replace(each, since=since))
            removed = [] if again else [_LISTING + name for name in gone if name not in names]
            return Change(put, removed)

        self._change(destination, decide)

    def heard(self, destination: str, worker: Worker) -> bool:
        """A worker says that it is alive.

        Returns:
            False where the catalogue does not have it: it has to be announced again.
        """
        modules = [_MODULE + each for each in worker.modules]
        return self._touch(destination, _WORKER + worker.id, [_HEARD + worker.id, *modules])

    def leave(self, destination: str, worker_id: str) -> None:
        """A worker ends; what it listed stays."""
        self._change(destination, lambda _, __: Change({}, [_WORKER + worker_id, _HEARD + worker_id]))

    def read(self, destination: str, *, silent_after: float = SILENT_AFTER_SECONDS) -> Snapshot:
        """What there is of a handler.

        Parameters:
            silent_after: Workers that have not been heard of for so many seconds are left out.
        """
        found, now = self._read(destination)
        heard = {name: time for name, time in _times(found, _HEARD).items() if now - time <= silent_after}
        workers = [
            replace(each, heard_at=heard[each.id])
            for each in _records(found, _WORKER, Worker)
            if each.id in heard
        ]
        return Snapshot(
            listings=tuple(sorted(_records(found, _LISTING, Listing), key=lambda each: each.name)),
            workers=tuple(sorted(workers, key=lambda each: (each.booted_at, each.id))),
            paused=tuple(sorted(_lasting(found, now), key=lambda each: each.subscription)),
            relays=tuple(sorted(_heard_relays(found, now), key=lambda each: (each.host, each.pid, each.id))),
            now=now,
        )

    def pause(
        self, destination: str, subscription: str, *, duration: float | None, by: str, half_open: bool = False
    ) -> Pause:
        """Pause a subscription on all workers; one that is paused already stays so from when it was.

        Parameters:
            duration: Seconds until it goes on by itself; None until it is resumed.
            by: Who pauses it, or why.
            half_open: Try one event then, before all go on. A pause that somebody has made stays in force.
        """
        made: Pause | None = None

        def decide(found: Fields, now: float) -> Change | None:
            nonlocal made
            before = _pause_in(found, subscription, now)
            if half_open and before is not None and not before.half_open:
                made = before
                return None
            made = Pause(
                subscription=subscription, since=now if before is None else before.since,
                until=None if duration is None else now + duration, by=by, half_open=half_open,
            )  # fmt: skip
            return Change({_PAUSE + subscription: _text(made)})

        self._change(destination, decide)
        assert made is not None  # noqa: S101 - it was asked
        return made

    def try_one(self, destination: str, subscription: str, *, lease: float) -> bool:
        """Have the turn to try an event, after a pause that is half open; whether nobody else has it.

        Parameters:
            lease: Seconds until somebody else may have it.
        """
        tried = False

        def decide(found: Fields, now: float) -> Change | None:
            nonlocal tried
            pause = _pause_in(found, subscription, now)
            tried = pause is not None and _is_over(pause, now) and now >= (pause.trial_until or 0.0)
            if pause is None or not tried:
                return None
            return Change({_PAUSE + subscription: _text(replace(pause, trial_until=now + lease))})

        self._change(destination, decide)
        return tried

    def go_on(self, destination: str, subscription: str) -> bool:
        """Let a subscription go on whose event was tried; False where it has been paused once more."""
        return self._end_pause(destination, subscription, only_if_over=True)

    def resume(self, destination: str, subscription: str) -> bool:
        """Let a subscription go on; whether it was paused."""
        return self._end_pause(destination, subscription, only_if_over=False)

    def _end_pause(self, destination: str, subscription: str, *, only_if_over: bool) -> bool:
        ended = False
        name = _PAUSE + subscription

        def decide(found: Fields, now: float) -> Change | None:
            nonlocal ended
            pause = _pause_in(found, subscription, now)
            ended = pause is not None and (_is_over(pause, now) or not only_if_over)
            return Change({}, [name]) if ended or (name in found and not only_if_over) else None

        self._change(destination, decide)
        return ended

    def jobs(self, destination: str) -> list[Job]:
        """What is done to many dead letters, and was lately; the latest first."""
        found, _ = self._read(destination)
        return sorted(_records(found, _JOB, Job), key=lambda each: (-each.began, each.id))

    def change_job(
        self, destination: str, id_: str, change: Callable[[Job | None, float], Job | None]
    ) -> Job | None:
        """Add or change a job, while nobody else changes it.

        Parameters:
            change: Gets the job, if there is one, and the time; gives the job as it is to be, or None to
                leave everything as it is. It may be asked several times.

        Returns:
            The job as it is then.
        """
        kept: Job | None = None

        def decide(found: Fields, now: float) -> Change | None:
            nonlocal kept
            name = _JOB + id_
            there = {name: found[name]} if name in found else {}
            before = next(iter(_records(there, _JOB, Job)), None)
            after = change(before, now)
            kept = before if after is None else after
            return None if after is None else Change({name: _text(after)})

        self._change(destination, decide)
        return kept

    def relay_heard(self, destination: str, relay: Relay, *, behind: float) -> None:
        """A relay says that it is alive.

        Parameters:
            behind: Seconds since it has published what the outbox held.
        """

        def decide(found: Fields, now: float) -> Change:
            alive = {_RELAY + each.id for each in _heard_relays(found, now)}
            gone = [name for name in found if name.startswith(_RELAY) and name not in alive]
            put = {_RELAY + relay.id: _text(replace(relay, heard_at=now, behind=behind))}
            return Change(put, [name for name in gone if name not in put])

        self._change(destination, decide)

    def relay_ended(self, destination: str, relay_id: str) -> None:
        """A relay ends."""
        self._change(destination, lambda _, __: Change({}, [_RELAY + relay_id]))

    def forget(self, destination: str, subscription: str) -> bool:
        """Remove a listing, unless there is none; a worker that has it announces it again when it boots."""
        removed = False

        def decide(found: Fields, _: float) -> Change | None:
            nonlocal removed
            removed = _LISTING + subscription in found
            return Change({}, [_LISTING + subscription]) if removed else None

        self._change(destination, decide)
        return removed

    def expire(
        self,
        destination: str,
        *,
        forget_after: float = FORGET_AFTER_SECONDS,
        silent_after: float = SILENT_AFTER_SECONDS,
    ) -> int:
        """Forget listings none of whose workers has been heard of, and workers that are gone.

        Parameters:
            forget_after: Seconds, for listings.
            silent_after: Seconds, for workers.

        Returns:
            How many listings were forgotten.
        """
        forgotten = 0

        def decide(found: Fields, now: float) -> Change | None:
            nonlocal forgotten
            modules = _times(found, _MODULE)
            heard = _times(found, _HEARD)
            old = [
                _LISTING + each.name
                for each in _records(found, _LISTING, Listing)
                if now - modules.get(each.module, now) > forget_after
            ]
            forgotten = len(old)
            old += [_MODULE + name for name, time in modules.items() if now - time > forget_after]
            gone = [
                name.removeprefix(_WORKER)
                for name in found
                if name.startswith(_WORKER) and now - heard.get(name.removeprefix(_WORKER), 0) > silent_after
            ]
            old += [prefix + each for each in gone for prefix in (_WORKER, _HEARD) if prefix + each in found]
            lasting = {_PAUSE + each.subscription for each in _lasting(found, now)}
            old += [name for name in found if name.startswith(_PAUSE) and name not in lasting]
            old += [
                _JOB + each.id
                for each in _records(found, _JOB, Job)
                if now - each.changed > jobs.FORGET_AFTER_SECONDS
            ]
            return Change({}, old) if old else None

        self._change(destination, decide)
        return forgotten

    # What an implementation has to do

    @abstractmethod
    def _change(self, destination: str, decide: Decision) -> None:
        """Change fields, while nobody else changes any.

        Parameters:
            decide: Gets the fields that are there, and the time. It may be asked several times.
        """

    @abstractmethod
    def _touch(self, destination: str, required: str, names: Sequence[str]) -> bool:
        """Set fields to the time, unless the field `required` is missing; whether it is there."""

    @abstractmethod
    def _read(self, destination: str) -> tuple[Fields, float]:
        """All fields, and the time."""


def _lasting(found: Fields, now: float) -> list[Pause]:
    """The pauses that are not over yet, or after which no event has been tried."""
    return [
        each
        for each in _records(found, _PAUSE, Pause)
        if each.until is None or now < each.until + (_HALF_OPEN_SECONDS if each.half_open else 0.0)
    ]


def _heard_relays(found: Fields, now: float) -> list[Relay]:
    return [
        each for each in _records(found, _RELAY, Relay) if now - each.heard_at <= RELAY_SILENT_AFTER_SECONDS
    ]


def _pause_in(found: Fields, subscription: str, now: float) -> Pause | None:
    return next((each for each in _lasting(found, now) if each.subscription == subscription), None)


def _is_over(pause: Pause, now: float) -> bool:
    return pause.until is not None and now >= pause.until


def _text(record: Listing | Worker | Pause | Job | Relay) -> str:
    return json.dumps(asdict(record), ensure_ascii=False, separators=(",", ":"))


def _records(found: Fields, prefix: str, kind: type[R]) -> list[R]:
    """The records of a kind, without those that cannot be read and what else a newer version wrote."""
    known = {each.name for each in fields(kind)}
    records = []
    for name, text in found.items():
        if name.startswith(prefix):
            try:
                values = {key: value for key, value in json.loads(text).items() if key in known}
                lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
                records.append(kind(**values | lists))
            except (ValueError, TypeError, AttributeError):
                continue
    return records


def _times(found: Fields, prefix: str) -> dict[str, float]:
    return {name.removeprefix(prefix): float(text) for name, text in found.items() if name.startswith(prefix)}
