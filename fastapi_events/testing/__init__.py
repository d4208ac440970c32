"""For test suites of applications that dispatch events.

`capture_events` says what was dispatched. `InlineWorker` runs what listens to it, in the process of the test.
The pytest plugin has them as the fixtures `events` and `worker`.
"""

from fastapi_events.testing.capture import capture_events
from fastapi_events.testing.dispatched import DispatchedEvents
from fastapi_events.testing.errors import raise_errors
from fastapi_events.testing.results import FunctionResults, Run
from fastapi_events.testing.worker import InlineWorker

__all__ = ["DispatchedEvents", "FunctionResults", "InlineWorker", "Run", "capture_events", "raise_errors"]
