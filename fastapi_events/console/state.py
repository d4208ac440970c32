"""What the console shows: handlers, and what is asked of their brokers and stores."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeVar

from fastapi_events import clock
from fastapi_events.console.reads import Reads, Told
from fastapi_events.console.tallies import Question, Tallies, tallies_since
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.status import Status, StatusReader
from fastapi_events.storage.catalogue import Snapshot
from fastapi_events.storage.journal import CountPart, Journal
from fastapi_events.whereabouts import journals

_COUNTS_GOOD_FOR_SECONDS = 5.0
"""An hour of counts are many rows."""

_BY: Final[Sequence[CountPart]] = ("handler",)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HandlerStatus:
    """A handler with its status, as far as somebody could tell."""

    handler: TaskQueueHandler
    told: Told[Status]


@dataclass(frozen=True, slots=True)
class HandlerFleet:
    """A handler with what its catalogue says."""

    handler: TaskQueueHandler
    told: Told[Snapshot | None]


class State:
    """What all pages have in common.

    Parameters:
        handlers: Whose events are shown.
        reads: Asks for all pages.
        trace_url: Where traces can be looked at; `{trace_id}` stands for the id.
    """

    def __init__(
        self,
        handlers: Sequence[TaskQueueHandler],
        reads: Reads | None = None,
        *,
        trace_url: str | None = None,
    ) -> None:
        self.handlers: tuple[TaskQueueHandler, ...] = tuple(handlers)
        self.reads: Reads = Reads() if reads is None else reads
        self.trace_url = trace_url
        self.names: frozenset[str] = frozenset(each.name for each in self.handlers)
        self.journals: Sequence[Journal] = journals(self.handlers)
        self._readers = {each.name: StatusReader(each) for each in self.handlers}

    async def statuses(self) -> list[HandlerStatus]:
        """The status of each handler."""
        told = await asyncio.gather(
            *(
                self.reads.ask(f"The status of {each.name}", "status", self._reading(each))
                for each in self.handlers
            )
        )
        return [HandlerStatus(*pair) for pair in zip(self.handlers, told, strict=True)]

    async def fleets(self) -> list[HandlerFleet]:
        """What the catalogue of each handler says; None where each process knows itself only."""
        told = await asyncio.gather(
            *(
                self.reads.ask(f"The catalogue of {each.name}", "fleet", _fleet_of(each))
                for each in self.handlers
            )
        )
        return [HandlerFleet(*pair) for pair in zip(self.handlers, told, strict=True)]

    async def of_journals(
        self, key: Hashable, call: Callable[[Journal], Sequence[T]]
    ) -> Told[list[T]] | None:
        """What all journals answer, one after the other; None where there is no journal.

        Parameters:
            key: What is asked; an answer to the same is shared.
            call: Asks one of them.
        """
        if not self.journals:
            return None
        return await self.reads.ask(
            "The journal",
            key,
            lambda: [found for each in self.journals for found in call(each)],
        )

    async def counts(self, window: timedelta, question: Question) -> Told[Tallies] | None:
        """What the journals have counted lately, added up; None where there is no journal.

        Parameters:
            question: What of it.
        """
        if not self.journals:
            return None
        return await self.reads.ask(
            "The journal",
            ("counts", window, question),
            lambda: tallies_since(self.journals, clock.now() - window, question, self.names),
            good_for=_COUNTS_GOOD_FOR_SECONDS,
        )

    async def lost(self, window: timedelta) -> Told[int] | None:
        """How many events were lost lately; None where there is no journal."""
        if not self.journals:
            return None
        return await self.reads.ask(
            "The journal",
            ("lost", window),
            lambda: self._lost_since(clock.now() - window),
        )

    def named(self, name: str | None) -> TaskQueueHandler | None:
        """The handler with this name."""
        return next((each for each in self.handlers if each.name == name), None)

    def _lost_since(self, since: datetime) -> int:
        counts = (count for each in self.journals for count in each.sums(since, by=_BY, measures=("lost",)))
        return sum(each.count for each in counts if not each.handler or each.handler in self.names)

    def _reading(self, handler: TaskQueueHandler) -> Callable[[], Status]:
        reader, seconds = self._readers[handler.name], self.reads.deadline * 0.8
        return lambda: reader.read(timeout=seconds)


def _fleet_of(handler: TaskQueueHandler) -> Callable[[], Snapshot | None]:
    return lambda: None if handler.knows_itself_only else handler.fleet.snapshot()
