"""What `dispatch()` may be told beside name and payload: delays, keys, headers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fastapi_events.dispatch_options import check_header_names
from fastapi_events.dispatcher import dispatch
from fastapi_events.errors import ConfigurationError, DelayTooLong
from fastapi_events.handlers.base import BaseEventHandler
from fastapi_events.handlers.echo import EchoHandler
from fastapi_events.handlers.local import LocalHandler
from fastapi_events.handlers.null import NullHandler
from fastapi_events.scope import collect_events
from fastapi_events.storage.memory import MemoryLanes, MemoryOutbox
from tests.handlers.task_queue.broker import ListHandler
from tests.recording import Recorder


class Patient(Recorder):
    longest_delay = 60.0


def dispatched(*handlers: BaseEventHandler, **options: Any) -> Any:
    with collect_events(handlers) as backlog:
        dispatch("hello", **options)
        return backlog[0]


def test_a_delay_is_a_timedelta_or_seconds() -> None:
    before = datetime.now(UTC)

    for delay in (30, 30.0, timedelta(seconds=30)):
        due = dispatched(Patient(), delay=delay).due
        assert timedelta(seconds=29) < due - before < timedelta(seconds=60)


def test_an_eta_is_taken_as_it_is() -> None:
    eta = datetime.now(UTC) + timedelta(seconds=10)

    assert dispatched(Patient(), eta=eta).due == eta
    assert dispatched(LocalHandler(), eta=eta - timedelta(days=1)).due < eta  # past: nobody has to wait


def test_an_ordering_key_is_on_the_event() -> None:
    assert dispatched(ListHandler(lanes=MemoryLanes()), ordering_key="user-42").ordering_key == "user-42"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"delay": -1}, "delay=-1: expected a timedelta or a number of seconds"),
        ({"delay": "soon"}, "delay='soon'"),
        ({"delay": float("nan")}, "delay=nan"),
        ({"delay": 1e300}, "delay=1e\\+300"),
        ({"eta": datetime(2030, 1, 1)}, "expected a datetime with a time zone"),
        ({"eta": 7}, "eta=7"),
        ({"delay": 1, "eta": datetime.now(UTC)}, "one of them says when"),
        ({"ordering_key": ""}, "expected a string of 1 to 255 characters"),
        ({"ordering_key": "x" * 256}, "expected a string of 1 to 255 characters"),
        ({"ordering_key": 42}, "ordering_key=42"),
        ({"ordering_key": "k", "delay": 1}, "cannot be delayed"),
        ({"headers": {"Upper": "x"}}, "header 'Upper'"),
    ],
)
def test_what_cannot_be_is_refused_where_it_is_dispatched(options: dict[str, Any], said: str) -> None:
    with collect_events([Patient()]) as backlog:
        with pytest.raises(ConfigurationError, match=said):
            dispatch("hello", **options)
        assert not backlog


def test_a_handler_that_cannot_hold_the_event_back_refuses_it() -> None:
    with pytest.raises(DelayTooLong, match=r"'hello' is due in .* s, but LocalHandler holds none back"):
        dispatched(LocalHandler(), delay=5)
    with pytest.raises(DelayTooLong, match="Patient holds at most 60 s back"):
        dispatched(Patient(), delay=timedelta(hours=1))


def test_one_handler_that_cannot_is_enough() -> None:
    with pytest.raises(DelayTooLong):
        dispatched(Patient(), LocalHandler(), delay=5)


def test_those_that_do_nothing_with_it_do_not_mind() -> None:
    assert dispatched(NullHandler(), EchoHandler(), delay=timedelta(days=1000)).due is not None


def test_an_outbox_holds_any() -> None:
    handler = ListHandler(outbox=MemoryOutbox(), relay=False)

    assert dispatched(handler, delay=timedelta(days=1000)).due is not None


def test_headers_that_cannot_travel_are_refused() -> None:
    assert check_header_names({"tenant": "acme", "n": 5, "b": True}) == {"tenant": "acme", "n": 5, "b": True}  # type: ignore[dict-item]
    for name, value in [("Upper", "x"), ("a-b", "x"), ("id", "x"), ("", "x"), ("fine", {}), ("größe", "x")]:
        with pytest.raises(ConfigurationError):
            check_header_names({name: value})  # type: ignore[dict-item]
    with pytest.raises(ConfigurationError, match=r"headers=\['tenant'\]: expected a mapping"):
        check_header_names(["tenant"])  # type: ignore[arg-type]
