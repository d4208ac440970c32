"""A child process that never outlives this one, whatever this one dies of."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_KEEPER = Path(__file__).with_name("keeper.py")

# The keeper is a bare Python: it is up in some 50 ms, but the machine may be busy.
_KEEPER_TIMEOUT = 30.0


class ChildProcess:
    """One command, run once. When this process ends, even by SIGKILL, so does the command with its children.

    It runs in a session of its own, without a terminal: Ctrl-C reaches it through this process. An object
    is meant for one thread at a time; the thread that starts it may end.

    Parameters:
        argv: The command; no shell looks at it.
        env: Variables set on top of this process's own.
        grace: Seconds between SIGTERM and SIGKILL.
        output: A file descriptor for stdout and stderr; by default they are this process's.
        pass_fds: File descriptors that the command inherits.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        grace: float = 10.0,
        output: int | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.argv: list[str] = [os.fspath(each) for each in argv]
        self._env = dict(env or {})
        self._grace = grace
        self._output = output
        self._pass_fds = tuple(pass_fds)
        self._pid = 0
        self._error: int | None = None
        self._exit_code: int | None = None
        self._unread = b""

    def startup(self) -> None:
        """Run the command and return once it has a pid.

        Raises:
            OSError: It cannot be run; a `FileNotFoundError` where there is no such command.
        """
        self._control, theirs = socket.socketpair()
        with theirs:
            try:
                self._keeper = subprocess.Popen(  # noqa: S603 - running the caller's command is the point
                    [sys.executable, "-I", "-S", str(_KEEPER), str(theirs.fileno()), str(os.getpid()),
                     str(self._grace), *self.argv],
                    stdin=subprocess.DEVNULL,
                    stdout=self._output,
                    stderr=self._output,
                    env={**os.environ, **self._env},
                    pass_fds=(theirs.fileno(), *self._pass_fds),
                    start_new_session=True,
                )  # fmt: skip
            except BaseException:
                self._control.close()
                raise
        deadline = time.monotonic() + _KEEPER_TIMEOUT
        while not self._pid and self._exit_code is None and time.monotonic() < deadline:
            self._receive(deadline - time.monotonic())
        if self._error is not None:
            raise OSError(self._error, os.strerror(self._error), self.argv[0])
        if not self._pid:
            self._keeper.kill()
            self._ended(-signal.SIGKILL)
            raise ChildProcessError(f"The process that was to run {self.argv[0]} did not start.")

    def shutdown(self, number: int = signal.SIGTERM) -> int:
        """Ask the command to end, wait for the grace time, then kill it.

        Returns:
            Its exit code, as `subprocess` counts: negative where a signal ended it.
        """
        self.send_signal(number)
        exit_code = self.wait(self._grace)
        if exit_code is None:
            self.send_signal(signal.SIGKILL)
        while exit_code is None:  # ends: the keeper gives up on what cannot be killed
            exit_code = self.wait(1.0)
        return exit_code

    def send_signal(self, number: int) -> None:
        """Send a signal to the command, and SIGKILL to its children too; nothing happens once it has ended.

        The keeper sends it and reaps the command, so that it never goes to another process that got its pid.
        """
        if self._exit_code is None:
            with contextlib.suppress(OSError):
                self._control.sendall(bytes([number]))

    def wait(self, timeout: float) -> int | None:
        """The exit code; None if the command has not ended after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            self._receive(max(0.0, deadline - time.monotonic()))
            if self._exit_code is not None or time.monotonic() >= deadline:
                return self._exit_code

    @property
    def pid(self) -> int:
        """The pid of the command itself; 0 before it was started."""
        return self._pid

    @property
    def exit_code(self) -> int | None:
        """None while the command runs."""
        return self.wait(0.0) if self._pid else None

    def fileno(self) -> int:
        """Becomes readable when the command ends, for a selector."""
        return self._control.fileno()

    def _receive(self, timeout: float) -> None:
        """Take in one line from the keeper.

        Only one, so that a command which ends at once is seen to start first. What is left makes no
        selector miss the end: the keeper's own follows, and keeps the socket readable.
        """
        if self._exit_code is not None:
            return
        if b"\n" not in self._unread:
            self._control.settimeout(timeout)
            try:
                received = self._control.recv(256)
            except (TimeoutError, BlockingIOError):
                return
            except OSError:
                received = b""
            finally:
                self._control.settimeout(None)
            if not received:  # the keeper was killed, and the kernel has killed the command
                self._ended(-signal.SIGKILL)
                return
            self._unread += received
        line, newline, rest = self._unread.partition(b"\n")
        if not newline:
            return
        self._unread = rest
        word, number = line.split()
        if word == b"pid":
            self._pid = int(number)
        elif word == b"error":
            self._error = int(number)
            self._ended(127)
        else:
            self._ended(int(number))

    def _ended(self, exit_code: int) -> None:
        self._exit_code = exit_code
        self._control.close()
        self._keeper.wait()
