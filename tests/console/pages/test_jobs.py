"""The screens of jobs."""

from __future__ import annotations

import time
from collections.abc import Callable

from fastapi_events.storage.jobs import Job
from tests.console.conftest import Page, Shop

Look = Callable[[str], Page]


def test_all_jobs_are_listed_with_how_far_they_are(shop: Shop, look: Look) -> None:
    assert "Nothing is done to many letters" in look("/jobs").text
    made = Job(
        id="1", verb="replay", by="alice", began=time.time(), done=40, total=100, state="stopped",
        matching={"group": "abc"}, rate=200.0,
    )  # fmt: skip
    shop.store.catalogue.change_job("dramatiq:events", "1", lambda job, now: made)

    [_, row] = look("/jobs").rows()
    assert row.startswith("replay stopped 40 100 group=abc")
    assert "alice" in row
    one = look("/jobs/1")
    assert "40 of 100" in one.text
    assert "200 a second" in one.text
    assert "Go on" not in one.text  # a reader may not


def test_one_that_is_not_known_says_why(look: Look) -> None:
    page = look("/jobs/unknown")
    assert page.status == 404
    assert "more than a week ago" in page.text
