"""How long an import takes, each time in an interpreter of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def modules(names: str) -> Iterator[Callable[[int], float]]:
    """Seconds that importing takes, without the interpreter's own start.

    Parameters:
        names: Modules, with commas between them.
    """
    code = (
        "import time; began = time.perf_counter()\n"
        f"import {names}\n"
        "print(time.perf_counter() - began)"
    )  # fmt: skip

    def run(operations: int) -> float:
        return sum(_once(code) for _ in range(operations))

    _once(code)  # which writes the bytecode
    yield run


def _once(code: str) -> float:
    return float(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    )
