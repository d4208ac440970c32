"""Which event loop async functions meet in a worker of Dramatiq."""

from __future__ import annotations

import asyncio
from typing import Any

import dramatiq
from dramatiq.asyncio import get_event_loop_thread
from dramatiq.middleware import AsyncIO, Middleware, MiddlewareError

from fastapi_events import green_threads
from fastapi_events.errors import ConfigurationError
from fastapi_events.process_loop import prefer


class UnusableLoop(ConfigurationError, MiddlewareError):
    """Raised at boot when async actors cannot run beside sync ones."""


class EventLoop(Middleware):
    """Lets our async functions run on the loop of Dramatiq's `AsyncIO`, where the broker has it.

    Raises:
        UnusableLoop: At boot, when greenlets have replaced the threads that `AsyncIO` relies on.
    """

    def __init__(self) -> None:
        prefer(_loop_of_dramatiq)

    def before_worker_boot(self, broker: dramatiq.Broker, worker: Any) -> None:
        if green_threads.are_threads_green() and any(isinstance(each, AsyncIO) for each in broker.middleware):
            raise UnusableLoop(
                "Dramatiq's AsyncIO middleware runs its loop in a green thread here, beside which no other "
                "code of the process works. Take the middleware out: async functions of fastapi-events have "
                "a loop in a real thread. Or start `dramatiq` rather than `dramatiq-gevent`."
            )


def _loop_of_dramatiq() -> asyncio.AbstractEventLoop | None:
    thread = get_event_loop_thread()
    return None if thread is None else thread.loop
