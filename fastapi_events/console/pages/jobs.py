"""Jobs: what is done to many dead letters, and how far it is."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from fastapi_events.console.jobs import Jobs
from fastapi_events.console.page import Page
from fastapi_events.console.state import State
from fastapi_events.errors import FastapiEventError


async def read_jobs(state: State, request: Request) -> Page:
    """Read the screen of all jobs."""
    jobs: Jobs = request.app.state.jobs
    try:
        found, trouble = await run_in_threadpool(jobs.all), None
    except FastapiEventError as error:
        found, trouble = [], f"The catalogue cannot be asked: {error}"
    return Page("dead", "Jobs", "jobs.html", {"found": found, "trouble": trouble})


async def read_job(state: State, request: Request) -> Page:
    """Read the screen of one job."""
    jobs: Jobs = request.app.state.jobs
    found = await run_in_threadpool(jobs.find, request.path_params["id"])
    if found is None:
        said = "There is no such job: it ended more than a week ago, or the process that kept it has ended."
        return Page("dead", "No such job", "failed.html", {"said": said}, status=404)
    handler, job = found
    return Page("dead", "Job", "job.html", {"handler": handler, "job": job, "is_kept": jobs.is_kept(handler)})
