"""Where the time goes, of a request with events and of a flush: `python -m benchmarks.profiling`.

A thread looks a thousand times a second at what the other threads do. A tracing profiler would slow small
functions down more than large ones, which here is most of what there is to see, and would see one thread.
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

_OFTEN = 0.001
_SHOWN = 12

_IDLE = frozenset(("select", "wait", "_wait_for_tstate_lock", "poll"))
"""Functions in which a thread waits for another one."""

Samples = Counter[tuple[str, str]]
"""How often a function was seen at work, by module and name."""


class Sampler:
    """Counts what all other threads do while the block runs."""

    def __init__(self) -> None:
        self.samples: Samples = Counter()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Sampler:
        # Python lets a thread run for 5 ms before another gets a chance to look.
        self._interval = sys.getswitchinterval()
        sys.setswitchinterval(_OFTEN / 10)
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        self._thread.join()
        sys.setswitchinterval(self._interval)

    def _look(self) -> None:
        own = threading.get_ident()
        while not self._stop.wait(_OFTEN):
            for thread, frame in sys._current_frames().items():
                if thread != own and frame.f_code.co_name not in _IDLE:
                    self.samples[_place(frame)] += 1


def sample(opened: AbstractContextManager[Callable[[int], Any]], seconds: float) -> Samples:
    """What a variant does, for some seconds."""
    with opened as run:
        run(10)  # imports and first times
        with Sampler() as sampler:
            deadline = time.perf_counter() + seconds
            while time.perf_counter() < deadline:
                run(20)
        return sampler.samples


def table(samples: Samples) -> str:
    """The functions that were seen most often, and the rest."""
    total = sum(samples.values()) or 1
    lines = ["| where | function | share |", "| --- | --- | --- |"]
    shown = samples.most_common(_SHOWN)
    lines += [f"| `{module}` | `{function}` | {count / total:.0%} |" for (module, function), count in shown]
    rest = total - sum(count for _, count in shown)
    lines.append(f"| | {len(samples) - len(shown)} others | {rest / total:.0%} |")
    return "\n".join(lines)


def by_part(samples: Samples) -> str:
    """The same, added up by package; our own modules each for itself."""
    total = sum(samples.values()) or 1
    parts: Counter[str] = Counter()
    for (module, _), count in samples.items():
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
            "A request with 10 events, in process, with a handler that does nothing": sample(
                in_process.through_middleware(events=10), options.seconds
            ),
            "A flush of 100 events by `DramatiqHandler`, until the broker has confirmed it": sample(
                publishing.ours(server.url, 100, "dramatiq"), options.seconds
            ),
        }
    text = "\n\n".join(
        f"**{title}.** {by_part(samples)}\n\n{table(samples)}" for title, samples in profiles.items()
    )
    print(text)  # noqa: T201 - it is a command
    if options.update_docs:
        replace_between(PAGE, "profile", text)
    return 0


def _place(frame: FrameType) -> tuple[str, str]:
    return str(frame.f_globals.get("__name__", "?")), frame.f_code.co_name


if __name__ == "__main__":
    sys.exit(main())
