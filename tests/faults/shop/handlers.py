"""What the workers run: two independent functions listening to the same event."""

from __future__ import annotations

import gc
import os
import time
from typing import Any

from fastapi_events.event import Event
from tests.faults.shop.events import events
from tests.faults.shop.notes import CONFIG, FOLDER, note
from tests.faults.shop.stalling import stall_when_told
from tests.faults.shop.trouble import TROUBLE

app = getattr(events, "app", None)  # for `celery -A`
options: dict[str, Any] = CONFIG.get("options", {})


@events.register(event_name="order-*", name="ship", **options)
def ship(event: Event) -> None:
    """Do what the order says, and write it down."""
    payload = event.payload
    number, do = payload["number"], payload["do"]
    note("started", subscription="ship", number=number, id=event.id)
    if do == "raise":
        raise RuntimeError(f"order {number} cannot be shipped")
    if do == "raise-once" and not _first_time(number):
        do = ""
    if do == "raise-once":
        raise RuntimeError(f"order {number} cannot be shipped yet")
    if do in TROUBLE:
        raise TROUBLE[do]()
    if do.startswith("wait"):
        while not (FOLDER / "gate").exists():
            time.sleep(0.02)
    if do == "wait-and-raise-once" and _first_time(number):
        note("failing", subscription="ship", number=number)
        raise RuntimeError(f"order {number} cannot be shipped yet")
    if do == "hang":
        while True:
            time.sleep(0.02)
    note("handled", subscription="ship", number=number, id=event.id)


@events.register(event_name="order-*", name="bill")
def bill(event: Event) -> None:
    """Write it down."""
    note("started", subscription="bill", number=event.payload["number"], id=event.id)
    if event.payload.get("do") == "weigh":
        gc.collect()
        note("weighed", objects=len(gc.get_objects()))
    note("handled", subscription="bill", number=event.payload["number"], id=event.id)


if CONFIG.get("newer"):

    @events.register(event_name="order-*", name="wrap")
    def wrap(event: Event) -> None:
        """Only the next release does this."""
        note("handled", subscription="wrap", number=event.payload["number"], id=event.id)


if CONFIG.get("dies_in_fan_out"):
    send: Any = events.engine.send

    def send_one_and_die(messages: Any, *, timeout: float | None = None) -> None:
        """Send the first of several messages, and end as kill -9 would, once."""
        if len(messages) > 1 and _first_time(0):
            send(messages[:1], timeout=timeout)
            os._exit(137)
        send(messages, timeout=timeout)

    events.engine.send = send_one_and_die  # type: ignore[method-assign]


if CONFIG.get("stalls"):
    stall_when_told(events.engine)


def _first_time(number: int) -> bool:
    try:
        os.close(os.open(FOLDER / f"seen-{number}", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True
