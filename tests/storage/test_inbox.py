"""Every inbox does what an inbox has to, and goes by its server's clock where it has one."""

from __future__ import annotations

from typing import Any

from fastapi_events.storage.base import NEW, Busy
from fastapi_events.testing.contracts import InboxContract

KEY = "event 1, subscription app.handlers.feed"


class TestInbox(InboxContract):
    pass


def test_leases_run_on_the_clock_of_the_server(on_own_clock: Any) -> None:
    assert on_own_clock.inbox.begin(KEY, token="a", lease=3600) is NEW
    answer = on_own_clock.inbox.begin(KEY, token="b", lease=3600)
    assert isinstance(answer, Busy)
    assert 3500 < answer.seconds <= 3600
    assert on_own_clock.inbox.begin("short", token="a", lease=0.0) is NEW
    assert on_own_clock.inbox.begin("short", token="b", lease=30) is NEW
