"""Reports what a worker process takes and does, each second, to the supervisor that has asked for it."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from fastapi_events import environment, worker_reports
from fastapi_events.per_process import PerProcess

logger: logging.Logger = logging.getLogger(__name__)

EVERY_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumption:
    """How an engine's consumers are, at one time.

    Parameters:
        queues: Those that are consumed.
        stopped: Those of them whose consumer has ended or is paused.
        in_hand: How many messages the process is at.
        has_room: Whether it would take another.
        looped_at: When the consumer that is furthest behind last looked for messages, on the monotonic clock;
            None where the engine cannot tell.
    """

    queues: Collection[str]
    stopped: Collection[str] = ()
    in_hand: int = 0
    has_room: bool = True
    looped_at: float | None = None


@dataclass(slots=True)
class _State:
    engine: str = ""
    look: Callable[[], Consumption] | None = None
    took: dict[str, float] = field(default_factory=dict)
    room_since: float | None = None
    stopping: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None


class Reporter:
    """Writes the reports of this process; does nothing where no supervisor has asked for them."""

    def __init__(self) -> None:
        self._state: PerProcess[_State] = PerProcess(_State)

    def boot(self, engine: str) -> None:
        """A worker starts in this process."""
        folder = environment.worker_reports()
        if folder is None:
            return
        state = self._state.get()
        state.engine = engine
        if state.thread is None:
            state.stopping.clear()
            state.thread = threading.Thread(
                target=self._work, args=(folder, state), name="fastapi-events-reporter", daemon=True
            )
            state.thread.start()

    def consume(self, look: Callable[[], Consumption]) -> None:
        """The worker has begun to consume, for the first time or once more.

        Parameters:
            look: Says how its consumers are; called each second, in a thread.
        """
        state = self._state.get()
        state.took.clear()
        state.room_since = None
        state.look = look

    def took(self, queue: str) -> None:
        """A message was taken from a queue."""
        state = self._state.made
        if state is not None:
            state.took[queue] = time.monotonic()

    def end(self) -> None:
        """The worker ends: it is not asked about any more."""
        state = self._state.take()
        if state is not None and state.thread is not None:
            state.stopping.set()
            state.thread.join(EVERY_SECONDS)

    def _work(self, folder: str, state: _State) -> None:
        name = f"{os.getpid()}.json"
        failed = False
        while not state.stopping.is_set():
            try:
                worker_reports.write(folder, name, _report(state))
                failed = False
            except FileNotFoundError:  # the supervisor is gone
                return
            except Exception as error:  # a full disk; or an engine in the middle of its end
                if not failed:
                    logger.warning("This worker cannot report how it is: %s: %s", type(error).__name__, error)
                failed = True
            state.stopping.wait(EVERY_SECONDS)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{folder}/{name}")


def _report(state: _State) -> worker_reports.Report:
    now = time.monotonic()
    look = state.look
    found = None if look is None else look()
    took: Mapping[str, float] = {}
    if found is not None:
        state.room_since = (state.room_since or now) if found.has_room else None
        took = {each: state.took.setdefault(each, now) for each in found.queues}
    return {
        "pid": os.getpid(), "engine": state.engine, "at": now, "booted": found is not None,
        "in_hand": 0 if found is None else found.in_hand, "room_since": state.room_since, "took": took,
        "stopped": [] if found is None else sorted(found.stopped),
        "looped_at": None if found is None else found.looped_at,
    }  # fmt: skip


reporter = Reporter()
"""This process's."""
