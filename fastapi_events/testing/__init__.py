"""For test suites of applications that dispatch events.

`capture_events` says what was dispatched. `InlineWorker` runs what listens to it, in the process of the test.
The pytest plugin has them as the fixtures `events` and `worker`.
"""

from fastapi_events.testing.capture import capture_events
from fastapi_events.testing.dispatched import DispatchedEvents
from fastapi_events.testing.errors import raise_errors
from fastapi_events.testing.fault_blocks import broker_down, crash_after, duplicate, reorder
from fastapi_events.testing.function_results import FunctionResults
from fastapi_events.testing.results import Run
from fastapi_events.testing.settlement import settle
from fastapi_events.testing.wire import check_wire
from fastapi_events.testing.worker import InlineWorker

__all__ = [
    "DispatchedEvents",
    "FunctionResults",
    "InlineWorker",
    "Run",
    "broker_down",
    "capture_events",
    "check_wire",
    "crash_after",
    "duplicate",
    "raise_errors",
    "reorder",
    "settle",
]
