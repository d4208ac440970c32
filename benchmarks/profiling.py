"""Where the time goes, of a request with events and of a flush: `python -m benchmarks.profiling`.

A thread that looks now and then at what others do sees them mostly where they let go of the interpreter's
lock. Hence every call and return is timed, in all threads; the timing itself is not counted.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.report import replace_between
from fastapi_events.embedded import EmbeddedServer

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"

_SHOWN = 12

_IDLE = frozenset(("select", "poll", "acquire", "wait", "send"))
"""Built-in functions in which a thread waits for another one: not counted. By `send` one wakes the loop's."""

_REPLIES = frozenset(("recv", "recv_into"))
"""Those in which it waits for the broker."""

Place = tuple[str, str]
"""A module and a function of it."""

Times = Counter[Place]
"""Nanoseconds that each function itself took, without those that it called."""


class Tracer:
    """Times what all threads do that are started, or run, while the block does."""

    def __init__(self) -> None:
        self.times: Times = Counter()
        self._own = threading.local()

    def __enter__(self) -> Tracer:
        threading.setprofile(self._hook)
        sys.setprofile(self._hook)
        return self

    def __exit__(self, *_: Any) -> None:
        sys.setprofile(None)
        threading.setprofile(None)

    def _hook(self, frame: FrameType, event: str, argument: Any) -> None:
        now = time.perf_counter_ns()
        own = self._own.__dict__
        # Whatever ran until now in this thread gets the time since the last call or return.
        place = own.get("place")
        if place is not None:
            self.times[place] += now - own["since"]
        if event in ("call", "c_return", "c_exception"):
            own["place"] = _place(frame)
        elif event == "return":
            own["place"] = _place(frame.f_back) if frame.f_back is not None else None
        elif argument.__name__ in _IDLE:
            own["place"] = None
        elif argument.__name__ in _REPLIES:
            own["place"] = ("redis", "(the broker's answer)")
        own["since"] = time.perf_counter_ns()


def profile(opened: AbstractContextManager[Callable[[int], Any]], seconds: float) -> Times:
    """What a variant does, for some seconds."""
    with Tracer() as tracer, opened as run:
        run(10)  # imports and first times
        tracer.times.clear()
        deadline = time.perf_counter() + seconds
        while time.perf_counter() < deadline:
            run(20)
        return tracer.times.copy()


def table(times: Times) -> str:
    """The functions that took most, and the rest."""
    total = sum(times.values()) or 1
    lines = ["| where | function | share |", "| --- | --- | --- |"]
    shown = times.most_common(_SHOWN)
    lines += [f"| `{module}` | `{function}` | {count / total:.0%} |" for (module, function), count in shown]
    rest = total - sum(count for _, count in shown)
    lines.append(f"| | {len(times) - len(shown)} others | {rest / total:.0%} |")
    return "\n".join(lines)


def by_part(times: Times) -> str:
    """The same, added up by package; our own modules each for itself."""
    total = sum(times.values()) or 1
    parts: Counter[str] = Counter()
    for (module, _), count in times.items():
        parts[module if module.startswith("fastapi_events") else module.partition(".")[0]] += count
    return ", ".join(f"`{part}` {count / total:.0%}" for part, count in parts.most_common(8)) + "."


def main(arguments: Sequence[str] | None = None) -> int:
    """Profile both, print the tables, and put them into the page if asked to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profiling", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each (default: 5)")
    parser.add_argument("--update-docs", action="store_true", help="write to docs/performance.md")
    options = parser.parse_args(arguments)
    sys.path.insert(0, str(Path(__file__).parent / "variants"))
    in_process, publishing = importlib.import_module("in_process"), importlib.import_module("publishing")
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer(folder) as server:
        profiles = {
            "A request with 10 events, in process, with a handler that does nothing": profile(
                in_process.through_middleware(events=10), options.seconds
            ),
            "A flush of 100 events by `DramatiqHandler`, until the broker has confirmed it": profile(
                publishing.ours(server.url, 100, "dramatiq"), options.seconds
            ),
        }
    text = "\n\n".join(
        f"**{title}.** {by_part(times)}\n\n{table(times)}" for title, times in profiles.items()
    )
    print(text)  # noqa: T201 - it is a command
    if options.update_docs:
        replace_between(PAGE, "profile", text)
    return 0


def _place(frame: FrameType) -> Place:
    return str(frame.f_globals.get("__name__", "?")), frame.f_code.co_name


if __name__ == "__main__":
    sys.exit(main())
