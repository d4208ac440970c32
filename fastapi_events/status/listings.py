"""Who listens in a whole fleet, and what does not fit: names nobody hears, patterns that match nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from fastapi_events.event import wire_name
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.handlers.task_queue.listing import listing_of
from fastapi_events.registry.payload_schema import registry
from fastapi_events.storage.catalogue import Listing, Snapshot
from fastapi_events.subscriptions.pattern import PatternIndex


def listings_of(handler: TaskQueueHandler, snapshot: Snapshot | None) -> list[Listing]:
    """The functions of the fleet, and those of this process that no worker has announced yet, by name."""
    own = (listing_of(each, engine=handler.engine.name, version=None) for each in handler.subscriptions)
    found = {each.name: each for each in (*own, *(() if snapshot is None else snapshot.listings))}
    return [found[name] for name in sorted(found)]


def index_of(listings: Iterable[Listing]) -> PatternIndex[Listing]:
    """Finds those that listen to an event, by its name."""
    index: PatternIndex[Listing] = PatternIndex()
    for each in listings:
        for pattern in each.patterns:
            index.add(pattern, each)
    return index


def idle_patterns(listings: Iterable[Listing], names: Collection[str]) -> list[str]:
    """The patterns that match none of the names that are known, where some are known at all."""
    patterns = {pattern for each in listings for pattern in each.patterns}
    index: PatternIndex[str] = PatternIndex()
    for each in patterns:
        index.add(each, each)
    return sorted(patterns.difference(*map(index.match, names))) if names else []


def unheard_names(listings: Iterable[Listing], names: Iterable[str]) -> list[str]:
    """The names that are known, and that no pattern matches."""
    index = index_of(listings)
    return [name for name in names if not index.match(name)]


def registered_names() -> list[str]:
    """The names of events for which this process has registered a schema."""
    return sorted(map(wire_name, registry))
