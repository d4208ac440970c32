"""Faults of the worker that is there, for tests that have its fixture and want to name the fault alone."""

from __future__ import annotations

from contextlib import AbstractContextManager

from fastapi_events.handlers.base import BaseEventHandler
from fastapi_events.testing.faults import CrashPoint
from fastapi_events.testing.worker import current_worker


def broker_down(handler: BaseEventHandler | None = None) -> AbstractContextManager[None]:
    """A block in which the broker takes nothing and delivers nothing; see `InlineWorker.broker_down`.

    Parameters:
        handler: Whose; that of every handler if not given.

    Raises:
        RuntimeError: When no worker is there.
    """
    return current_worker().broker_down(handler)


def crash_after(point: CrashPoint, *, times: int = 1) -> AbstractContextManager[None]:
    """A block in which a process dies after something; see `InlineWorker.crash_after`.

    Parameters:
        point: `"publish"` or `"run"`.
        times: How often.

    Raises:
        RuntimeError: When no worker is there.
    """
    return current_worker().crash_after(point, times=times)


def duplicate() -> AbstractContextManager[None]:
    """A block in which the broker delivers twice whatever it is sent; see `InlineWorker.duplicate`.

    Raises:
        RuntimeError: When no worker is there.
    """
    return current_worker().duplicate()


def reorder(*, seed: int = 0) -> AbstractContextManager[None]:
    """A block in which messages that are due come in any order; see `InlineWorker.reorder`.

    Raises:
        RuntimeError: When no worker is there.
    """
    return current_worker().reorder(seed=seed)
