"""Looks after the workers of a supervisor: reads their reports, and what waits in their queues."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Protocol

from fastapi_events import worker_reports
from fastapi_events.bounded_call import BoundedCall
from fastapi_events.cli.worker_judge import NOT_STARTED, STARTS, Judge, Waiting
from fastapi_events.embedded.lock import DirectoryLock
from fastapi_events.errors import ConfigurationError
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.processes import cpu_seconds, has_ended
from fastapi_events.worker_reports import Verdict

logger: logging.Logger = logging.getLogger(__name__)

EVERY_SECONDS = 1.0
_ANSWER_SECONDS = 2.0
_LOOK_SECONDS = 5.0  # how long it takes until the next look is over, where a broker does not answer
_END_SECONDS = 5.0


class Restarts(Protocol):
    """What starts workers again: a `Supervisor`."""

    @property
    def is_stopping(self) -> bool:
        """Whether the workers are to end."""
        ...

    def restart(self, name: str, /) -> None:
        """End the worker of an engine, which is started again."""
        ...


class WorkerWatch:
    """Looks after the workers of a target for the length of a `with` block, in a thread.

    Parameters:
        target: What the command was given; `fastapi-events probe` finds the verdict by it.
        handlers: Those of the target.
        silent_after: See `Judge`.
        supervisor: Starts workers again that stand still.
    """

    def __init__(
        self,
        target: str,
        handlers: Sequence[TaskQueueHandler],
        *,
        silent_after: float,
        supervisor: Restarts,
    ) -> None:
        engines = list(dict.fromkeys(each.engine.name for each in handlers))
        self._judge = Judge(engines, silent_after)
        self._supervisor = supervisor
        self._waiting: dict[str, list[BoundedCall[Waiting]]] = {
            engine: [
                BoundedCall(partial(_waiting_in, each), good_for=EVERY_SECONDS)
                for each in handlers
                if each.engine.name == engine
            ]
            for engine in engines
        }
        self._base = worker_reports.base_of(target)
        self.folder: str = f"{self._base}/{os.getpid()}"
        """Where the workers report."""
        self._lock = DirectoryLock(Path(self.folder), patience=0.0)
        self._stopping = threading.Event()
        self._looked_at = time.monotonic()
        self._thread = threading.Thread(target=self._work, name="fastapi-events-worker-watch", daemon=True)
        self._problems = [f"{each}: {NOT_STARTED}" for each in engines]  # which goes without saying
        self.verdict: Verdict = {
            "at": time.monotonic(), "live": True, "ready": False, "problems": ["it has just started"],
            "workers": [],
        }  # fmt: skip
        """What it has found last."""

    def __enter__(self) -> WorkerWatch:
        try:
            worker_reports.make_private(self._base)
            shutil.rmtree(self.folder, ignore_errors=True)  # of an earlier process with this pid
            os.mkdir(self.folder, 0o700)
        except OSError as error:
            raise ConfigurationError(
                f"Workers have no place to report how they are: {error}. Set TMPDIR to a folder of yours."
            ) from error
        self._lock.claim()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join(_END_SECONDS)
        self._lock.release()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _work(self) -> None:
        while not self._stopping.wait(EVERY_SECONDS):
            try:
                self._look()
            except Exception:  # a full disk; the next look may succeed
                logger.exception("The workers cannot be looked at.")

    def _look(self) -> None:
        waiting = {engine: _together(calls) for engine, calls in self._waiting.items()}
        reports = list(worker_reports.reports_in(self.folder))
        cpu = {each["pid"]: cpu_seconds(each["pid"]) for each in reports}
        ended = {each["pid"] for each in reports if has_ended(each["pid"])}
        now = time.monotonic()
        if now - self._looked_at > self._judge.silent_after + _LOOK_SECONDS:
            # This process was stopped itself, as all of a container may be: so were the workers.
            self._judge.begin_anew(self._judge.engines)
        self._looked_at = now
        verdict, dead = self._judge.decide(reports, waiting, now=now, cpu=cpu, ended=ended)
        self.verdict = verdict
        if verdict["problems"] != self._problems and not self._supervisor.is_stopping:
            self._tell(verdict)
        worker_reports.write(self.folder, worker_reports.VERDICT, verdict)
        for engine, why in dead.items():
            logger.critical("The worker of %s stands still, and is started again: %s.", engine, why)
            self._supervisor.restart(engine)
        self._judge.begin_anew(dead)

    def _tell(self, verdict: Verdict) -> None:
        """Say what has changed; how many seconds something takes is no change."""
        before, now = {_kind(each) for each in self._problems}, {_kind(each) for each in verdict["problems"]}
        if before and not now:
            logger.info("The workers are ready.")
        for each in verdict["problems"]:
            if _kind(each) not in before:
                level = logging.INFO if each.endswith(STARTS) else logging.WARNING
                logger.log(level, "The workers are not ready: %s.", each)
        self._problems = verdict["problems"]


def _kind(problem: str) -> str:
    return problem.rpartition(" for ")[0] or problem


def _together(calls: Sequence[BoundedCall[Waiting]]) -> Waiting | None:
    """What waits in the queues of all handlers of an engine; None where a broker does not answer."""
    found: dict[str, int] = {}
    for each in calls:
        answer = each.wait(timeout=_ANSWER_SECONDS)
        if answer is None or answer.value is None:
            return None
        found |= answer.value
    return found


def _waiting_in(handler: TaskQueueHandler) -> Waiting:
    depths = handler.engine.depths(handler.worker.queues, timeout=_ANSWER_SECONDS)
    return {each.queue: each.ready or 0 for each in depths}
