"""What the figures of a run depend on: the machine, and the versions of everything."""

from __future__ import annotations

import os
import platform
from pathlib import Path

SHOWN = (
    "fastapi-events", "pydantic", "pydantic-core", "fastapi", "starlette", "uvicorn", "dramatiq", "celery",
    "kombu", "redis", "hiredis", "pika", "opentelemetry-api", "taskiq", "taskiq-redis", "faststream",
)  # fmt: skip
"""The libraries that the work of some variant goes through."""


def describe() -> dict[str, str]:
    """The machine, in words."""
    return {
        "cpu": _cpu_model(),
        "cores": str(_cores()),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load": f"{os.getloadavg()[0]:.2f}",
    }


def shown(versions: dict[str, str]) -> dict[str, str]:
    """Those of the installed libraries that matter."""
    return {name: versions[name] for name in SHOWN if name in versions}


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
