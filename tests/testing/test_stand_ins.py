"""Whose turn it is to stand in for a handler, where several blocks are open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi_events import under_test
from fastapi_events.handlers.local import LocalHandler
from fastapi_events.testing.stand_ins import installed


class For:
    """Stands in for some handlers, or for all."""

    def __init__(self, name: str, *handlers: Any, runs: bool = False, outside: Sequence[Any] | None = None):
        self.name = name
        self.runs = runs
        self._handlers = handlers
        self._outside = outside

    def stand_in(self, handler: Any) -> str | None:
        return self.name if not self._handlers or handler in self._handlers else None

    def outside(self) -> Sequence[Any] | None:
        return self._outside


ONE, OTHER = LocalHandler(), LocalHandler()


def in_force() -> list[Any]:
    return list(under_test.in_force([ONE, OTHER]))


def test_the_innermost_decides_and_leaves_what_it_does_not_know_to_the_others() -> None:
    with installed(For("outer")):
        with installed(For("inner", ONE)):
            assert in_force() == ["inner", "outer"]
        assert in_force() == ["outer", "outer"]
    assert in_force() == [ONE, OTHER]
    assert under_test.stand_ins is None


def test_one_that_runs_functions_comes_before_one_that_records() -> None:
    with installed(For("runs", ONE, runs=True)), installed(For("records")):
        assert in_force() == ["runs", "records"]


def test_who_says_nothing_of_what_is_outside_leaves_it_to_the_others() -> None:
    with installed(For("outer", outside=["all"])), installed(For("inner")):
        assert under_test.stand_ins is not None
        assert under_test.stand_ins.outside() == ["all"]
