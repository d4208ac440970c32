"""One line for each row of the table that was put to the test, on one engine and broker."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

RESULTS = Path(__file__).parents[2] / ".faults" / "results.jsonl"


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a test has measured.

    Parameters:
        row: The number of the promise.
        fault: What was done.
        engine: `dramatiq`, `celery`, or `-` where it makes no difference.
        broker: The server, or `-`.
        mode: How the handler was set up.
        events: Events that were accepted.
        handled: Parts that were handled: an event times its subscriptions.
        duplicates: Parts that were handled once more than needed.
        dead: Parts among the dead letters.
        reported: Parts reported lost, where the mode allows it.
        lost: Parts that nobody can account for.
    """

    row: int
    fault: str
    engine: str = "-"
    broker: str = "-"
    mode: str = "-"
    events: int = 0
    handled: int = 0
    duplicates: int = 0
    dead: int = 0
    reported: int = 0
    lost: int = 0


def record(result: Result) -> None:
    """Add a line."""
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as file:
        file.write(json.dumps(asdict(result)) + os.linesep)


def recorded() -> list[Result]:
    """All lines, the newest of each kind, in the order of the table."""
    newest: dict[tuple[int, str, str, str, str], Result] = {}
    if RESULTS.exists():
        for line in RESULTS.read_text().splitlines():
            result = Result(**json.loads(line))
            newest[result.row, result.fault, result.engine, result.broker, result.mode] = result
    return [newest[key] for key in sorted(newest)]
