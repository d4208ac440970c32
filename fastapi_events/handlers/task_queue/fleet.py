"""What a process knows of the fleet: who else listens, and which workers are alive.

A handler's workers need not be alike: each announces its functions in the catalogue, and reads there those of
the others. What was read last is kept here, and renewed by a thread; no message waits for it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from fastapi_events import environment
from fastapi_events.event import EventName, names
from fastapi_events.handlers.task_queue.listing import listing_of
from fastapi_events.handlers.task_queue.worker.outcome import TryLater
from fastapi_events.ids import random_id
from fastapi_events.per_process import PerProcess
from fastapi_events.storage.catalogue import (
    HEARTBEAT_SECONDS,
    Catalogue,
    Listing,
    Snapshot,
    Worker,
)
from fastapi_events.subscriptions.pattern import PatternIndex
from fastapi_events.subscriptions.subscription import Subscriptions

logger: logging.Logger = logging.getLogger(__name__)

REFRESH_SECONDS = 1.0
"""How old what is known of the others may be."""

SETTLE_SECONDS = 2.5
"""How long a worker with new functions waits until all others know of them, before it is ready."""

_EXPIRE_EVERY_SECONDS = 60.0
_GONE_AFTER_SECONDS = 60.0
_STOP_SECONDS = 5.0

# How a message for a function that only others have is passed on: at once, so often, then after a while.
_AT_ONCE = 8
_LONGEST_PASS_SECONDS = 2.0
_LONGEST_WAIT_SECONDS = 30.0
_MOST_PASSED = 10_000


class Listener(Protocol):
    """Who listens to an event: a subscription of this process, or one that the catalogue lists."""

    @property
    def name(self) -> str:
        """The subscription's name."""

    @property
    def queue(self) -> str | None:
        """Where its messages wait."""

    @property
    def batch_size(self) -> int | None:
        """How many events a message to it may carry; None where it takes one."""


class Member(Protocol):
    """The handler whose fleet it is."""

    @property
    def name(self) -> str:
        """Engine and queue."""

    @property
    def catalogue(self) -> Catalogue | None:
        """Where its workers announce themselves; asking may fail as its broker may."""

    @property
    def subscriptions(self) -> Subscriptions:
        """The functions that this process has."""

    @property
    def knows_itself_only(self) -> bool:
        """Whether no other process can have its catalogue."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What was read last, prepared for being asked."""

    snapshot: Snapshot
    own: int
    others: Mapping[str, Listing]
    index: PatternIndex[Listing]
    alive: frozenset[str]

    @classmethod
    def of(cls, snapshot: Snapshot, subscriptions: Subscriptions) -> _Known:
        own = {each.name for each in subscriptions}
        others = {each.name: each for each in snapshot.listings if each.name not in own}
        index: PatternIndex[Listing] = PatternIndex()
        for each in others.values():
            for pattern in each.patterns:
                index.add(pattern, each)
        alive = frozenset(name for each in snapshot.workers for name in each.subscriptions)
        return cls(snapshot, len(subscriptions), others, index, alive)


@dataclass(frozen=True, slots=True)
class _Reader:
    """The thread that reads the catalogue, and how to end it."""

    thread: threading.Thread
    stopping: threading.Event


