"""The functions of the row about settings: each tells through a pipe which process has called it."""

from __future__ import annotations

import os
import struct
import time

NOTHING = "cat-fed"
WAITING = "cat-looked-up"
SLOW = "cat-awaited"
RECORD = struct.Struct("i")
PIPE = "BENCH_PIPE"

_WAIT_SECONDS = 0.002
_SLOW_SECONDS = 0.25


def _tell(pipe: int) -> None:
    os.write(pipe, RECORD.pack(os.getpid()))


if PIPE in os.environ:
    from fastapi_events.event import Event
    from workers.events import events

    _pipe = os.open(os.environ[PIPE], os.O_WRONLY)

    @events.register(event_name=NOTHING)
    def feed(event: Event) -> None:
        """Do nothing else."""
        _tell(_pipe)

    @events.register(event_name=WAITING)
    def look_up(event: Event) -> None:
        """Wait, as for a database."""
        time.sleep(_WAIT_SECONDS)
        _tell(_pipe)

    @events.register(event_name=SLOW)
    def wait_long(event: Event) -> None:
        """Wait for so long that the worker fetches all that it may meanwhile."""
        time.sleep(_SLOW_SECONDS)
        _tell(_pipe)
