"""What the operating system says about a process of this machine."""

from __future__ import annotations

import os
import socket


def is_alive(pid: int) -> bool:
    """Whether there is a process with a pid, whoever owns it."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def has_ended(pid: int) -> bool:
    """Whether a process has ended that its parent has not waited for; False where it cannot be read."""
    return _stat(pid)[:1] == ["Z"]


def cpu_seconds(pid: int) -> float | None:
    """The CPU time that a process has used; None where it cannot be read, as on macOS."""
    fields = _stat(pid)
    if len(fields) < 13:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def identity() -> str:
    """The name of this process, which no other will have that gets its pid."""
    pid = os.getpid()
    return f"{socket.gethostname()} {pid} {_started(pid)}"


def has_gone(name: str) -> bool:
    """Whether a process has ended, by its `identity`; one of another machine is taken for gone."""
    host, _, rest = name.partition(" ")
    pid, _, started = rest.partition(" ")
    if host != socket.gethostname() or not pid.isdecimal() or not is_alive(int(pid)) or has_ended(int(pid)):
        return True
    return started != _started(int(pid))


def _started(pid: int) -> str:
    """When a process was started, in the kernel's words; empty where it cannot be read, as on macOS."""
    fields = _stat(pid)
    return fields[19] if len(fields) > 19 else ""


def _stat(pid: int) -> list[str]:
    """What Linux says of a process, from its state on."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            # The second field is the program's name in parentheses; it may hold spaces and parentheses.
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []
