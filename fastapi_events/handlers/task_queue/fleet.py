"""What a process knows of the fleet: who else listens, and which workers are alive.

A handler's workers need not be alike: each announces its functions in the catalogue, and reads there those of
the others. What was read last is kept here, and renewed by a thread; no message waits for it.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fastapi_events.background_thread import BackgroundThread
from fastapi_events.event import EventName, names
from fastapi_events.handlers.task_queue.announcement import Announcement, Member
from fastapi_events.handlers.task_queue.passes import Passes
from fastapi_events.handlers.task_queue.worker.outcome import TryLater
from fastapi_events.storage.catalogue import HEARTBEAT_SECONDS, Catalogue, Listing, Pause, Snapshot
from fastapi_events.subscriptions.pattern import PatternIndex
from fastapi_events.subscriptions.subscription import Subscriptions

logger: logging.Logger = logging.getLogger(__name__)

REFRESH_SECONDS = 1.0
"""How often what is known of the others is read again."""

_OLD_AFTER_SECONDS = 2 * REFRESH_SECONDS
"""What is older is read again before it is used: the thread that reads may not have had its turn. A worker
with new functions waits a little longer than that until it is ready."""

_EXPIRE_EVERY_SECONDS = 60.0
_STOP_SECONDS = 5.0


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


@dataclass(frozen=True, slots=True)
class _Known:
    """What was read last, prepared for being asked."""

    snapshot: Snapshot
    read_at: float
    own: int
    others: Mapping[str, Listing]
    index: PatternIndex[Listing]
    alive: frozenset[str]
    paused: Mapping[str, Pause]

    @classmethod
    def of(cls, snapshot: Snapshot, read_at: float, subscriptions: Subscriptions) -> _Known:
        own = {each.name for each in subscriptions}
        others = {each.name: each for each in snapshot.listings if each.name not in own}
        index: PatternIndex[Listing] = PatternIndex()
        for each in others.values():
            for pattern in each.patterns:
                index.add(pattern, each)
        paused = {each.subscription: each for each in snapshot.paused}
        alive = frozenset(name for each in snapshot.workers for name in each.subscriptions)
        return cls(snapshot, read_at, len(subscriptions), others, index, alive, paused)


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
        self._passes = Passes()
        self._alone = False
        self._announcement: Announcement | None = None
        self._trouble: str | None = None
        self._reader = BackgroundThread(self._work, name=f"fastapi-events-fleet-{member.name}")

    # Asked by fan-out, and by what takes unknown messages

    def match(self, name: EventName) -> Sequence[Listener]:
        """Who listens to an event: the subscriptions of this process, and those of others.

        Raises:
            TryLater: When the catalogue has never been read, and cannot be.
        """
        return self.matching()(name)

    def matching(self) -> Callable[[EventName], Sequence[Listener]]:
        """What says who listens to an event, for as many as a message carries: the fleet is looked at once.

        Raises:
            TryLater: When the catalogue has never been read, and cannot be.
        """
        own: Callable[[EventName], Sequence[Listener]] = self._member.subscriptions.match
        others = self._others()
        if others is None or not others.others:
            return own
        among = others.index

        def match(name: EventName) -> Sequence[Listener]:
            found = among.match(*names(name))
            return (*own(name), *{each.name: each for each in found}.values()) if found else own(name)

        return match

    def named(self, name: str) -> Listener | None:
        """The subscription with this name, in this process or another."""
        own = self._member.subscriptions.named(name)
        if own is not None:
            return own
        others = self._others()
        return None if others is None else others.others.get(name)

    def listed(self, name: str) -> Listing | None:
        """What the catalogue said last of a subscription that this process does not have."""
        return None if self._known is None else self._known.others.get(name)

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
        with contextlib.suppress(TryLater):  # the reason has been logged
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
        return self._passes.seconds(name, arguments, alive=name in others.alive)

    def pause_of(self, name: str) -> tuple[Pause, float] | None:
        """How a subscription is paused, and what time it is by the catalogue; None where it is not paused.

        Raises:
            TryLater: When the catalogue has never been read, and cannot be.
        """
        known = self._known if self._alone else self._others()
        if known is None or not known.paused:
            return None
        pause = known.paused.get(name)
        if pause is None:
            return None
        return pause, known.snapshot.now + time.monotonic() - known.read_at

    @property
    def catalogue(self) -> Catalogue | None:
        """Where its workers find each other; None where each knows itself only."""
        return self._member.catalogue

    def refresh(self) -> None:
        """Read the catalogue now, after this process has changed it."""
        self._attempt()

    def snapshot(self) -> Snapshot:
        """What the catalogue holds now.

        Raises:
            StorageError: When it fails.
        """
        catalogue = self._member.catalogue
        return Snapshot() if catalogue is None else catalogue.read(self._member.name)

    # A worker's life

    @property
    def has_worker_here(self) -> bool:
        """Whether this process is a worker, or one that a worker has forked to run functions."""
        return self._announcement is not None

    def boot(self, queues: Collection[str], *, engine: str) -> None:
        """A worker starts in this process: announce what it runs, and warn of what may surprise.

        Where other workers are at work already and would not know new functions yet, it waits until they do.

        Parameters:
            queues: Those that it consumes.
        """
        self._announcement = announcement = Announcement(
            self._member, queues, engine=engine, forget_after=self._forget_after
        )
        if self._attempt() and self._known is not None:
            announcement.warn_of_unlike_workers(self._known.snapshot)
            if not self._alone:
                announcement.settle(self._known.snapshot)

    def start(self) -> None:
        """Start the thread that signals that the worker is alive and reads the signals of others."""
        self._reader.start()

    def leave(self) -> None:
        """Announce that the worker ends, and end the thread."""
        announcement, self._announcement = self._announcement, None
        self._reader.stop(_STOP_SECONDS)
        if announcement is None or not announcement.is_ours:
            return
        try:
            catalogue = self._member.catalogue
            if catalogue is not None:
                announcement.withdraw(catalogue)
        except Exception as error:  # of a store or a broker; it is off the list in a while
            logger.debug("The worker could not say that it ends: %s", error)

    # Reading

    def _others(self) -> _Known | None:
        if self._alone:
            return None
        if not self._reader.is_started or self._is_late():  # a forked child knows what its parent knew then
            self._attempt()
            if self._alone:
                return None
            self._reader.start()
        known = self._known
        if known is None:
            raise TryLater(REFRESH_SECONDS)
        if known.own != len(self._member.subscriptions):
            known = self._known = _Known.of(known.snapshot, known.read_at, self._member.subscriptions)
        return known

    def _is_late(self) -> bool:
        """Whether what is known is old, though the store answers; where it does not, the thread tries."""
        known = self._known
        if known is None or self._trouble is not None:
            return False
        return time.monotonic() - known.read_at > _OLD_AFTER_SECONDS

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
            if self._announcement is not None and self._announcement.is_ours:
                self._announcement.write(catalogue, beats=beats, expires=expires)
            began = time.monotonic()
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
        self._known = known = _Known.of(snapshot, began, self._member.subscriptions)
        if self._announcement is not None:
            self._announcement.expect_those_of(known.others.values())
        return True
