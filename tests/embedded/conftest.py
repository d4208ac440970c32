"""What the tests of real processes share."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


def eventually(condition: Callable[[], object], *, within: float = 20.0) -> None:
    """Return as soon as the condition holds; the limit is for a failing test only."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"never became true: {condition}"
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    """Whether the process exists, and is more than a zombie that waits for being reaped."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout
    return bool(state.strip()) and not state.startswith("Z")


class Python:
    """A Python process of a test, with the package on its path."""

    def __init__(self, code: str, *arguments: object, module: str | None = None) -> None:
        how = ["-m", module] if module else ["-c", code]
        root = str(Path(__file__).parents[2])
        self.process = subprocess.Popen(
            [sys.executable, *how, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": root},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def read_line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def finish(self) -> tuple[str, str, int]:
        out, err = self.process.communicate(timeout=100)
        return out, err, self.process.returncode


@pytest.fixture
def python() -> Iterator[Callable[..., Python]]:
    """Starts Python processes, and ends those that the test leaves behind."""
    started: list[Python] = []

    def start(code: str, *arguments: object, module: str | None = None) -> Python:
        started.append(Python(code, *arguments, module=module))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
        each.process.communicate()
