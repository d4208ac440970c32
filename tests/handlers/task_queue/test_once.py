"""A subscription completes an event at most once."""

from __future__ import annotations

import pytest

from fastapi_events.dispatcher import dispatch
from fastapi_events.errors import ConfigurationError, StorageError, StorageNotReady
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.once import Once, check_once, current_claim
from fastapi_events.handlers.task_queue.worker.outcome import LONGEST_PAUSE_SECONDS, TryLater
from fastapi_events.scope import collect_events
from fastapi_events.storage.inbox import Begun
from fastapi_events.storage.memory import MemoryInbox
from tests.handlers.task_queue.broker import ListHandler
from tests.recording import Diary

EVENT = Event("cat", id="1")


def test_what_was_completed_is_skipped_and_told(diary: Diary) -> None:
    once = Once("list:events", MemoryInbox())

    with once.claim("cook", EVENT) as is_to_run:
        assert is_to_run
    with once.claim("cook", EVENT) as is_to_run:
        assert not is_to_run

    assert [rest["subscription"] for _, rest in diary.of("skipped")] == ["cook"]


def test_each_subscription_and_each_event_is_on_its_own() -> None:
    once = Once("list:events", MemoryInbox())

    for subscription, event in (("cook", EVENT), ("eat", EVENT), ("cook", Event("cat", id="2"))):
        with once.claim(subscription, event) as is_to_run:
            assert is_to_run


def test_what_failed_may_run_again() -> None:
    once = Once("list:events", MemoryInbox())

    with pytest.raises(ValueError, match="no fish"), once.claim("cook", EVENT):
        raise ValueError("no fish")

    with once.claim("cook", EVENT) as is_to_run:
        assert is_to_run


def test_while_another_is_at_it_it_is_tried_later() -> None:
    inbox = MemoryInbox()

    with (
        Once("list:events", inbox).claim("cook", EVENT),
        pytest.raises(TryLater) as later,
        Once("list:events", inbox).claim("cook", EVENT),
    ):
        pass

    assert 0 < later.value.seconds <= LONGEST_PAUSE_SECONDS


def test_the_function_finds_its_claim_and_may_record_the_completion_itself() -> None:
    inbox = MemoryInbox()

    with Once("list:events", inbox).claim("cook", EVENT):
        claim = current_claim.get()
        assert claim is not None
        claim.recorded = True  # as `complete_in` does, in the function's own transaction
    assert current_claim.get() is None

    # this inbox has not heard of it
    with pytest.raises(TryLater), Once("list:events", inbox).claim("cook", EVENT):
        pass


class Failing(MemoryInbox):
    """An inbox that a test takes away, for so many times."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: dict[str, int] = {}

    def _fail(self, what: str) -> None:
        left = self.failures.get(what, 0)
        if left:
            self.failures[what] = left - 1
            raise StorageError("away")

    def begin(self, key: str, *, token: str, lease: float) -> Begun:
        self._fail("begin")
        return super().begin(key, token=token, lease=lease)

    def complete(self, key: str, *, token: str, keep: float) -> bool:
        self._fail("complete")
        return super().complete(key, token=token, keep=keep)

    def release(self, key: str, *, token: str) -> None:
        self._fail("release")
        super().release(key, token=token)


def test_an_inbox_that_is_away_for_a_moment_at_the_end_makes_nothing_run_twice() -> None:
    inbox = Failing()
    inbox.failures["complete"] = 3

    with Once("list:events", inbox).claim("cook", EVENT) as is_to_run:
        assert is_to_run

    with Once("list:events", inbox).claim("cook", EVENT) as is_to_run:
        assert not is_to_run


def test_while_the_inbox_is_away_functions_wait_and_have_not_failed() -> None:
    inbox = Failing()
    inbox.failures["begin"] = 1
    once = Once("list:events", inbox)

    with pytest.raises(TryLater), once.claim("cook", EVENT):
        pytest.fail("it ran, whatever had been completed")
    with pytest.raises(TryLater), once.claim("cook", Event("cat", id="2")):  # which asks nobody
        pytest.fail("it ran")
    assert inbox.failures["begin"] == 0


def test_an_inbox_that_is_not_set_up_is_a_failure() -> None:
    class NotReady(MemoryInbox):
        def begin(self, key: str, *, token: str, lease: float) -> Begun:
            raise StorageNotReady("create the tables")

    with pytest.raises(StorageNotReady), Once("list:events", NotReady()).claim("cook", EVENT):
        pass


def test_the_error_of_the_function_counts_though_the_inbox_is_away() -> None:
    inbox = Failing()
    inbox.failures["release"] = 1

    with pytest.raises(ValueError, match="no fish"), Once("list:events", inbox).claim("cook", EVENT):
        raise ValueError("no fish")


def test_a_lease_that_was_lost_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    class Lost(MemoryInbox):
        def complete(self, key: str, *, token: str, keep: float) -> bool:
            return False

    with Once("list:events", Lost()).claim("cook", EVENT):
        pass

    assert "cook has completed event 1 after its lease had gone to another worker" in caplog.text


def test_without_an_inbox_it_is_refused_by_the_name_of_who_asks() -> None:
    check_once(MemoryInbox(), asking="app.cook")
    with pytest.raises(ConfigurationError, match=r"app\.cook: once=True needs an inbox"):
        check_once(None, asking="app.cook")


def test_a_function_of_two_handlers_runs_for_each_and_so_do_those_of_what_it_dispatches() -> None:
    inbox, ran = MemoryInbox(), []
    handlers = [ListHandler(queue=queue, inbox=inbox) for queue in ("shop", "mail")]
    for handler in handlers:
        handler.register(lambda event: dispatch("cooked"), event_name="order", name="cook", once=True)
        handler.register(ran.append, event_name="cooked", name="serve", once=True)

    with collect_events(handlers):
        dispatch("order")
    for handler in handlers:
        handler.run()

    assert len(ran) == len({each.id for each in ran}) == 2
