"""Errors that are none of the usual ones."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from tests.faults.shop.notes import CONFIG


class Unchangeable(Exception):
    """One to which nothing can be added, neither notes nor attributes."""

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{name} cannot be set")


def dropped() -> BaseException:
    """By which a function has the engine forget its message."""
    if CONFIG["engine"] == "celery":
        from celery.exceptions import Ignore

        return Ignore()
    from dramatiq.middleware import SkipMessage

    return SkipMessage("not today")


_SHARED = Unchangeable("the same for all")

TROUBLE: Mapping[str, Callable[[], BaseException]] = {
    "sys.exit": partial(SystemExit, 3),
    "interrupt": KeyboardInterrupt,
    "shared": lambda: _SHARED,
    "drop": dropped,
    "exit": partial(os._exit, 9),
}
"""What a function raises, or does instead, by what an order says."""
