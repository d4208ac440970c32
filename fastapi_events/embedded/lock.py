"""One server per data directory: two that append to the same file would destroy it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

from fastapi_events.errors import ConfigurationError
from fastapi_events.processes import is_alive

_LOOK_AGAIN_AFTER = 0.02


class DirectoryLock:
    """`flock` on the file `lock` in a directory; the file holds the pid of its holder.

    Pass `fileno()` on to the processes that use the directory: the kernel keeps the lock until the last of
    them has ended, even when the holder is killed before them.

    Parameters:
        directory: What to lock.
        patience: Seconds to wait for a lock whose holder is dead already, so that what it started is ending.
    """

    def __init__(self, directory: Path, *, patience: float) -> None:
        self._directory = directory
        self._patience = patience
        self._fd = -1

    def claim(self) -> None:
        """Take the lock.

        Raises:
            ConfigurationError: Another process has it, or the file cannot be opened.
        """
        try:
            fd = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ConfigurationError(f"The directory {self._directory} cannot be locked: {error}") from error
        deadline = time.monotonic() + self._patience
        try:
            while not _try_to_lock(fd):
                holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
                if (holder.isdigit() and is_alive(int(holder))) or time.monotonic() >= deadline:
                    raise ConfigurationError(
                        f"The directory {self._directory} is in use by the process with the pid "
                        f"{holder or 'unknown'}: stop that process, or choose another directory."
                    )
                time.sleep(_LOOK_AGAIN_AFTER)
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def release(self) -> None:
        """Give the lock back. The file stays: were it removed, two could each lock a file of its name."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                fcntl.flock(self._fd, fcntl.LOCK_UN)  # for forks of this process, too
            os.close(self._fd)
            self._fd = -1

    def fileno(self) -> int:
        return self._fd


def _try_to_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
