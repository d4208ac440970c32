"""What a worker says of itself in the catalogue, and what it warns of when it boots."""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Protocol

from fastapi_events import environment
from fastapi_events.handlers.task_queue.listing import listing_of
from fastapi_events.ids import random_id
from fastapi_events.storage.catalogue import Catalogue, Listing, Snapshot, Worker
from fastapi_events.subscriptions.subscription import Subscriptions

logger = logging.getLogger(__name__)

SETTLE_SECONDS = 2.5
"""How long a worker with new functions waits until all others know of them, before it is ready."""

_GONE_AFTER_SECONDS = 60.0


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

    def expect(self, name: str, queue: str) -> None:
        """Messages may come to a queue for a function that only other workers have."""


class Announcement:
    """One boot of a worker of this process: it says what it runs, and that it is alive.

    Parameters:
        member: Its handler.
        queues: Those that it consumes.
        engine: Its engine's name.
        forget_after: Seconds after which a subscription is forgotten none of whose workers was heard of.
    """

    def __init__(self, member: Member, queues: Collection[str], *, engine: str, forget_after: float) -> None:
        self._member = member
        self._queues = queues
        self._forget_after = forget_after
        self._written = False
        subscriptions = member.subscriptions
        if not len(subscriptions):
            logger.warning(
                "This worker has no function of %s: it finds out who listens to events, and runs none of "
                "them. Start it with the module that registers them.", member.name,
            )  # fmt: skip
        self._worker = Worker(
            id=random_id(), host=socket.gethostname(), pid=os.getpid(), engine=engine,
            queues=tuple(sorted(queues)),
            modules=tuple(sorted({each.module for each in subscriptions})),
            subscriptions=tuple(sorted(each.name for each in subscriptions if (each.queue or "") in queues)),
            version=environment.application_version(),
        )  # fmt: skip

    def expect_those_of(self, others: Iterable[Listing]) -> None:
        """Prepare the engine for messages on our queues that are for functions of other workers."""
        for each in others:
            if each.queue in self._queues:
                self._member.expect(each.name, each.queue)

    @property
    def is_ours(self) -> bool:
        """Whether the worker is this process, and not the one that it was forked from."""
        return self._worker.pid == os.getpid()

    def write(self, catalogue: Catalogue, *, beats: bool, expires: bool) -> None:
        """Announce the worker unless it is announced, and renew the sign that it is alive.

        Parameters:
            beats: Whether it is time to say so.
            expires: Whether it is time to remove what nobody has been heard of for long.
        """
        name = self._member.name
        if not self._written:
            before = catalogue.read(name)
            # A module that this process has imported counts as its own, even if it registers nothing now.
            imported = {each.module for each in before.listings if each.module in sys.modules}
            modules = tuple(sorted({*self._worker.modules, *imported}))
            self._worker = replace(self._worker, modules=modules)
            self._warn_of_replaced(before)
            catalogue.announce(name, self._worker, self._listings())
            self._written = True
        elif beats and not catalogue.heard(name, self._worker):
            catalogue.announce(name, self._worker, self._listings(), again=True)
        if expires:
            catalogue.expire(name, forget_after=self._forget_after, silent_after=_GONE_AFTER_SECONDS)

    def withdraw(self, catalogue: Catalogue) -> None:
        """Say that the worker ends."""
        catalogue.leave(self._member.name, self._worker.id)

    def settle(self, snapshot: Snapshot) -> None:
        """Wait until workers that started before this one know of functions that were listed just now."""
        own = {each.name for each in self._member.subscriptions}
        newest = max((each.since for each in snapshot.listings if each.name in own), default=0.0)
        wait = newest + SETTLE_SECONDS - snapshot.now
        if wait > 0 and any(each.id != self._worker.id for each in snapshot.workers):
            time.sleep(min(wait, SETTLE_SECONDS))

    def warn_of_unlike_workers(self, snapshot: Snapshot) -> None:
        """Name the functions on our queues that only other workers have."""
        for queue, unlisted in unlisted_by_queue(snapshot, self._member.subscriptions, self._queues).items():
            logger.warning(
                "Queue %r has messages for functions that other workers run and this one does not: %s. Each "
                "that comes here is passed on, which costs both. Give them a queue of their own: "
                "register(…, queue=…).", queue, ", ".join(unlisted),
            )  # fmt: skip

    def _warn_of_replaced(self, before: Snapshot) -> None:
        """Name the functions that this boot takes from the catalogue while a worker like this runs them."""
        own = {each.name for each in self._member.subscriptions}
        running = {
            name
            for each in before.workers
            if each.version == self._worker.version and each.id != self._worker.id
            for name in each.subscriptions
        }
        replaced = [
            each
            for each in before.listings
            if each.module in self._worker.modules and each.name in running and each.name not in own
        ]
        if replaced:
            logger.warning(
                "This worker has imported %s and does not register %s, which a live worker of %s does: only "
                "events reach them any more that such a worker takes from the queue before others, since the "
                "newest boot of a module says what it registers. "
                "Unless that is a deploy which removes them, register them without a condition, or in a "
                "module of their own.",
                ", ".join(sorted({each.module for each in replaced})),
                ", ".join(each.name for each in replaced),
                f"version {self._worker.version}" if self._worker.version else "the same module",
            )

    def _listings(self) -> list[Listing]:
        return [
            listing_of(each, engine=self._worker.engine, version=self._worker.version)
            for each in self._member.subscriptions
        ]


def unlisted_by_queue(
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
