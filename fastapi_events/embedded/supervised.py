"""One child of a supervisor: its process of the moment, and when the next one is due."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fastapi_events import checks
from fastapi_events.embedded.child import ChildProcess
from fastapi_events.errors import ConfigurationError

logger: logging.Logger = logging.getLogger(__name__)

_LONGEST_LINE = 65_536


@checks.names_parameters
@dataclass(frozen=True, kw_only=True)
class Backoff:
    """How long to wait before a child is started again.

    Parameters:
        first: Seconds before the first restart; doubles with each one.
        longest: The longest wait.
        steady_after: Seconds that a child has to run for its next failure to count as the first again.
    """

    first: float = 0.5
    longest: float = 30.0
    steady_after: float = 10.0

    def __post_init__(self) -> None:
        for each in ("first", "longest", "steady_after"):
            checks.seconds(each, getattr(self, each))

    def after(self, previous: float | None, *, ran: float) -> float:
        """The wait that follows on `previous` (None: none yet), once the child `ran` for so many seconds."""
        if previous is None or ran >= self.steady_after:
            return min(self.first, self.longest)
        return min(previous * 2, self.longest)


class SupervisedChild:
    """A command that is kept running. Made by `Supervisor.add`; anyone may read it, only the supervisor acts.

    Parameters:
        name: What it is called in logs and before its lines of output.
        argv: The command.
        env: Variables on top of the supervisor's own.
        grace: Seconds between SIGTERM and SIGKILL.
        backoff: When to start it again.
        write: Takes the lines of its output, each with the name before it; None leaves the output alone.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None,
        grace: float,
        backoff: Backoff,
        write: Callable[[str], None] | None,
    ) -> None:
        self.name = name
        self.argv: tuple[str, ...] = tuple(argv)
        self.restarts: int = 0
        """How often it was started again."""
        self.exit_code: int | None = None
        """How it ended the last time; None before it ever has."""
        self.process: ChildProcess | None = None
        self.due: float | None = None
        self.kill_at: float | None = None
        self.pipe: int | None = None
        self._env = env
        self._grace = grace
        self._backoff = backoff
        self._write = write
        self._wait: float | None = None
        self._started_at = 0.0
        self._unfinished = b""

    @property
    def pid(self) -> int | None:
        """The pid of the command as it runs now; None while it waits for its next start."""
        process = self.process
        return process.pid if process is not None else None

    @property
    def ends_at_once(self) -> bool:
        """Whether its first process, should it end now, would have run for less than counts as steady."""
        return self.restarts == 0 and time.monotonic() - self._started_at < self._backoff.steady_after

    def start(self) -> None:
        """Run the command for the first time.

        Raises:
            ConfigurationError: It cannot be run.
        """
        self.restarts, self._wait = 0, None
        self._launch()

    def start_again(self) -> None:
        """Run the command another time; where that fails, wait for the next one."""
        self.restarts += 1
        try:
            self._launch()
        except ConfigurationError as error:
            self._plan_restart()
            logger.error("%s The next attempt follows in %.1f s.", error, self._wait)
        else:
            logger.info("The child %r runs again, with the pid %s.", self.name, self.pid)

    def ended(self, exit_code: int, *, expected: bool) -> None:
        """Take note that the process has ended, and plan the next one unless that was expected."""
        pid, self.process, self.exit_code = self.pid, None, exit_code
        self.kill_at = None
        self.forward_output()
        self.close_pipe()
        if expected:
            logger.debug("The child %r (pid %s) ended with %s.", self.name, pid, exit_code)
            return
        self._plan_restart()
        logger.warning(
            "The child %r (pid %s) ended with %s; it is started again in %.1f s.",
            self.name, pid, exit_code, self._wait,
        )  # fmt: skip

    def forward_output(self) -> None:
        """Hand on the lines that wait in the pipe."""
        while self.pipe is not None and self._write is not None:
            try:
                received = os.read(self.pipe, _LONGEST_LINE)
            except BlockingIOError:
                return
            if not received:
                self.close_pipe()
                return
            *lines, self._unfinished = (self._unfinished + received).split(b"\n")
            if len(self._unfinished) > _LONGEST_LINE:
                lines, self._unfinished = [*lines, self._unfinished], b""
            self._write_lines(lines)

    def close_pipe(self) -> None:
        """Stop reading, and hand on the beginning of a line whose end never came."""
        if self.pipe is not None:
            os.close(self.pipe)
            self.pipe = None
            self._write_lines([self._unfinished] if self._unfinished else [])
            self._unfinished = b""

    def _launch(self) -> None:
        self.due = None
        self._started_at = time.monotonic()
        output = None
        try:
            if self._write is not None:
                self.pipe, output = os.pipe()
                os.set_blocking(self.pipe, False)
            process = ChildProcess(self.argv, env=self._env, grace=self._grace, output=output)
            process.startup()
        except OSError as error:
            self.close_pipe()
            raise ConfigurationError(f"The child {self.name!r} cannot be run: {error}") from error
        finally:
            if output is not None:
                os.close(output)
        self.process = process

    def _write_lines(self, lines: Sequence[bytes]) -> None:
        for line in lines:
            if self._write is not None:
                self._write(f"{self.name} | {line.decode('utf-8', 'replace')}\n")

    def _plan_restart(self) -> None:
        now = time.monotonic()
        self._wait = self._backoff.after(self._wait, ran=now - self._started_at)
        self.due = now + self._wait
