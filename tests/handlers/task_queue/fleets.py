"""Fleets for tests of what asks them."""

from __future__ import annotations

from dataclasses import dataclass, field

from fastapi_events.handlers.task_queue.fleet import Fleet
from fastapi_events.storage.catalogue import FORGET_AFTER_SECONDS, Catalogue
from fastapi_events.subscriptions.subscription import Subscriptions


@dataclass
class Member:
    """A handler as its fleet sees it."""

    subscriptions: Subscriptions
    catalogue: Catalogue | None = None
    name: str = "list:events"
    expected: set[tuple[str, str]] = field(default_factory=set)

    @property
    def knows_itself_only(self) -> bool:
        return self.catalogue is None

    def expect(self, name: str, queue: str) -> None:
        self.expected.add((name, queue))


def fleet_of(subscriptions: Subscriptions, catalogue: Catalogue | None = None) -> Fleet:
    """The fleet of a handler with these subscriptions; without a catalogue it knows itself only."""
    return Fleet(Member(subscriptions, catalogue), forget_after=FORGET_AFTER_SECONDS)
