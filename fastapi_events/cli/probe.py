"""`fastapi-events probe`: are the workers that `fastapi-events worker` runs here ready, or alive?

It reads what their supervisor has found, and imports neither the application nor an engine.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import time
from collections.abc import Iterator
from typing import Any

from fastapi_events import worker_reports
from fastapi_events.cli.arguments import add_command
from fastapi_events.cli.text import say, say_json, shown
from fastapi_events.worker_reports import Verdict

_SILENT_SECONDS = 30.0
"""A supervisor that has looked at its workers so long ago speaks for them no more."""


def add_parser(commands: Any) -> None:
    """Add the command to those of `fastapi-events`."""
    parser = add_command(
        commands, "probe", _run,
        "say whether the workers that run here consume; exits 1 where they do not",
        target="what `fastapi-events worker` was given in this folder: app.handlers", metavar="MODULE",
        examples="""
        fastapi-events probe app.handlers
        fastapi-events probe app.handlers --live
        """,
    )  # fmt: skip
    parser.add_argument("--live", action="store_true", help="whether only a new process would help")


def _run(arguments: argparse.Namespace) -> int:
    found = list(_verdicts(arguments.target))
    question = "live" if arguments.live else "ready"
    good = bool(found) and all(each["live"] if arguments.live else each["ready"] for each in found)
    problems = [problem for each in found for problem in each["problems"]]
    if not found:
        problems = [f"no `fastapi-events worker {arguments.target}` of this user runs in {os.getcwd()}"]
    if arguments.json:
        workers = [worker for each in found for worker in each["workers"]]
        say_json({question: good, "problems": problems, "workers": workers})
    else:
        say(question if good else f"not {question}")
        for each in problems:
            say(f"  {shown(each)}")
    return 0 if good else 1


def _verdicts(target: str) -> Iterator[Verdict]:
    """What each supervisor of the target that is alive has found."""
    base = worker_reports.base_of(target)
    for name in sorted(os.listdir(base)) if os.path.isdir(base) else ():
        folder = f"{base}/{name}"
        if not _is_held(f"{folder}/{worker_reports.LOCK}"):
            continue
        now = time.monotonic()
        verdict = worker_reports.verdict_in(folder)
        if verdict is None:
            yield _without_answer("it has just started", now, live=True)
        elif now - verdict["at"] > _SILENT_SECONDS:
            silent = now - verdict["at"]
            yield _without_answer(f"nobody has looked at the workers for {silent:.0f} s", now, live=False)
        else:
            yield verdict


def _without_answer(problem: str, now: float, *, live: bool) -> Verdict:
    return {"at": now, "live": live, "ready": False, "problems": [problem], "workers": []}


def _is_held(path: str) -> bool:
    """Whether the supervisor that has the lock is alive."""
    try:
        with open(path) as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
