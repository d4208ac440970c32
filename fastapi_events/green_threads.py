"""Real threads, where gevent or eventlet have put green ones in their place.

Neither is imported here: only who uses them has imported them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any


def are_threads_green() -> bool:
    """Whether `threading` makes greenlets, all of which run in one real thread."""
    return _library() is not None


def start_real_thread(target: Callable[[], Any]) -> None:
    """Run a function in a thread of the operating system; it ends with the process."""
    start: Callable[..., Any]
    if _library() == "gevent":
        start = sys.modules["gevent.monkey"].get_original("_thread", "start_new_thread")
    else:
        start = sys.modules["eventlet.patcher"].original("_thread").start_new_thread
    start(target, ())


def real_thread() -> int:
    """The thread of the operating system that runs this, where threads are green; elsewhere always 0.

    A socket of gevent's belongs to the real thread that has opened it: whoever waits for it in another one
    gets `Cannot switch to a different thread`, and does not learn whether what it sent has arrived.
    """
    library = _library()
    if library is None:
        return 0
    identify: Callable[[], int]
    if library == "gevent":
        identify = sys.modules["gevent.monkey"].get_original("_thread", "get_ident")
    else:
        identify = sys.modules["eventlet.patcher"].original("_thread").get_ident
    return identify()


def _library() -> str | None:
    gevent = sys.modules.get("gevent.monkey")
    if gevent is not None and gevent.is_module_patched("threading"):
        return "gevent"
    eventlet = sys.modules.get("eventlet.patcher")
    if eventlet is not None and eventlet.is_monkey_patched("thread"):
        return "eventlet"
    return None