class Fleet:
    """The workers of a handler, as this process knows them.

    Parameters:
        member: The handler.
        forget_after: Seconds after which a subscription is forgotten none of whose workers was heard of.
    """

    def __init__(self, member: Member, *, forget_after: float) -> None:
        self._member = member
        self._forget_after = forget_after
        self._known: _Known | None = None
        self._passed: dict[int, int] = {}
        self._alone = False
        self._worker: Worker | None = None
        self._announced = False
        self._trouble: str | None = None
        self._reader = PerProcess(self._start_reading)

    # Asked by fan-out, and by what takes unknown messages

    def match(self, name: EventName) -> Sequence[Listener]:
        """Who listens to an event: the subscriptions of this process, and those of others.

        Raises:
            TryLater: When the catalogue has never been read, and cannot be.
        """
        own: Sequence[Listener] = self._member.subscriptions.match(name)
        others = self._others()
        if others is None:
            return own
        found = others.index.match(*names(name))
        return (*own, *{each.name: each for each in found}.values()) if found else own

    def named(self, name: str) -> Listener | None:
        """The subscription with this name, in this process or another."""
        own = self._member.subscriptions.named(name)
        if own is not None:
            return own
        others = self._others()
        return None if others is None else others.others.get(name)

    def listens(self, name: EventName) -> bool:
        """Whether somebody listens to an event; also true where nobody can be asked."""
        try:
            return bool(self.match(name))
        except TryLater:
            return True

    def patterns(self) -> list[str]:
        """What the fleet listens to, as far as this process knows."""
        known = self._known
        listed = () if known is None else known.others.values()
        return [pattern for each in (*self._member.subscriptions, *listed) for pattern in each.patterns]

    def look(self) -> None:
        """Read the catalogue for the first time, where it has not been read yet."""
        with contextlib.suppress(TryLater):  # it has been said why
            self._others()

    def elsewhere(self, name: str, arguments: Sequence[Any]) -> float | None:
        """When a message is to be passed on whose subscription this process does not have.

        Parameters:
            arguments: The message's, by which it is known again when it comes back.

        Returns:
            Seconds; soon where a live worker has the subscription, and later where none has just now. None
            where the fleet knows of no such subscription.
        """
        try:
            others = self._others()
        except TryLater as later:
            return later.seconds
        if others is None:
            return None
        if name not in others.alive and name not in others.others:
            return None
        passed = self._count(name, arguments)
        if name in others.alive:
            return 0.0 if passed < _AT_ONCE else min(0.05 * 2 ** (passed - _AT_ONCE), _LONGEST_PASS_SECONDS)
        return min(2.0 ** min(passed, 10), _LONGEST_WAIT_SECONDS)

    def _count(self, name: str, arguments: Sequence[Any]) -> int:
        """How often this process has passed on a message before."""
        key = hash((name, str(arguments)))
        passed = self._passed.pop(key, 0)
        while len(self._passed) >= _MOST_PASSED:
            self._passed.pop(next(iter(self._passed)), None)  # the one that was passed on longest ago
        self._passed[key] = passed + 1
        return passed

    def snapshot(self) -> Snapshot:
        """What the catalogue holds now.

        Raises:
            StorageError: When it fails.
        """
        catalogue = self._member.catalogue
        return Snapshot() if catalogue is None else catalogue.read(self._member.name)

    # A worker's life

    def boot(self, queues: Collection[str], *, engine: str) -> None:
        """A worker starts in this process: announce what it runs, and warn of what may surprise.

        Where other workers are at work already and would not know new functions yet, it waits until they do.

        Parameters:
            queues: Those that it consumes.
        """
        subscriptions = self._member.subscriptions
        if not len(subscriptions):
            logger.warning(
                "This worker has no function of %s: it finds out who listens to events, and runs none of "
                "them. Start it with the module that registers them.", self._member.name,
            )  # fmt: skip
        self._worker = Worker(
            id=random_id(), host=socket.gethostname(), pid=os.getpid(), engine=engine,
            queues=tuple(sorted(queues)),
            modules=tuple(sorted({each.module for each in subscriptions})),
            subscriptions=tuple(sorted(each.name for each in subscriptions if (each.queue or "") in queues)),
            version=environment.application_version(),
        )  # fmt: skip
        self._announced = False
        if not self._attempt():
            return
        known = self._known
        if known is not None:
            self._warn_of_unlike_workers(known.snapshot, queues)
            self._settle(known.snapshot)

    def start(self) -> None:
        """Begin to say that the worker is alive, and to listen to what others say, in a thread."""
        self._reader.get()

    def leave(self) -> None:
        """The worker ends: say so, and end the thread."""
        worker, self._worker = self._worker, None
        reader = self._reader.take()
        if reader is not None:
            reader.stopping.set()
            reader.thread.join(_STOP_SECONDS)
        if worker is None or worker.pid != os.getpid():
            return
        try:
            catalogue = self._member.catalogue
            if catalogue is not None:
                catalogue.leave(self._member.name, worker.id)
        except Exception as error:  # of a store or a broker; it is off the list in a while
            logger.debug("The worker could not say that it ends: %s", error)

    # Reading

    def _others(self) -> _Known | None:
        if self._alone:
            return None
        if self._reader.made is None:
            if self._known is None:
                self._attempt()
                if self._alone:
                    return None
            self._reader.get()
        known = self._known
        if known is None:
            raise TryLater(REFRESH_SECONDS)
        if known.own != len(self._member.subscriptions):
            known = self._known = _Known.of(known.snapshot, self._member.subscriptions)
        return known

    def _start_reading(self) -> _Reader:
        stopping = threading.Event()
        thread = threading.Thread(
            target=self._work, args=(stopping,), daemon=True,
            name=f"fastapi-events-fleet-{self._member.name}",
        )  # fmt: skip
        thread.start()
        return _Reader(thread, stopping)

    def _work(self, stopping: threading.Event) -> None:
        beat = expire = time.monotonic()
        while not stopping.wait(REFRESH_SECONDS):
            now = time.monotonic()
            beats, expires = now - beat >= HEARTBEAT_SECONDS, now - expire >= _EXPIRE_EVERY_SECONDS
            if self._attempt(beats=beats, expires=expires):
                beat = now if beats else beat
                expire = now if expires else expire

    def _attempt(self, *, beats: bool = False, expires: bool = False) -> bool:
        """Read the catalogue, and write what is to be written; whether it succeeded."""
        try:
            catalogue = self._member.catalogue
            self._alone = self._member.knows_itself_only
            if catalogue is None:
                return False
            self._write(catalogue, beats=beats, expires=expires)
            snapshot = catalogue.read(self._member.name)
        except Exception as error:  # the store's, or whatever the broker's client raises
            if self._trouble is None:
                self._trouble = f"{type(error).__name__}: {error}"
                logger.warning(
                    "The catalogue of %s cannot be reached; what was known last stays in force: %s",
                    self._member.name, self._trouble,
                )  # fmt: skip
            return False
        if self._trouble is not None:
            logger.info("The catalogue of %s can be reached again.", self._member.name)
            self._trouble = None
        self._known = _Known.of(snapshot, self._member.subscriptions)
        return True

    def _write(self, catalogue: Catalogue, *, beats: bool, expires: bool) -> None:
        worker, name = self._worker, self._member.name
        if worker is None or worker.pid != os.getpid():
            return
        if not self._announced:
            listed = catalogue.read(name).listings
            # A module that this process has imported, and that registers nothing any more, is its own, too.
            imported = {each.module for each in listed if each.module in sys.modules}
            worker = self._worker = _with_modules(worker, imported)
            catalogue.announce(name, worker, self._listings(worker))
            self._announced = True
        elif beats and not catalogue.heard(name, worker):
            catalogue.announce(name, worker, self._listings(worker), again=True)
        if expires:
            catalogue.expire(name, forget_after=self._forget_after, silent_after=_GONE_AFTER_SECONDS)

    def _listings(self, worker: Worker) -> list[Listing]:
        return [
            listing_of(each, engine=worker.engine, version=worker.version)
            for each in self._member.subscriptions
        ]

    # What a worker says when it boots

    def _warn_of_unlike_workers(self, snapshot: Snapshot, queues: Collection[str]) -> None:
        for queue, strange in strangers_by_queue(snapshot, self._member.subscriptions, queues).items():
            logger.warning(
                "Queue %r has messages for functions that other workers run and this one does not: %s. Each "
                "that comes here is passed on, which costs both. Give them a queue of their own: "
                "register(…, queue=…).", queue, ", ".join(strange),
            )  # fmt: skip

    def _settle(self, snapshot: Snapshot) -> None:
        worker = self._worker
        if worker is None or self._alone:
            return
        own = {each.name for each in self._member.subscriptions}
        newest = max((each.since for each in snapshot.listings if each.name in own), default=0.0)
        wait = newest + SETTLE_SECONDS - snapshot.now
        if wait > 0 and any(each.id != worker.id for each in snapshot.workers):
            time.sleep(min(wait, SETTLE_SECONDS))


def strangers_by_queue(
    snapshot: Snapshot, subscriptions: Subscriptions, queues: Collection[str]
) -> dict[str, list[str]]:
    """The subscriptions on some queues that live workers have, and this process does not."""
    own = {each.name for each in subscriptions}
    found: dict[str, list[str]] = {}
    for each in snapshot.listings:
        if each.queue in queues and each.name not in own and snapshot.workers_of(each.name):
            found.setdefault(each.queue, []).append(each.name)
    return found


def unlike_workers(snapshot: Snapshot) -> dict[str, list[str]]:
    """For each queue the functions that some of its live workers have, and others do not."""
    found: dict[str, list[str]] = {}
    for each in snapshot.listings:
        consumers = [worker for worker in snapshot.workers if each.queue in worker.queues]
        having = [worker for worker in consumers if each.name in worker.subscriptions]
        if having and len(having) < len(consumers):
            found.setdefault(each.queue, []).append(each.name)
    return found


def _with_modules(worker: Worker, modules: Collection[str]) -> Worker:
    return replace(worker, modules=tuple(sorted({*worker.modules, *modules})))
