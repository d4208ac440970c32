"""Connections are kept for the next, one thread at a time, and never across a fork."""

from __future__ import annotations

import os

from fastapi_events.handlers.connections import Keep, listed


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


def test_what_is_kept_can_be_closed() -> None:
    keep: Keep[Connection] = Keep()
    with keep.lent() as own:
        own.append(Connection())
    keep.close()
    assert own[0].closed
    with keep.lent() as again:
        assert again == []


def test_a_forked_child_has_none() -> None:
    keep: Keep[Connection] = Keep()
    with keep.lent() as own:
        own.append(Connection())
    child = os.fork()
    if child == 0:
        with keep.lent() as inherited:
            os._exit(len(inherited))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    with keep.lent() as again:
        assert again == own


def test_queues_are_listed_once_and_in_order() -> None:
    assert listed(["b", "a", "b"]) == "'a', 'b'"
