"""Jobs: what is done to many dead letters, and how far it is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from starlette.requests import Request

from fastapi_events.console.jobs import Jobs, latest_first
from fastapi_events.console.page import Page
from fastapi_events.console.state import State
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.storage.jobs import Job


async def read_jobs(state: State, request: Request) -> Page:
    """Read the screen of all jobs."""
    found, troubles = await _found(state, request.app.state.jobs)
    return Page("dead", "Jobs", "jobs.html", {"found": found, "troubles": troubles})


async def read_job(state: State, request: Request) -> Page:
    """Read the screen of one job."""
    jobs: Jobs = request.app.state.jobs
    found, troubles = await _found(state, jobs)
    for handler, job in found:
        if job.id == request.path_params["id"]:
            return Page(
                "dead", "Job", "job.html", {"handler": handler, "job": job, "is_kept": jobs.is_kept(handler)}
            )
    if troubles:
        return Page(
            "dead", "The job cannot be shown", "failed.html", {"said": " ".join(troubles)}, status=503
        )
    said = "There is no such job: it ended more than a week ago, or the process that kept it has ended."
    return Page("dead", "No such job", "failed.html", {"said": said}, status=404)


async def _found(state: State, jobs: Jobs) -> tuple[Sequence[tuple[TaskQueueHandler, Job]], Sequence[str]]:
    """The jobs of all handlers, and which catalogues could not be asked."""
    told = await asyncio.gather(
        *(
            state.reads.ask(f"The catalogue of {each.name}", "jobs", partial(jobs.of, each), good_for=0.0)
            for each in state.handlers
        )
    )
    found = [
        (handler, job) for handler, each in zip(state.handlers, told, strict=True) for job in each.value or ()
    ]
    return latest_first(found), [each.trouble for each in told if each.trouble is not None]
