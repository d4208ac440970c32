"""Ports for servers of the tests, also where several processes run tests at once."""

from __future__ import annotations

import os

from fastapi_events.embedded import probe

_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens to.

    Each process that runs tests has ports of its own: while one restarts its server, no other takes its port.
    """
    while (port := probe.free_port()) % _WORKERS != _WORKER:
        pass
    return port
