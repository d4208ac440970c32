"""Where an event is in the queues of brokers, and in the dead queues that engines keep themselves."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from fastapi_events import redaction
from fastapi_events.errors import StorageError, reason_of
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.handlers.task_queue.messages import fan_out_name
from fastapi_events.handlers.task_queue.queue_search import (
    DELAYED,
    IN_HAND,
    MOST_MESSAGES,
    QueuedEvent,
    QueueSearch,
)
from fastapi_events.lives import Life
from fastapi_events.status.listings import listings_of
from fastapi_events.whereabouts import Found, Place, dead_place, local_time, name_in, places_of

TIMEOUT_SECONDS = 5.0
"""How long each step may take of which a broker is asked."""


@dataclass(slots=True)
class QueueContents:
    """What has come of looking for an event in brokers.

    Parameters:
        found: Where it is.
        unseen: What could not be looked into, and why; a sentence each, without its full stop.
    """

    found: list[Found] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)


def in_queues(handlers: Iterable[TaskQueueHandler], prefix: str) -> QueueContents:
    """Look for the events whose ids begin with a prefix. A broker that does not answer is told of, too."""
    contents = QueueContents()
    for handler in handlers:
        for look in (_queued, _kept_by_engine):
            _look(look, handler, prefix, contents)
    return contents


def places_now(life: Life, found: Sequence[Found], contents: QueueContents | None, now: float) -> list[Place]:
    """Where an event is, by what its journal supposes and by what stores and brokers were found to hold.

    Parameters:
        found: What they hold of it.
        contents: What has come of looking into brokers; None where they were not asked.
        now: The time, in seconds since 1970.
    """
    held, supposed = [each.place for each in found], places_of(life, now)
    if contents is None:
        return held or supposed
    if not held and not contents.unseen:
        return [_doubted(each) if each.where == "queue" else each for each in supposed]
    if not held:
        return supposed
    # The journal says in which process a function runs, the broker only that some worker has the message.
    at_work = [each for each in supposed if each.where == "worker"]
    return at_work + [each for each in held if not (at_work and each.where == "worker")]


def _doubted(place: Place) -> Place:
    return replace(
        place,
        text=f"{place.text}: so the journal says, but it is in no queue; a worker may have handled it a "
        "moment ago, or the broker has lost it",
    )


def _look(
    look: Callable[[TaskQueueHandler, str, QueueContents], None],
    handler: TaskQueueHandler,
    prefix: str,
    contents: QueueContents,
) -> None:
    try:
        look(handler, prefix, contents)
    except Exception as error:  # whatever a broker's client raises
        said = f"{handler.name}: its broker cannot be asked: {reason_of(error).rstrip('.')}"
        if said not in contents.unseen:
            contents.unseen.append(said)


def _queued(handler: TaskQueueHandler, prefix: str, contents: QueueContents) -> None:
    search: QueueSearch = handler.engine.search(_queues_of(handler), prefix, timeout=TIMEOUT_SECONDS)
    contents.unseen += search.unseen
    fan_outs = {fan_out_name(each) for each in handler.routes}
    contents.found += [
        Found(each.id, name_in(each.envelope), _place(each, fan_outs), redaction.shown_text(each.envelope))
        for each in search.found
    ]


def _kept_by_engine(handler: TaskQueueHandler, prefix: str, contents: QueueContents) -> None:
    queues = _queues_of(handler)
    with handler.engine.dead_queues(handler.name, queues, timeout=TIMEOUT_SECONDS) as queued:
        for each in itertools.islice(queued, MOST_MESSAGES):
            letter = each.letter
            if letter.event_id is not None and letter.event_id.startswith(prefix):
                place = dead_place(letter, by=handler.engine.name)
                shown = redaction.shown_text(letter.argument)
                contents.found.append(Found(letter.event_id, letter.event_name, place, shown))


def _queues_of(handler: TaskQueueHandler) -> list[str]:
    """All that the handler's workers consume, also for functions that this process does not have."""
    try:
        snapshot = None if handler.knows_itself_only else handler.fleet.snapshot()
    except StorageError:  # the catalogue is away
        snapshot = None
    return sorted({*handler.queues, *(each.queue for each in listings_of(handler, snapshot))})


def _place(event: QueuedEvent, fan_outs: Iterable[str]) -> Place:
    whom = "its functions" if event.task in fan_outs else event.task
    if event.state == IN_HAND:
        return Place("worker", f"with a worker, which has taken it from the queue {event.queue}, for {whom}")
    if event.state == DELAYED:
        due = "" if event.due is None else f", to be handled at {local_time(event.due)}"
        return Place("queue", f"in the queue {event.queue}, for {whom}{due}")
    before = f"{event.ahead:,} messages before it" if event.ahead else "as the next"
    return Place("queue", f"in the queue {event.queue}, {before}, for {whom}")
