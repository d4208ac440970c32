"""What is done to many dead letters: in the background, paced, and by another process where one ends."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any, Final, cast

from fastapi_events.background_thread import BackgroundThread
from fastapi_events.errors import FastapiEventError
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.ids import random_id
from fastapi_events.storage.catalogue import Catalogue
from fastapi_events.storage.jobs import Job
from fastapi_events.storage.letters import LetterFilter, matching_letters
from fastapi_events.storage.memory import MemoryCatalogue

logger: logging.Logger = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 1.0
_STOP_SECONDS: Final = 5.0


class _Run:
    """A job that this process is at."""

    def __init__(self, job: Job) -> None:
        self.done, self.total = job.done, job.total
        self.stopping = threading.Event()
        self.thread: threading.Thread | None = None


class _Watch:
    """Looks after the jobs of one handler, in a thread of its own: a store that hangs holds up no other's.

    Parameters:
        look: Called again and again, and at once where `wake` is set.
        name: The thread's name.
    """

    def __init__(self, look: Callable[[], None], *, name: str) -> None:
        self._look = look
        self.trouble = ""
        self.wake = threading.Event()
        self.thread = BackgroundThread(self._work, name=name)

    def _work(self, stopping: threading.Event) -> None:
        while not stopping.is_set():
            self._look()
            self.wake.wait(_LOOK_SECONDS)
            self.wake.clear()


class Jobs:
    """Does jobs in the background, and those that another process has left.

    They are kept in the catalogues of the handlers; where a handler has none, only as long as this process.

    Parameters:
        handlers: Whose dead letters they concern.
    """

    def __init__(self, handlers: Sequence[TaskQueueHandler]) -> None:
        self._handlers = tuple(handlers)
        self._memory = MemoryCatalogue()
        self._me = random_id()
        self._runs: dict[str, _Run] = {}
        self._watches = {
            each.name: _Watch(partial(self._look, each), name=f"fastapi-events-console-jobs-{each.name}")
            for each in self._handlers
        }

    def start(self) -> None:
        """Begin to look for jobs, unless this process does already."""
        for each in self._watches.values():
            each.thread.start()

    def stop(self) -> None:
        """Leave the jobs to another process, or to a later one, and wait until they are left."""
        end = time.monotonic() + _STOP_SECONDS
        for watch in self._watches.values():
            watch.wake.set()
            watch.thread.stop(max(end - time.monotonic(), 0.0))
        runs = list(self._runs.values())
        for run in runs:
            run.stopping.set()
        for run in runs:
            if run.thread is not None:
                run.thread.join(max(end - time.monotonic(), 0.0))

    def begin(self, handler: TaskQueueHandler, job: Job) -> Job:
        """Begin a job, unless there is one with its id; it is done from now on, whoever looks."""
        kept = self._catalogue(handler).change_job(
            handler.name, job.id, lambda before, now: replace(job, changed=now) if before is None else None
        )
        assert kept is not None  # noqa: S101 - it was added, or there
        handler.audit.note(f"began to {job.verb}", str(job.wanted), count=0, by=job.by)
        self._now(handler)
        return kept

    def interrupt(self, handler: TaskQueueHandler, id_: str, *, by: str) -> bool:
        """Stop a job, so that it can go on later; whether it was running."""
        return self._turn(handler, id_, "running", "stopped", by)

    def go_on(self, handler: TaskQueueHandler, id_: str, *, by: str) -> bool:
        """Let a job go on that was stopped or has failed; whether it was."""
        return self._turn(handler, id_, "stopped", "running", by) or self._turn(
            handler, id_, "failed", "running", by
        )

    def of(self, handler: TaskQueueHandler) -> Sequence[Job]:
        """The jobs of a handler."""
        return self._catalogue(handler).jobs(handler.name)

    def find(self, id_: str) -> tuple[TaskQueueHandler, Job] | None:
        """The job with this id."""
        found = ((each, job) for each in self._handlers for job in self.of(each))
        return next((pair for pair in found if pair[1].id == id_), None)

    def is_kept(self, handler: TaskQueueHandler) -> bool:
        """Whether the jobs of a handler outlive this process."""
        return not handler.knows_itself_only

    def _turn(self, handler: TaskQueueHandler, id_: str, before: str, after: Any, by: str) -> bool:
        turned = False

        def change(job: Job | None, now: float) -> Job | None:
            nonlocal turned
            turned = job is not None and job.state == before
            return job.let_go(now, state=after, trouble="") if job is not None and turned else None

        self._catalogue(handler).change_job(handler.name, id_, change)
        if turned:
            handler.audit.note(
                {"stopped": "stopped"}.get(after, "went on with"), f"job {id_}", count=0, by=by
            )
            self._now(handler)
        return turned

    def _catalogue(self, handler: TaskQueueHandler) -> Catalogue:
        return handler.catalogue or self._memory

    def _now(self, handler: TaskQueueHandler) -> None:
        self.start()
        self._watches[handler.name].wake.set()

    # In threads

    def _look(self, handler: TaskQueueHandler) -> None:
        watch = self._watches[handler.name]
        try:
            self._look_at(handler)
            watch.trouble = ""
        except Exception as error:  # of a store or a broker's client; they may be back in a while
            if str(error) != watch.trouble:  # said once, and not each second
                logger.warning("The jobs of %s cannot be looked at: %s", handler.name, error)
            watch.trouble = str(error)

    def _look_at(self, handler: TaskQueueHandler) -> None:
        catalogue = self._catalogue(handler)
        for job in catalogue.jobs(handler.name):
            run = self._runs.get(job.id)
            if run is None and job.state == "running":
                self._take(handler, job)
            elif run is not None:
                kept = catalogue.change_job(handler.name, job.id, self._progress(run))
                if kept is None or kept.state != "running" or kept.owner != self._me:
                    run.stopping.set()

    def _progress(self, run: _Run) -> Any:
        def change(job: Job | None, now: float) -> Job | None:
            if job is None or job.state != "running" or job.owner != self._me:
                return None
            return job.held(self._me, now, done=run.done, total=run.total)

        return change

    def _take(self, handler: TaskQueueHandler, job: Job) -> None:
        """Take a job on that nobody is at."""

        def change(found: Job | None, now: float) -> Job | None:
            return found.held(self._me, now) if found is not None and found.is_free(now) else None

        kept = self._catalogue(handler).change_job(handler.name, job.id, change)
        if kept is None or kept.owner != self._me:
            return
        run = self._runs[job.id] = _Run(kept)
        run.thread = threading.Thread(
            target=self._do, args=(handler, kept, run), name=f"fastapi-events-job-{job.id}", daemon=True
        )
        run.thread.start()

    def _do(self, handler: TaskQueueHandler, job: Job, run: _Run) -> None:
        state, trouble = "running", ""
        try:
            left = _count(handler, job.wanted)
            if run.total is None:
                run.total = run.done + left
            run.done = max(run.done, run.total - left)  # by a process that ended before it could note so
            self._catalogue(handler).change_job(handler.name, job.id, self._progress(run))
            with closing(cast("Generator[int, None, None]", _steps(handler, job))) as steps:
                for count in steps:
                    run.done += count
                    if run.stopping.is_set():
                        return
            state = "done"
        except FastapiEventError as error:
            state, trouble = "failed", str(error)
        except Exception as error:
            logger.exception("Job %s of %s has failed", job.id, handler.name)
            state, trouble = "failed", f"{type(error).__name__}: {error}"
        finally:
            self._end(handler, job, run, state, trouble)

    def _end(self, handler: TaskQueueHandler, job: Job, run: _Run, state: str, trouble: str) -> None:
        def change(found: Job | None, now: float) -> Job | None:
            if found is None or found.owner not in ("", self._me):
                return None
            ended = found.state if found.state != "running" else state
            return found.let_go(now, state=ended, trouble=trouble, done=run.done, total=run.total)

        try:
            self._catalogue(handler).change_job(handler.name, job.id, change)
        except Exception as error:  # it is found again, once its lease has run out
            logger.warning("How far job %s is cannot be kept: %s", job.id, error)
        self._runs.pop(job.id, None)


def _steps(handler: TaskQueueHandler, job: Job) -> Iterator[int]:
    if job.verb == "discard":
        return handler.discard_all(job.wanted, rate=job.rate, by=job.by)
    return handler.replay_all(matching=job.wanted, rate=job.rate, max_in_flight=job.max_in_flight, by=job.by)


def _count(handler: TaskQueueHandler, wanted: LetterFilter) -> int:
    """How many letters are meant, as far as the store counts them by itself."""
    letters = handler.dead_letters
    if letters is None:
        return 0
    by_index = LetterFilter(
        subscription=wanted.subscription, event_name=wanted.event_name, group=wanted.whole_group,
        before=wanted.before,
    )  # fmt: skip
    if wanted != by_index:
        return sum(1 for _ in matching_letters(letters, handler.name, wanted))
    return letters.count(
        handler=handler.name, subscription=wanted.subscription, event_name=wanted.event_name,
        group=wanted.whole_group,
    )  # fmt: skip


def latest_first(jobs: Iterable[tuple[TaskQueueHandler, Job]]) -> list[tuple[TaskQueueHandler, Job]]:
    """Jobs with their handlers, in the order in which they are listed."""
    return sorted(jobs, key=lambda pair: (-pair[1].began, pair[1].id))
