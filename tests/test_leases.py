"""Leases: extended while the work goes on, no more often than need be, and no longer."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

import pytest

from fastapi_events.errors import StorageError, StorageFull
from fastapi_events.leases import Keeper, until_written

OFTEN = 0.001


class Lease:
    """Counts how often it is extended; a test may wait for that, and say what is answered."""

    def __init__(self) -> None:
        self.times = 0
        self.answer: Callable[[], bool] = lambda: True
        self._changed = threading.Condition()

    def extend(self) -> bool:
        with self._changed:
            self.times += 1
            self._changed.notify_all()
        return self.answer()

    def begun(self, *, within: float = 10.0) -> bool:
        """Whether it has been extended once, be it before this was asked."""
        with self._changed:
            return self._changed.wait_for(lambda: self.times > 0, within)

    def extended(self, times: int = 1, *, within: float = 10.0) -> bool:
        with self._changed:
            until = self.times + times
            return self._changed.wait_for(lambda: self.times >= until, within)


def fails() -> bool:
    raise StorageError("the database is gone")


def test_a_lease_is_extended_again_and_again_while_the_block_runs() -> None:
    lease = Lease()

    with Keeper(every=OFTEN).keep(lease.extend):
        assert lease.extended(3)


def test_it_is_not_extended_any_more_once_the_block_has_ended() -> None:
    keeper, ended, other = Keeper(every=OFTEN), Lease(), Lease()

    with keeper.keep(other.extend):
        with keeper.keep(ended.extend):
            assert ended.extended()
        assert other.extended(2)  # the round in which it ended is over
        times = ended.times
        assert other.extended(3)

    assert ended.times == times


def test_it_is_not_extended_any_more_though_the_block_has_failed() -> None:
    keeper, failed, other = Keeper(every=OFTEN), Lease(), Lease()

    with pytest.raises(ValueError, match="no"), keeper.keep(failed.extend):
        raise ValueError("no")
    with keeper.keep(other.extend):
        assert other.extended(2)

    assert failed.times == 0


def test_a_lease_that_has_gone_is_given_up_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    keeper, gone, other = Keeper(every=OFTEN), Lease(), Lease()
    gone.answer = lambda: False

    with (
        caplog.at_level(logging.WARNING),
        keeper.keep(gone.extend),
        keeper.keep(other.extend),
    ):
        assert other.extended(3)

    assert gone.times == 1
    assert caplog.text.count("gone to another process") == 1


def test_a_store_that_fails_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    keeper, unlucky, other = Keeper(every=OFTEN), Lease(), Lease()
    unlucky.answer = fails

    with (
        caplog.at_level(logging.WARNING),
        keeper.keep(unlucky.extend),
        keeper.keep(other.extend),
    ):
        assert unlucky.extended(2)
        assert other.extended(2)

    assert "could not be extended: the database is gone" in caplog.text


def test_a_lease_that_is_given_back_while_the_store_is_asked_is_no_news(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Given a store that is slow to say that the lease is nobody's any more
    keeper, slow, other = Keeper(every=OFTEN), Lease(), Lease()
    given_back = threading.Event()
    slow.answer = lambda: not given_back.wait(10)

    with caplog.at_level(logging.WARNING):
        with keeper.keep(slow.extend):
            assert slow.extended()
        given_back.set()
        with keeper.keep(other.extend):
            assert other.extended()

    assert caplog.text == ""


@pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)  # that is the point
def test_a_forked_child_keeps_its_own_leases_and_not_those_of_its_parent() -> None:
    keeper, inherited = Keeper(every=OFTEN), Lease()
    with keeper.keep(inherited.extend):
        assert inherited.extended()
        child = os.fork()
        if child == 0:
            good = False
            try:
                before, own = inherited.times, Lease()
                with keeper.keep(own.extend):
                    good = own.extended(3) and inherited.times == before
            finally:
                os._exit(0 if good else 1)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert inherited.extended()


def test_a_store_that_hangs_costs_no_lease_of_another() -> None:
    keeper, hanging, other = Keeper(every=OFTEN), Lease(), Lease()
    door = threading.Event()
    hanging.answer = lambda: door.wait(10)

    with keeper.keep(hanging.extend, of="one store"), keeper.keep(other.extend, of="another"):
        assert hanging.begun()
        assert other.extended(3)
        door.set()


def test_what_came_of_it_is_written_though_the_store_is_away_for_a_moment(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answers: list[Exception | str] = [StorageError("away"), StorageError("still"), "written"]

    def write() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert until_written(write, what="The result") == "written"
    assert "The result cannot be written, and is tried again: still" in caplog.text


def test_who_cannot_write_it_while_the_lease_may_last_says_so() -> None:
    with pytest.raises(StorageError, match="gone"):
        until_written(fails, what="The result", within=0.0)


def test_a_store_that_is_full_is_not_waited_for() -> None:
    def full() -> None:
        raise StorageFull("no room")

    with pytest.raises(StorageFull):
        until_written(full, what="The result")
