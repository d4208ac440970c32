"""What the operating system says about a process of this machine."""

from __future__ import annotations

import os


def is_alive(pid: int) -> bool:
    """Whether there is a process with a pid, whoever owns it."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def cpu_seconds(pid: int) -> float | None:
    """The CPU time that a process has used; None where it cannot be read, as on macOS."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            # The second field is the program's name in parentheses; it may hold spaces and parentheses.
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None
