"""Connections are kept for the next, one thread at a time, and never across a fork."""

from __future__ import annotations

import os

import pytest

from fastapi_events.handlers.brokers.connection_pool import Keep, listed


class Connection:
    closed = False

    def close(self) -> None:
        self.closed = True


def test_what_is_given_back_is_lent_again() -> None:
    keep: Keep[Connection] = Keep()
    with keep.lent() as own:
        assert own == []
        own.append(Connection())
        with keep.lent() as others:
            assert others == []  # it belongs to somebody
    with keep.lent() as again:
        assert again == own


def test_what_failed_is_not_kept() -> None:
    keep: Keep[Connection] = Keep()
    with keep.lent() as own:
        own.append(Connection())
        own.pop()
    with keep.lent() as again:
        assert again == []


def test_what_its_user_did_not_take_out_is_kept_though_an_error_passed() -> None:
    keep: Keep[Connection] = Keep()
    with pytest.raises(ValueError, match="of the message"), keep.lent() as own:
        own.append(Connection())
        raise ValueError("of the message, not of the connection")
    with keep.lent() as again:
        assert again == own


def test_the_one_used_last_is_lent_first() -> None:
    keep: Keep[Connection] = Keep()
    with keep.lent() as first, keep.lent() as second:
        first.append(Connection())
        second.append(Connection())
    with keep.lent() as again:
        assert again == first  # it was given back last


def test_as_many_are_kept_as_were_in_use_at_once() -> None:
    keep: Keep[Connection] = Keep()
    with keep.lent() as first, keep.lent() as second:
        first.append(Connection())
        second.append(Connection())
    with keep.lent() as one, keep.lent() as other, keep.lent() as third:
        assert {*one, *other} == {*first, *second}
        assert third == []


def test_what_is_in_use_is_not_closed_and_is_kept_after_it() -> None:
    keep: Keep[Connection] = Keep()
    with keep.lent() as own:
        own.append(Connection())
        keep.close()
        assert not own[0].closed
    with keep.lent() as again:
        assert again == own


def test_what_is_kept_can_be_closed() -> None:
    keep: Keep[Connection] = Keep()
    with keep.lent() as own:
        own.append(Connection())
    keep.close()
    assert own[0].closed
    with keep.lent() as again:
        assert again == []


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_none_and_closes_none_of_its_parents() -> None:
    keep: Keep[Connection] = Keep()
    with keep.lent() as own:
        own.append(Connection())
    child = os.fork()
    if child == 0:
        good = False
        try:
            with keep.lent() as none:
                good = none == []
                none.append(Connection())
            keep.close()
            good = good and none[0].closed and not own[0].closed
        finally:
            os._exit(0 if good else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    with keep.lent() as again:
        assert again == own


def test_queues_are_listed_once_and_in_order() -> None:
    assert listed(["b", "a", "b"]) == "'a', 'b'"
