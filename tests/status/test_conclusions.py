"""What follows from what brokers, catalogue and stores have answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from fastapi_events.handlers.task_queue.depth import QueueDepth
from fastapi_events.status.conclusions import (
    Registered,
    problems_of,
    queue_statuses,
    subscription_statuses,
    unserved,
)
from fastapi_events.status.values import OutboxDepth, QueueStatus
from fastapi_events.storage.catalogue import Listing, Pause, Relay, Snapshot, Worker

WORKER = Worker(id="w", host="h", pid=1, engine="list", queues=("events",), subscriptions=("feed",))
FEED = Listing(name="feed", patterns=("cat",), queue="events", engine="list", module="m")
HERE = Registered(functions=("feed",), queues=("events",))
ELSEWHERE = Registered(functions=(), queues=("events",))
NOTHING_WAITS = ", which is announced; nothing is known to wait for it in queue 'events'."


def queue(**depth: Any) -> QueueStatus:
    return QueueStatus(depth=QueueDepth(queue="events", **depth), workers=(WORKER,))


@pytest.mark.parametrize(
    ("workers", "consumers", "expected"),
    [
        (None, None, None),
        ((), None, False),
        ((), 0, False),
        (None, 0, False),
        (None, 1, True),
        ((), 1, True),
        ((WORKER,), None, True),
        ((WORKER,), 0, True),
    ],
    ids=repr,
)
def test_a_queue_is_consumed_if_the_broker_or_the_catalogue_says_so(
    workers: tuple[Worker, ...] | None, consumers: int | None, expected: bool | None
) -> None:
    depth = QueueDepth(queue="events", consumers=consumers)

    assert QueueStatus(depth=depth, workers=workers).is_consumed is expected


def test_a_queue_of_which_the_broker_says_nothing_is_there_all_the_same() -> None:
    [events] = queue_statuses(["events"], [], Snapshot(workers=(WORKER,)))

    assert (events.depth.ready, events.workers) == (None, (WORKER,))


def test_a_paused_function_is_paused_though_it_failed_before_and_nobody_without_a_worker() -> None:
    paused = (Pause(subscription="feed", since=0.0),)
    counts = Counter({("feed", "failed"): 2})

    [alive] = subscription_statuses([FEED], Snapshot(workers=(WORKER,), paused=paused), counts)
    [alone] = subscription_statuses([FEED], Snapshot(paused=paused), counts)

    assert (alive.state, alone.state) == ("paused", "nobody")


def test_a_function_without_a_worker_is_named_unless_its_queue_is() -> None:
    alone = list(subscription_statuses([FEED], Snapshot(), None))

    assert unserved([queue()], alone, Snapshot(listings=(FEED,)), HERE) == (
        ["No live worker runs 'feed', whose events would wait in queue 'events'."],
        [],
    )
    assert unserved([queue()], alone, Snapshot(), HERE) == (
        ["No live worker runs 'feed', and none has announced it, so that it gets no events."],
        [],
    )
    deserted = [QueueStatus(depth=QueueDepth(queue="events", ready=1), workers=())]
    assert unserved(deserted, alone, Snapshot(), HERE) == (
        ["Nobody consumes queue 'events', in which 1 message waits."],
        [],
    )


@pytest.mark.parametrize(
    ("depth", "problems", "notes"),
    [
        ({"ready": 2, "delayed": 1}, ["; 3 messages in queue 'events' may be for it."], []),
        ({"delayed": 1}, ["; 1 message in queue 'events' may be for it."], []),
        ({"ready": 0, "in_hand": 1}, [], [NOTHING_WAITS]),
        ({}, [], [NOTHING_WAITS]),
    ],
    ids=repr,
)
def test_a_function_that_a_deploy_has_removed_is_a_problem_only_where_something_may_wait_for_it(
    depth: dict[str, int], problems: list[str], notes: list[str]
) -> None:
    alone = list(subscription_statuses([FEED], Snapshot(), None))

    found = unserved([queue(**depth)], alone, Snapshot(listings=(FEED,)), ELSEWHERE)

    assert found == tuple([f"No live worker runs 'feed'{end}" for end in ends] for ends in (problems, notes))


@pytest.mark.parametrize(
    ("registered", "depth", "is_problem"),
    [
        ("events", {"ready": 0}, True),
        ("others", {"ready": 1}, True),
        ("others", {"ready": 0, "delayed": 1}, True),
        ("others", {}, True),
        ("others", {"ready": 0}, False),
    ],
)
def test_a_queue_that_a_deploy_has_removed_is_a_problem_unless_it_is_known_to_be_empty(
    registered: str, depth: dict[str, int], is_problem: bool
) -> None:
    deserted = QueueStatus(depth=QueueDepth(queue="events", **depth), workers=())
    alone = list(subscription_statuses([FEED], Snapshot(), None))

    problems, notes = unserved(
        [deserted], alone, Snapshot(listings=(FEED,)), Registered(functions=(), queues=(registered,))
    )

    assert (len(problems), len(notes)) == (is_problem, not is_problem)
    [said] = [*problems, *notes]
    assert said.startswith("Nobody consumes queue 'events'")


def test_dead_letters_are_a_problem_wherever_they_are_kept() -> None:
    assert list(problems_of([queue(dead=0)], None, None, 0)) == []
    assert list(problems_of([queue(dead=2)], None, None, 3)) == [
        "3 dead letters wait for somebody to decide.",
        "2 messages of queue 'events' given up, kept by the engine.",
    ]


def test_more_than_were_looked_at_is_said() -> None:
    outbox = OutboxDepth(waiting=500, claimed=0, unconfirmed=0, oldest=300.0, overdue=100)

    [told] = problems_of([], outbox, None, None)

    assert told.startswith("100 events at least should have left")


def test_why_events_stay_in_the_outbox_is_said_where_relays_are_known() -> None:
    outbox = OutboxDepth(waiting=1, claimed=0, unconfirmed=0, oldest=300.0, overdue=1)

    def why(relays: Sequence[Relay] | None) -> str:
        [told] = problems_of([], outbox, relays, None)
        return told.rpartition(": ")[2]

    assert why(None) == "no relay runs, or the broker does not take them."
    assert why([]) == "no relay runs."
    assert why([Relay(id="1", host="here", pid=1)]) == "the broker does not take them."
