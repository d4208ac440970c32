"""A subscription completes an event at most once."""

from __future__ import annotations

import pytest

from fastapi_events.errors import ConfigurationError
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.once import Once, check_once, current_claim
from fastapi_events.handlers.task_queue.worker.outcome import LONGEST_PAUSE_SECONDS, TryLater
from fastapi_events.storage.memory import MemoryInbox
from tests.recording import Diary

EVENT = Event("cat", id="1")


def test_what_was_completed_is_skipped_and_told(diary: Diary) -> None:
    once = Once(MemoryInbox())

    with once.claim("cook", EVENT) as is_to_run:
        assert is_to_run
    with once.claim("cook", EVENT) as is_to_run:
        assert not is_to_run

    assert [rest["subscription"] for _, rest in diary.of("skipped")] == ["cook"]


def test_each_subscription_and_each_event_is_on_its_own() -> None:
    once = Once(MemoryInbox())

    for subscription, event in (("cook", EVENT), ("eat", EVENT), ("cook", Event("cat", id="2"))):
        with once.claim(subscription, event) as is_to_run:
            assert is_to_run


def test_what_failed_may_run_again() -> None:
    once = Once(MemoryInbox())

    with pytest.raises(ValueError, match="no fish"), once.claim("cook", EVENT):
        raise ValueError("no fish")

    with once.claim("cook", EVENT) as is_to_run:
        assert is_to_run


def test_while_another_is_at_it_it_is_tried_later() -> None:
    inbox = MemoryInbox()

    with Once(inbox).claim("cook", EVENT), pytest.raises(TryLater) as later, Once(inbox).claim("cook", EVENT):
        pass

    assert 0 < later.value.seconds <= LONGEST_PAUSE_SECONDS


def test_the_function_finds_its_claim_and_may_record_the_completion_itself() -> None:
    inbox = MemoryInbox()

    with Once(inbox).claim("cook", EVENT):
        claim = current_claim.get()
        assert claim is not None
        claim.recorded = True  # as `complete_in` does, in the function's own transaction
    assert current_claim.get() is None

    # this inbox has not heard of it
    with pytest.raises(TryLater), Once(inbox).claim("cook", EVENT):
        pass


def test_without_an_inbox_it_is_refused_by_the_name_of_who_asks() -> None:
    check_once(MemoryInbox(), asking="app.cook")
    with pytest.raises(ConfigurationError, match=r"app\.cook: once=True needs an inbox"):
        check_once(None, asking="app.cook")
