"""What the journal's counters come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from fastapi_events.console.tallies import (
    IN_ALL,
    OF_EVENTS,
    OF_SUBSCRIPTIONS,
    Question,
    Tallies,
    Tally,
    tallies_since,
)
from fastapi_events.storage.journal import Count
from fastapi_events.storage.memory import MemoryJournal


def count(
    measure: str, number: int, *, minute: int = 60, subscription: str = "", name: str = "order"
) -> Count:
    return Count(
        minute=minute, event_name=name, subscription=subscription, measure=measure, count=number,
        handler="shop" if subscription else "",
    )  # fmt: skip


def tallies_of(*several: Sequence[Count], question: Question = IN_ALL) -> Tallies:
    journals = [MemoryJournal() for _ in several]
    for journal, counts in zip(journals, several, strict=True):
        journal.write([], counts)
    return tallies_since(journals, datetime.fromtimestamp(0, UTC), question, {"shop"})


def test_counts_of_several_journals_are_added_up() -> None:
    counted = [count("dispatched", 3)], [count("dispatched", 4), count("failed", 1)]

    assert tallies_of(*counted).all.happened == {"dispatched": 7, "failed": 1}
    assert tallies_of(*counted).all.minutes == {60: {"dispatched": 7, "failed": 1}}
    assert tallies_of(*counted, question=OF_EVENTS).events["order"].minutes == {60: {"dispatched": 7}}


def test_counts_are_added_up_in_all_by_name_and_by_subscription() -> None:
    counts = [
        count("dispatched", 3), count("dispatched", 2, name="user"),
        count("failed", 4, subscription="cook"), count("failed", 1, subscription="mail"),
        count("succeeded", 9, subscription="wash"), count("started", 9, subscription="wash"),
    ]  # fmt: skip

    assert tallies_of(counts).all.happened["dispatched"] == 5
    assert [of for of, _ in tallies_of(counts).failing()] == [("shop", "cook"), ("shop", "mail")]
    assert tallies_of(counts, question=OF_EVENTS).events["user"].happened["dispatched"] == 2
    wash = tallies_of(counts, question=OF_SUBSCRIPTIONS).subscriptions["shop", "wash"]
    assert wash.happened == {"succeeded": 9, "started": 9}


def test_series_have_a_number_for_each_minute() -> None:
    found = tallies_of([count("dispatched", 3, minute=120), count("dispatched", 2, minute=240)])

    assert found.all.series("dispatched", until=250.0, minutes=4) == [0, 3, 0, 2]


def test_quantiles_are_the_upper_bounds_of_their_buckets() -> None:
    counts = [count("age<=0.05", 90), count("age<=2.5", 9), count("age", 1)]
    tally = tallies_of(counts, question=OF_EVENTS).all

    assert (tally.quantile("age", 0.5), tally.quantile("age", 0.95)) == (0.05, 2.5)
    assert tally.quantile("age", 1.0) == 3_600.0
    assert Tally().quantile("duration", 0.5) is None


def test_what_other_handlers_do_is_left_out_and_names_of_which_they_alone_tell() -> None:
    counts = [
        count("dispatched", 3), count("failed", 1, subscription="cook"),
        count("dispatched", 2, name="user"), count("dispatched", 5, name="new"),
        replace(count("failed", 9, subscription="cook"), handler="other"),
        replace(count("published", 2, name="user"), handler="other"),
    ]  # fmt: skip

    in_all, by_name = tallies_of(counts), tallies_of(counts, question=OF_EVENTS)

    assert in_all.all.happened == {"dispatched": 10, "failed": 1}
    assert in_all.all.minutes == {60: {"dispatched": 10, "failed": 1}}
    assert [*in_all.subscriptions] == [("shop", "cook")]
    assert sorted(by_name.events) == ["new", "order"]
    assert (in_all.are_shared, by_name.are_shared, tallies_of(counts[:4]).are_shared) == (True, True, False)
