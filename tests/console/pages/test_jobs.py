"""The screens of jobs."""

from __future__ import annotations

import time
from collections.abc import Callable

from fastapi_events.storage.jobs import Job
from tests.console.conftest import Page, Shop

Look = Callable[[str], Page]


def test_all_jobs_are_listed_with_how_far_they_are(shop: Shop, look: Look) -> None:
    assert "No jobs" in look("/jobs").text
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


def test_a_catalogue_that_is_away_says_so_and_hides_no_jobs_of_another(shop: Shop, look: Look) -> None:
    made = Job(id="1", verb="replay", by="alice", began=time.time())
    shop.store.catalogue.change_job("celery:mail", "1", lambda job, now: made)
    real = shop.store.catalogue.jobs

    def jobs(destination: str) -> object:
        if destination == "dramatiq:events":
            raise ConnectionError("away")
        return real(destination)

    shop.store.catalogue.jobs = jobs  # type: ignore[method-assign, assignment]

    assert "The catalogue of dramatiq:events cannot be asked: ConnectionError: away" in look("/jobs").text
    assert any(each.startswith("replay") for each in look("/jobs").rows())
    assert look("/jobs/1").status == 200
    unknown = look("/jobs/2")
    assert unknown.status == 503
    assert "cannot be asked" in unknown.text


def test_one_that_is_not_known_says_why(look: Look) -> None:
    page = look("/jobs/unknown")
    assert page.status == 404
    assert "more than a week ago" in page.text
