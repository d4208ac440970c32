"""Fundamentals: a script or cron job opens a scope of its own."""

import pytest

from fastapi_events.dispatcher import dispatch
from fastapi_events.handlers.local import LocalHandler
from fastapi_events.scope import collect_events
from fastapi_events.typing import Event


def test_a_script_flushes_when_its_block_ends() -> None:
    # Given a handler,
    handler = LocalHandler()
    heard: list[str] = []

    @handler.register(event_name="cats-counted")
    def write_down(event: Event) -> None:
        heard.append(f"{event.payload['cats']} cats")

    # When a block dispatches,
    with collect_events([handler]):
        dispatch("cats-counted", payload={"cats": 9})
        assert heard == []

    # Then its events are handled when it ends;
    assert heard == ["9 cats"]

    # and when it fails, they never happened.
    with pytest.raises(RuntimeError), collect_events([handler]):
        dispatch("cats-counted", payload={"cats": 10})
        raise RuntimeError("miscounted")
    assert heard == ["9 cats"]
