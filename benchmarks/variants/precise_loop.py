"""An event loop whose timers are exact: epoll rounds them up to whole milliseconds, and select does not."""

from __future__ import annotations

import asyncio
import selectors


def new_loop() -> asyncio.AbstractEventLoop:
    """Make one; the time that a callback is late then is the loop's fault alone."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())
