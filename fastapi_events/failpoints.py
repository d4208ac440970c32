"""Points at which a test can end the process, as a power cut would.

They do nothing unless `FASTAPI_EVENTS_CRASH_AT` names one when this module is imported.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from fastapi_events.environment import crash_at

_point = crash_at()


def _crash(name: str) -> None:
    if name == _point:
        os._exit(137)  # nothing is flushed, closed or logged, like kill -9


def _nothing(name: str) -> None:
    pass


crash_point: Callable[[str], None] = _crash if _point else _nothing
"""Ends the process if it is the point that the environment names."""
