"""For test suites of applications that dispatch events.

`capture_events` says what was dispatched. The pytest plugin has it as the fixture `events`.
"""

from fastapi_events.testing.capture import capture_events
from fastapi_events.testing.dispatched import DispatchedEvents
from fastapi_events.testing.errors import raise_errors

__all__ = ["DispatchedEvents", "capture_events", "raise_errors"]
