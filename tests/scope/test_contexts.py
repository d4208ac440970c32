"""The blocks that tie a scope to its code, and leave nothing behind."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from fastapi_events.context import event_store, in_req_res_cycle, middleware_identifier
from fastapi_events.scope.contexts import CycleContext, StoreContext


def test_inside_of_the_block_dispatch_finds_the_backlog_and_its_owner() -> None:
    backlog: Any = SimpleNamespace(middleware_id=7)

    with StoreContext(backlog) as found:
        assert found is backlog
        assert (event_store.get(), middleware_identifier.get()) == (backlog, 7)

    with pytest.raises(LookupError):
        event_store.get()


def test_a_block_inside_of_another_gives_back_what_it_found() -> None:
    outer: Any = SimpleNamespace(middleware_id=1)
    inner: Any = SimpleNamespace(middleware_id=2)

    with StoreContext(outer):
        with pytest.raises(ValueError, match="left early"), StoreContext(inner):
            raise ValueError("left early")
        assert (event_store.get(), middleware_identifier.get()) == (outer, 1)


def test_events_are_collected_within_a_cycle_only() -> None:
    assert not in_req_res_cycle.get()
    with CycleContext():
        assert in_req_res_cycle.get()
    assert not in_req_res_cycle.get()
