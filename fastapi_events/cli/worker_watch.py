"""Whether workers really consume: found out of their reports, and of what waits in their queues."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType

from fastapi_events import worker_reports
from fastapi_events.bounded_call import BoundedCall
from fastapi_events.embedded.lock import DirectoryLock
from fastapi_events.errors import ConfigurationError
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.worker_reports import Report, Verdict

logger: logging.Logger = logging.getLogger(__name__)

EVERY_SECONDS = 1.0
_ANSWER_SECONDS = 2.0
_END_SECONDS = 5.0

Waiting = Mapping[str, int]
"""How many messages are ready, by queue."""


@dataclass(slots=True)
class Judge:
    """Decides how the workers of some engines are. It asks nobody, and is told everything.

    A consumer stands still where messages wait in a queue, its process has room for one, and it takes none.

    Parameters:
        engines: Whose workers there should be.
        silent_after: Seconds after which a worker that stands still is not ready; after twice as many it is
            not live.
    """

    engines: Sequence[str]
    silent_after: float
    _waiting_since: dict[tuple[str, str], float] = field(default_factory=dict)

    def decide(
        self, reports: Iterable[Report], waiting: Mapping[str, Waiting | None], *, now: float
    ) -> tuple[Verdict, set[str]]:
        """The verdict, and the engines whose worker has to be started again.

        Parameters:
            reports: Of the processes that are alive.
            waiting: For each engine what waits in its queues; None where its broker does not answer.
        """
        self._note(waiting, now)
        problems: list[str] = []
        dead: set[str] = set()
        every = list(reports)
        for engine in self.engines:
            if waiting.get(engine) is None:
                problems.append(f"{engine}: the broker does not answer")
            own = [each for each in every if each["engine"] == engine]
            if not own:
                problems.append(f"{engine}: no worker has started yet")
            for report in own:
                found, still = self._problems_of(report, now)
                problems += [f"{engine}, pid {report['pid']}: {each}" for each in found]
                if still > 2 * self.silent_after:
                    dead.add(engine)
        verdict: Verdict = {
            "at": now, "live": not dead, "ready": not problems, "problems": problems,
            "workers": [
                {
                    "engine": each["engine"], "pid": each["pid"], "in_hand": each["in_hand"],
                    "silent_for": round(now - each["at"], 1),
                }
                for each in every
            ],
        }  # fmt: skip
        return verdict, dead

    def restarted(self, engine: str) -> None:
        """A worker is started again: it gets its time."""
        for key in [each for each in self._waiting_since if each[0] == engine]:
            del self._waiting_since[key]

    def _note(self, waiting: Mapping[str, Waiting | None], now: float) -> None:
        """Note since when messages have been waiting without a break."""
        there = {
            (engine, queue)
            for engine, found in waiting.items()
            for queue, count in (found or {}).items()
            if count
        }
        self._waiting_since = {each: self._waiting_since.get(each, now) for each in there}

    def _problems_of(self, report: Report, now: float) -> tuple[list[str], float]:
        """What is wrong with a process, and for how long it has stood still."""
        if not report["booted"]:
            return ["it does not consume yet"], 0.0
        problems = [f"the consumer of {each} has stopped" for each in report["stopped"]]
        if now - report["at"] > self.silent_after:
            problems.append(f"it has not reported for {now - report['at']:.0f} s")
        room_since = report["room_since"]
        if room_since is None:
            return problems, 0.0
        looped_at = report["looped_at"]
        if looped_at is not None and now - looped_at > self.silent_after:
            problems.append(f"its consumer has not looked for messages for {now - looped_at:.0f} s")
        longest = 0.0
        for queue, took in report["took"].items():
            since = self._waiting_since.get((report["engine"], queue))
            still = 0.0 if since is None else now - max(since, took, room_since)
            if still > self.silent_after:
                problems.append(f"messages wait in {queue}, and it has taken none for {still:.0f} s")
            longest = max(longest, still)
        return problems, longest


class WorkerWatch:
    """Looks after the workers of a target for the length of a `with` block, in a thread.

    Parameters:
        target: What the command was given; `fastapi-events probe` finds the verdict by it.
        handlers: Those of the target.
        silent_after: See `Judge`.
        restart: Ends the worker of an engine, which is started again.
    """

    def __init__(
        self,
        target: str,
        handlers: Sequence[TaskQueueHandler],
        *,
        silent_after: float,
        restart: Callable[[str], None],
    ) -> None:
        engines = list(dict.fromkeys(each.engine.name for each in handlers))
        self._judge = Judge(engines, silent_after)
        self._restart = restart
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
        self._thread = threading.Thread(target=self._work, name="fastapi-events-worker-watch", daemon=True)
        self._problems: list[str] = []
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
        verdict, dead = self._judge.decide(
            worker_reports.reports_in(self.folder), waiting, now=time.monotonic()
        )
        self.verdict = verdict
        if verdict["problems"] != self._problems:
            self._tell(verdict)
        worker_reports.write(self.folder, worker_reports.VERDICT, verdict)
        for engine in dead:
            logger.critical("The worker of %s stands still while messages wait: it is started again.", engine)
            self._judge.restarted(engine)
            self._restart(engine)

    def _tell(self, verdict: Verdict) -> None:
        """Say what has changed; how many seconds something takes is no change."""
        before, now = {_kind(each) for each in self._problems}, {_kind(each) for each in verdict["problems"]}
        if before and not now:
            logger.info("The workers are ready.")
        for each in verdict["problems"]:
            if _kind(each) not in before and self._problems:
                logger.warning("The workers are not ready: %s.", each)
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
