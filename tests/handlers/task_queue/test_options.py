"""Options of `register` that go to an engine."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from fastapi_events.errors import InvalidSetting
from fastapi_events.handlers.task_queue import options
from fastapi_events.handlers.task_queue.options import EngineOptions

OPTIONS = EngineOptions(
    documented="the engine's page",
    checks={"time_limit": options.duration("milliseconds"), "tries": options.count},
    others=("colour",),
    refused={"vanishes": "would let events vanish; use queue= instead."},
    unit=timedelta(milliseconds=1),
)


def test_what_is_known_is_kept_and_a_timedelta_counted_in_the_engines_unit() -> None:
    given = {"time_limit": timedelta(seconds=2), "tries": 3, "colour": timedelta(microseconds=1500)}
    assert OPTIONS.checked(given, asking="feed") == {"time_limit": 2_000, "tries": 3, "colour": 1.5}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"tires": 3}, r"feed: unknown option 'tires'; did you mean 'tries'?"),
        ({"quue": "a"}, r"feed: unknown option 'quue'; did you mean 'queue'?"),
        ({"zzz": 3}, "feed: unknown option 'zzz'; it is no option of the engine's page."),
        ({"vanishes": 3}, "feed: 'vanishes' would let events vanish; use queue= instead."),
        (
            {"time_limit": "1m"},
            "feed: time_limit='1m': expected a timedelta, or a number of milliseconds, above 0.",
        ),
        ({"tries": -1}, "feed: tries=-1: expected a whole number, 0 or more."),
    ],
)
def test_what_is_not_is_refused_with_the_way_out(given: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        OPTIONS.checked(given, asking="feed")
    assert str(refused.value) == says


@pytest.mark.parametrize("bad", ["1m", None, True, -1, 0, float("nan"), timedelta(0)])
def test_a_length_of_time_is_a_number_above_0(bad: Any) -> None:
    with pytest.raises(
        InvalidSetting, match=r"^limit=.*: expected a timedelta, or a number of seconds, above 0"
    ):
        options.duration("seconds")("limit", bad)


def test_a_length_of_time_may_be_0_where_that_means_something() -> None:
    assert options.duration("seconds", positive=False)("backoff", 0) == 0
    with pytest.raises(InvalidSetting, match="0 or more"):
        options.duration("seconds", positive=False)("backoff", -1)


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (options.integer, -3, "high"),
        (options.integer, 3, True),
        (options.count, 0, -1),
        (options.function, print, None),
        (options.function, print, "print"),
    ],
    ids=["word", "bool", "negative", "none", "name"],
)
def test_a_value_is_kept_or_refused(check: options.Check, good: Any, bad: Any) -> None:
    assert check("option", good) is good
    with pytest.raises(InvalidSetting, match=r"^option="):
        check("option", bad)
