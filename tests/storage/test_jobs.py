"""A job: who is at it, and which letters it means."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi_events.storage.jobs import LEASE_SECONDS, Job, filter_as_json, filter_of_json
from fastapi_events.storage.letters import LetterFilter

NOW = 1_000_000.0


def job(**more: object) -> Job:
    return Job(**{"id": "1", "verb": "replay", "by": "alice", "began": NOW} | more)  # type: ignore[arg-type]


def test_it_is_free_until_a_process_holds_it_and_once_that_is_silent() -> None:
    held = job().held("me", NOW)
    assert job().is_free(NOW)
    assert not held.is_free(NOW + LEASE_SECONDS - 1)
    assert held.is_free(NOW + LEASE_SECONDS)
    assert held.let_go(NOW).is_free(NOW)
    assert not held.let_go(NOW, state="stopped").is_free(NOW)


def test_it_means_no_letters_that_are_kept_after_it_began() -> None:
    began = datetime.fromtimestamp(NOW, UTC)
    earlier = datetime.fromtimestamp(NOW - 60, UTC)
    assert job().wanted == LetterFilter(before=began)
    assert job(matching=filter_as_json(LetterFilter(before=earlier))).wanted.before == earlier


def test_a_filter_is_the_same_after_a_way_through_json() -> None:
    matching = LetterFilter(
        subscription="a", event_name="b", error="c", group="d", before=datetime(2026, 1, 2, tzinfo=UTC),
        since=datetime(2026, 1, 1, tzinfo=UTC), fields={"card.holder": "Tom"},
    )  # fmt: skip
    assert filter_of_json(filter_as_json(matching)) == matching
    assert filter_as_json(LetterFilter()) == {}
