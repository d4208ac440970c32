"""The other end of `variants/child.py`: starts a variant's process and asks it for rounds."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measuring import Figures
from benchmarks.words import OURS, Variant

ROOT = Path(__file__).parents[1]
SCRIPT = Path(__file__).parent / "variants" / "child.py"

_PATIENCE_SECONDS = 180.0
_AT_ONCE = 2


class BrokenVariantError(Exception):
    """Raised when a variant fails or does not answer: then the benchmark is broken, not slow."""


class Child:
    """A variant in a process of its own.

    Parameters:
        python: The interpreter of its environment.
    """

    def __init__(self, variant: Variant, python: str) -> None:
        self.variant = variant
        self.versions: dict[str, str] = {}
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - close() does
        environ = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        if variant.environment == OURS:
            environ["PYTHONPATH"] = str(ROOT)
        self._process = subprocess.Popen(
            [python, str(SCRIPT), variant.target, json.dumps(dict(variant.options))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environ,
            cwd=SCRIPT.parent,
            start_new_session=True,
        )
        self._pending = b""

    def wait_until_ready(self) -> None:
        """Wait for its greeting, which says what is installed there."""
        if not self.versions:
            self.versions = self._answer()["versions"]

    def measure(self, operations: int) -> Figures:
        """Run one round.

        Raises:
            BrokenVariantError: When it fails.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"operations": operations}).encode() + b"\n")
        self._process.stdin.flush()
        found: Figures = self._answer()["figures"]
        return found

    def _answer(self) -> dict[str, Any]:
        output = self._process.stdout
        assert output is not None
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while b"\n" not in self._pending:
                if not selector.select(_PATIENCE_SECONDS):
                    raise self._broken(f"no answer within {_PATIENCE_SECONDS:.0f} s")
                read = os.read(output.fileno(), 65536)
                if not read:
                    raise self._broken("it ended")
                self._pending += read
        line, _, self._pending = self._pending.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise self._broken(f"{answer['error'].strip().splitlines()[-1]}\n{answer['error']}")
        return answer

    def _broken(self, what: str) -> BrokenVariantError:
        self._errors.seek(0)
        tail = self._errors.read()[-2000:].decode("utf-8", "replace")
        return BrokenVariantError(f"{self.variant.name} ({self.variant.target}): {what}\n{tail}")

    def let_end(self) -> None:
        """Tell it to end."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def close(self) -> None:
        """Let it end; it and what it started are gone after this."""
        self.let_end()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._errors.close()


@contextlib.contextmanager
def children(variants: Sequence[Variant], pythons: dict[str, str]) -> Iterator[list[Child]]:
    """The processes of variants, all ready. They start two at a time, and end side by side."""
    with contextlib.ExitStack() as stack:
        started: list[Child] = []
        for variant in variants:
            child = Child(variant, pythons[variant.environment])
            stack.callback(child.close)
            started.append(child)
            if len(started) >= _AT_ONCE:  # more of them would be too slow for deadlines of their own
                started[-_AT_ONCE].wait_until_ready()
        stack.callback(_let_end, started)
        for child in started:
            child.wait_until_ready()
        yield started


def _let_end(started: Sequence[Child]) -> None:
    for child in started:
        child.let_end()
