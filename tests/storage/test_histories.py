"""What is added to a journal about an event."""

from __future__ import annotations

import json

import pytest

from fastapi_events.storage.histories import BITS, HAPPENINGS, NOTABLE, History, bits_of, outcomes_of


@pytest.mark.parametrize("outcome", HAPPENINGS)
def test_outcomes_are_bits_and_some_are_notable(outcome: str) -> None:
    history = History("1", "order", None, None, 5.0)
    history.add(BITS[outcome], 5.0, "{}")

    assert outcomes_of(bits_of([outcome])) == frozenset([outcome])
    assert history.is_notable == (outcome in NOTABLE)


def test_records_are_one_text_and_widen_the_time_of_which_it_tells() -> None:
    history = History("1", "order", None, None, 5.0)

    for at in (5.0, 3.0, 9.0):
        history.add(BITS["started"], at, f'{{"at":{at}}}')

    assert json.loads(history.text) == [{"at": 5.0}, {"at": 3.0}, {"at": 9.0}]
    assert (history.first_at, history.last_at) == (3.0, 9.0)
    assert outcomes_of(history.bits) == frozenset(["started"])
