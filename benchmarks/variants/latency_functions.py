"""The workers' side of the rows about latency: functions that say when they have begun.

`BENCH` says in JSON which engine it is, whether it is ours, and into which file to write. The clock is the
one that all processes of a machine share.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

from publishing import celery_app, dramatiq_broker, our_handler

options: dict[str, Any] = json.loads(os.environ["BENCH"])
_record = os.open(options["record"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

app: Any = None
broker: Any = None
handler: Any = None
bare: Any = None
last: Any = None


def _begin(number: int) -> None:
    began = time.monotonic()
    os.write(_record, f"{number} {began}\n".encode())


def _hand_on(number: int) -> None:
    (getattr(last, "delay", None) or last.send)(number)


if options["ours"]:
    from fastapi_events.event import Event

    handler, broker = our_handler(options["url"], options["engine"], queue=options["queue"])

    @handler.register(event_name="cat*")
    def listen(event: Event) -> None:
        _begin(event.payload)

    if broker is None:
        app = handler.app
        if options["url"].startswith("redis"):
            app.conf.broker_transport = "fastapi_events.handlers.celery.redis_transport:Transport"
elif options["engine"] == "celery":
    app = celery_app(options["url"])
    app.conf.task_default_queue = options["queue"]
    promised = {"acks_late": True, "reject_on_worker_lost": True, "ignore_result": True}
    bare = app.task(name="bare", **promised)(_begin)
    if options.get("hops", 1) == 2:
        last, bare = bare, app.task(name="hand_on", **promised)(_hand_on)
else:
    import dramatiq

    broker = dramatiq_broker(options["url"])
    own = {"queue_name": options["queue"], "broker": broker}
    bare = dramatiq.actor(_begin, actor_name="bare", **own)
    if options.get("hops", 1) == 2:
        last, bare = bare, dramatiq.actor(_hand_on, actor_name="hand_on", **own)
