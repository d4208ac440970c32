"""The web process."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from fastapi import FastAPI

from fastapi_events.dispatcher import dispatch
from fastapi_events.middleware import EventHandlerASGIMiddleware
from tests.faults.shop.events import events

app = FastAPI()
app.add_middleware(EventHandlerASGIMiddleware, handlers=[events])


@app.post("/orders/{number}", status_code=202)
async def order(number: int, do: str = "", count: int = 1) -> dict[str, int]:
    """Dispatch so many events, with numbers from `number` on."""
    for each in range(number, number + count):
        dispatch("order-placed", payload={"number": each, "do": do})
    return {"number": number}


@app.get("/state")
def state() -> dict[str, int]:
    """What the process holds, for tests of what is to stay flat."""
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return {
        "pid": os.getpid(),
        "resident": resident,
        "threads": threading.active_count(),
        "files": len(os.listdir("/proc/self/fd")),
    }
