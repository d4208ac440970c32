"""What worker processes report of themselves to the supervisor that started them, by files in a folder.

Times are of the monotonic clock, which all processes of a machine share. This module is imported by
`fastapi-events probe`, which has to be quick: it imports next to nothing.
"""

from __future__ import annotations

import json
import os
import stat
import threading
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, TypedDict

from fastapi_events import environment
from fastapi_events.processes import is_alive

VERDICT = "verdict.json"
LOCK = "lock"


class Report(TypedDict):
    """What a process says: how it is, and what it has taken.

    Parameters:
        pid: Its own.
        engine: `dramatiq` or `celery`.
        at: When it says so.
        booted: Whether it has begun to consume.
        in_hand: How many messages it is at.
        room_since: Since when it could have taken another; None while it is busy.
        took: For each queue that it consumes, when it last took a message, or began.
        stopped: The queues whose consumer has ended.
        looped_at: When the consumer that is furthest behind last looked for messages; None where it cannot
            tell.
    """

    pid: int
    engine: str
    at: float
    booted: bool
    in_hand: int
    room_since: float | None
    took: Mapping[str, float]
    stopped: list[str]
    looped_at: float | None


class Verdict(TypedDict):
    """What a supervisor thinks of its workers: what the probes answer."""

    at: float
    live: bool
    ready: bool
    problems: list[str]
    workers: list[dict[str, Any]]


def base_of(target: str) -> str:
    """The folder of all supervisors of a target, in the folder where the command runs."""
    temporary = environment.temporary_folder()
    name = target.replace("/", "_")[:100]
    return f"{temporary}/fastapi-events-{os.getuid()}/{name}-{zlib.crc32(os.getcwd().encode()):08x}"


def make_private(folder: str) -> None:
    """Make a folder that nobody else may write into.

    Raises:
        OSError: When it cannot be made, or is somebody else's.
    """
    os.makedirs(os.path.dirname(folder), mode=0o700, exist_ok=True)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    for each in (os.path.dirname(folder), folder):
        found = os.lstat(each)
        if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o022:
            raise PermissionError(f"{each} is open to others")


def write(folder: str, name: str, content: Report | Verdict) -> None:
    """Write a file as a whole: whoever reads it finds this content, or what was there before.

    Raises:
        OSError: When it cannot be written.
    """
    # Each writer uses its own file name: a thread of a process that is ending may still write.
    unfinished = f"{folder}/.{name}.{os.getpid()}.{threading.get_ident()}"
    with open(unfinished, "w") as file:
        json.dump(content, file)
    os.replace(unfinished, f"{folder}/{name}")


def reports_in(folder: str) -> Iterator[Report]:
    """The reports of processes that are alive; those of others are removed."""
    for name in os.listdir(folder):
        pid = name.removesuffix(".json")
        if not pid.isdigit() or pid == name:
            continue
        if not is_alive(int(pid)):
            os.unlink(f"{folder}/{name}")
            continue
        try:
            with open(f"{folder}/{name}") as file:
                report: Report = json.load(file)
        except (OSError, ValueError):  # it has just been removed
            continue
        yield report


def verdict_in(folder: str) -> Verdict | None:
    """What the supervisor has found; None before it has looked for the first time."""
    try:
        with open(f"{folder}/{VERDICT}") as file:
            verdict: Verdict = json.load(file)
    except (OSError, ValueError):
        return None
    return verdict
