"""Places two orders, and works until nothing waits."""

from __future__ import annotations

import time

from fastapi_events.dispatcher import dispatch
from fastapi_events.scope import collect_events

from .shop import engine, events

with collect_events([events]):
    for number in (1, 2):
        dispatch("order-placed", {"number": number})

while engine.waiting():
    if not engine.work_once():
        time.sleep(0.01)

for subscription, reason in engine.kept():
    print(f"{subscription} was given up: {reason}")
