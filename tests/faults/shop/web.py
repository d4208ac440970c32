"""The web process."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from fastapi import Body, Depends, FastAPI, HTTPException
from sqlalchemy.orm import Session

from fastapi_events.dispatcher import dispatch
from fastapi_events.errors import UnserialisablePayload
from fastapi_events.middleware import EventHandlerASGIMiddleware
from tests.faults.shop.events import events
from tests.faults.shop.notes import CONFIG

app = FastAPI()
app.add_middleware(EventHandlerASGIMiddleware, handlers=[events])


@app.post("/orders/{number}", status_code=202)
async def order(number: int, do: str = "", count: int = 1) -> dict[str, int]:
    """Dispatch so many events, with numbers from `number` on."""
    for each in range(number, number + count):
        dispatch("order-placed", payload={"number": each, "do": do})
    return {"number": number}


@app.post("/steps/{number}", status_code=202)
async def step(number: int, key: str) -> None:
    """Dispatch an event in the order of its key."""
    dispatch("step-taken", payload={"number": number}, ordering_key=key)


@app.post("/odd/{number}", status_code=202)
async def odd(number: int) -> list[str]:
    """Dispatch an event, try payloads that cannot travel, and dispatch another one."""
    refusals = []
    dispatch("order-placed", payload={"number": number, "do": ""})
    for bad in (float("nan"), object(), "\ud800", "x" * 300_000, _nested(10_000)):
        try:
            dispatch("order-placed", payload={"number": number, "items": [{"note": bad}]})
        except UnserialisablePayload as error:
            refusals.append(str(error))
    dispatch("order-placed", payload={"number": number + 1, "do": ""})
    return refusals


if CONFIG.get("sales"):
    from tests.faults.shop.sales import Base, Sale, engine, get_session

    Base.metadata.create_all(engine)

    @app.post("/sales/{number}", status_code=202)
    def sell(number: int, how: str, session: Annotated[Session, Depends(get_session)]) -> None:
        """Record a sale, and dispatch its event in the same transaction."""
        session.add(Sale(number=1 if how == "fail" else number))  # there is a first sale already
        if how == "savepoint":
            session.flush()
            with suppress(ValueError), session.begin_nested():
                dispatch("order-placed", payload={"number": -number, "do": ""})
                raise ValueError("rolled back to here")
        dispatch("order-placed", payload={"number": number, "do": ""})
        if how == "rollback":
            raise HTTPException(409, "not for sale")


@app.post("/named", status_code=202)
async def named(name: Annotated[str, Body()], number: int) -> None:
    """Dispatch an event whose name a client has chosen."""
    dispatch(name, payload={"number": number, "do": ""})


def _nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


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
