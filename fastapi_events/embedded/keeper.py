"""Stands between a process and its child, so that the child never outlives that process.

`child.py` runs this file as a script of its own. It must start fast and imports nothing of ours.

Why a process, and not `PR_SET_PDEATHSIG` alone: that signal comes when the *thread* that forked ends, not
only when the process does; macOS does not have it; and it reaches the child, but not the child's children,
such as the worker processes of a Dramatiq master. The keeper has one thread, and a child that leads a
process group of its own. It ends that group when its parent is gone, which it learns from the end of the
socket between them, at once, and from its parent's pid, in case a fork of the parent holds the socket open.
Should the keeper itself be killed, its child gets `PR_SET_PDEATHSIG` where there is one.

On the socket, every byte from the parent is the number of a signal for the command; SIGKILL is for all of
its group. The keeper writes `pid PID`, then `exit CODE`; or `error ERRNO` where the command cannot be run.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable

try:
    import ctypes
except ImportError:  # a Python built without libffi: SIGKILL of the keeper leaves the command running
    ctypes = None  # type: ignore[assignment]

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

LOOK_AT_PARENT_EVERY = 1.0
LOOK_AT_GROUP_EVERY = 0.05  # orphans that another process reaps are looked for again and again
UNKILLABLE_AFTER = 5.0


class Keeper:
    """Runs one command and ends it together with the parent.

    Parameters:
        control: The socket to the parent.
        parent: The parent's pid, as the parent knows it.
        grace: Seconds between SIGTERM and SIGKILL once the parent is gone, or the command has ended and
            left processes behind.
    """

    def __init__(self, control: socket.socket, *, parent: int, grace: float) -> None:
        self._control = control
        self._parent = parent
        self._grace = grace
        self._pid = 0
        self._exit_code: int | None = None
        self._orphaned = False
        self._deadline: float | None = None
        self._killed = False
        self._inbox = _signals_as_bytes(signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def run(self, argv: list[str]) -> None:
        """Run the command until it and all of its group have ended."""
        prctl = _prctl()
        prctl(PR_SET_CHILD_SUBREAPER, 1)  # orphans of the group come to us, and are reaped
        try:
            self._pid = _spawn(argv, prctl)
        except OSError as error:
            self._tell(f"error {error.errno}")
            return
        self._tell(f"pid {self._pid}")
        while self._exit_code is None or self._group_lives():
            self._listen()
            ended_now = self._reap()
            if ended_now or (self._orphaned and self._deadline is None):
                self._signal(signal.SIGTERM)  # to the command; or to what it has left behind
                self._deadline = self._deadline or time.monotonic() + self._grace
            elif self._deadline is not None and time.monotonic() >= self._deadline:
                if self._killed:
                    break
                self._kill()
        self._tell(f"exit {-signal.SIGKILL if self._exit_code is None else self._exit_code}")

    def _listen(self) -> None:
        pause = LOOK_AT_PARENT_EVERY if self._exit_code is None else LOOK_AT_GROUP_EVERY
        if self._deadline is not None:
            pause = min(pause, max(0.0, self._deadline - time.monotonic()))
        watched = [self._inbox] if self._orphaned else [self._inbox, self._control]
        ready = select.select(watched, [], [], pause)[0]
        if self._inbox in ready and set(self._inbox.recv(4096)) - {signal.SIGCHLD}:
            self._orphaned = True  # whoever ends the keeper wants the command ended
        if self._control in ready:
            try:
                requested = self._control.recv(64)
            except OSError:
                requested = b""
            for number in requested:
                if number == signal.SIGKILL:
                    self._kill()
                else:
                    self._signal(number)
            self._orphaned = self._orphaned or not requested
        self._orphaned = self._orphaned or os.getppid() != self._parent

    def _reap(self) -> bool:
        """Take note of what has ended, and say whether the command is among it."""
        ended_now = False
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self._pid:
                    self._exit_code, ended_now = os.waitstatus_to_exitcode(ended[1]), True
        return ended_now

    def _group_lives(self) -> bool:
        try:
            os.killpg(self._pid, 0)
        except OSError:  # macOS answers EPERM for a group of which only zombies are left
            return False
        return True

    def _kill(self) -> None:
        self._signal_group(signal.SIGKILL)
        self._killed, self._deadline = True, time.monotonic() + UNKILLABLE_AFTER

    def _signal(self, number: int) -> None:
        """Signal the command alone: it tells its children itself, and two SIGTERM may mean more than one."""
        if self._exit_code is None:
            with contextlib.suppress(OSError):
                os.kill(self._pid, number)
            if number == signal.SIGTERM:
                self._signal_group(signal.SIGCONT)  # what is stopped would never hear it
        else:
            self._signal_group(number)

    def _signal_group(self, number: int) -> None:
        with contextlib.suppress(OSError):
            os.killpg(self._pid, number)

    def _tell(self, line: str) -> None:
        with contextlib.suppress(OSError):  # the other end is closed
            self._control.sendall(line.encode() + b"\n")


def _spawn(argv: list[str], prctl: Callable[[int, int], object]) -> int:
    """Fork and execute, which is safe here: this process has a single thread."""
    reading, writing = os.pipe()  # closed by a successful exec, else it carries the error
    keeper = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            os.setpgid(0, 0)
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != keeper:  # it died before it could be tied to us
                os._exit(1)
            for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, the command need not
                signal.signal(number, signal.SIG_DFL)
            os.execvp(argv[0], argv)  # noqa: S606 - without a shell is how it is meant
        except OSError as error:
            os.write(writing, str(error.errno).encode())
        finally:
            os._exit(127)
    os.close(writing)
    failure = os.read(reading, 64)
    os.close(reading)
    if failure:
        os.waitpid(pid, 0)
        raise OSError(int(failure), os.strerror(int(failure)))
    return pid


def _prctl() -> Callable[[int, int], object]:
    if sys.platform != "linux" or ctypes is None:
        return lambda option, value: None
    function = ctypes.CDLL(None).prctl
    return lambda option, value: function(option, ctypes.c_ulong(value), 0, 0, 0)


def _signals_as_bytes(*numbers: signal.Signals) -> socket.socket:
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    for number in numbers:
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(writing.detach(), warn_on_full_buffer=False)
    return reading


def main() -> None:
    """`keeper.py CONTROL_FD PARENT_PID GRACE COMMAND…`."""
    fd, parent, grace, *argv = sys.argv[1:]
    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # inherited from whichever thread started us
    control = socket.socket(fileno=os.dup(int(fd)))  # a low number, as select() wants, that no child inherits
    os.close(int(fd))
    Keeper(control, parent=int(parent), grace=float(grace)).run(argv)


if __name__ == "__main__":
    main()
