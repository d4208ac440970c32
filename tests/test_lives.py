"""What became of an event in each subscription, and of those that it caused."""

from __future__ import annotations

from typing import Any

from fastapi_events.lives import Life, causes_of, life_of
from fastapi_events.storage.journal import Record
from fastapi_events.storage.memory import MemoryJournal
from fastapi_events.whereabouts import places_of

NOW = 2_000.0


def record(what: Any, at: float = 1_000.0, event_id: str = "a", **more: Any) -> Record:
    values = {"event_name": "order", "correlation": "a", "process": "here:1", **more}
    return Record(event_id=event_id, what=what, at=at, **values)


def life(*records: Record) -> Life:
    journal = MemoryJournal()
    journal.write([record("dispatched"), *records])
    [event] = journal.find("a")
    return life_of(journal, event)


def test_attempts_are_gathered_by_subscription() -> None:
    found = life(
        record("fanned_out", 1_001.0, to=("cook", "mail")),
        record("started", 1_002.0, subscription="cook", queue="kitchen"),
        record("failed", 1_002.5, subscription="cook", queue="kitchen", duration=0.5, error="E: no"),
        record("retried", 1_002.5, subscription="cook", queue="kitchen", attempt=1, wait=2.0, error="E: no"),
        record("started", 1_005.0, subscription="cook", queue="kitchen", process="there:2"),
        record("succeeded", 1_005.2, subscription="cook", queue="kitchen", duration=0.2),
    )

    cook, mail = found.fates
    assert (cook.subscription, cook.queue, cook.state) == ("cook", "kitchen", "succeeded")
    first, second = cook.attempts
    assert (first.process, first.duration, first.error, first.wait) == ("here:1", 0.5, "E: no", 2.0)
    assert (second.process, second.duration, second.error, second.wait) == ("there:2", 0.2, None, None)
    assert (mail.subscription, mail.state, mail.attempts) == ("mail", "waiting", [])


def given_up(at: float) -> list[Record]:
    failed = record("failed", at + 1, subscription="cook", error="E: no")
    return [
        record("started", at, subscription="cook"),
        failed,
        record("dead", at + 2, subscription="cook", error="E: no"),
    ]


def test_what_was_replayed_and_went_well_is_dead_no_longer() -> None:
    again = [
        record("started", 1_010.1, subscription="cook"),
        record("succeeded", 1_010.2, subscription="cook"),
    ]
    dead, replayed = given_up(1_000.0), record("replayed", 1_010.0, subscription="cook")

    assert life(*dead).state == "dead"
    assert life(*dead, replayed).state == "replayed"
    done = life(*dead, replayed, *again)
    assert done.state == "replayed, succeeded"
    assert [(each.state, each.reason, len(each.attempts)) for each in done.fates] == [("succeeded", None, 2)]


def test_a_replay_that_is_told_after_the_function_has_begun_moves_nothing() -> None:
    again = [
        record("started", 1_010.1, subscription="cook"),
        record("succeeded", 1_010.2, subscription="cook"),
    ]
    late = record("replayed", 1_010.3, subscription="cook")

    done = life(*given_up(1_000.0), *again, late)
    assert (done.state, done.fates[0].state, places_of(done, NOW)) == ("replayed, succeeded", "succeeded", [])

    twice = life(*given_up(1_000.0), *given_up(1_010.0), record("replayed", 1_012.5, subscription="cook"))
    assert (twice.state, twice.fates[0].state) == ("dead, replayed", "dead")
    once_more = record("replayed", 1_020.0, subscription="cook")
    assert life(*twice.records, once_more).fates[0].state == "replayed"


def test_a_chain_is_followed_both_ways_even_in_a_circle() -> None:
    journal = MemoryJournal()
    journal.write(
        [
            record("dispatched", cause="c"),
            record("dispatched", 1_001.0, event_id="b", cause="a"),
            record("dispatched", 1_002.0, event_id="c", cause="b"),
        ]
    )
    first, second, third = journal.chain("a")

    assert [each.id for each in causes_of(journal, second)] == ["b", "c", "a"]
    assert life_of(journal, first).children[0].children[0].event.id == third.id

    journal.write([record("dispatched", 1_003.0, event_id="d", correlation="alone")])
    [alone] = journal.find("d")
    assert causes_of(journal, alone) == []
