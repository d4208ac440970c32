"""The workers' side of the rows about workers: functions that do nothing but count.

`dramatiq worker_functions` and `celery -A worker_functions worker` start it. `BENCH` says in JSON which
engine it is and how many calls make a round; the last of them tells Redis.
"""

from __future__ import annotations

import itertools
import json
import os
from typing import Annotated, Any

import redis
from fastapi import Depends
from publishing import celery_app, dramatiq_broker, our_handler

options: dict[str, Any] = json.loads(os.environ["BENCH"])
DONE = "bench-done"

_url = options["url"]
_calls = itertools.count(1)
_client = redis.Redis.from_url(options.get("told", _url))

queue: str = options.get("queue", "events")

app: Any = None
broker: Any = None
handler: Any = None
bare: Any = None
hand_on: Any = None


def _on_transport(app: Any) -> Any:
    """The app, with our transport if this worker is to have it, as our documentation says."""
    if options["transport"]:
        app.conf.broker_transport = "fastapi_events.handlers.celery.redis_transport:Transport"
    return app


def _count() -> None:
    if next(_calls) % options["calls"] == 0:
        _client.rpush(DONE, 1)


def _bare(name: str, payload: Any) -> None:
    _count()


def _hand_on(events: list[tuple[str, Any]]) -> None:
    """What a fan-out by hand does: a message for each event, by the engine's own call."""
    send = bare.delay if options["engine"] == "celery" else bare.send
    for name, payload in events:
        send(name, payload)


if options["ours"]:
    from fastapi_events.event import Event

    settings: dict[str, Any] = {}
    if options.get("once") or options.get("keys") or options.get("journal"):
        from fastapi_events.storage.redis import RedisStore

        store = RedisStore(_url)
        wanted = {
            "inbox": options.get("once") is True,
            "lanes": options.get("keys"),
            "journal": options.get("journal"),
        }
        settings = {part: getattr(store, part) for part, is_wanted in wanted.items() if is_wanted}
    handler, broker = our_handler(_url, options["engine"], queue=queue, **settings)
    if options["engine"] == "celery":
        app = _on_transport(handler.app)

    async def get_settings() -> int:
        return 1

    if options["dependency"]:

        @handler.register(event_name="cat*")
        async def listen(event: Event, settings: Annotated[int, Depends(get_settings)]) -> None:
            _count()
    elif options.get("once") == "by hand":

        @handler.register(event_name="cat*")
        def listen(event: Event) -> None:
            """Remembers in Redis what has been completed, by the least that one could write."""
            key = f"bench-done-{event.id}"
            if _client.set(key, "begun", nx=True, ex=60):
                _count()
                _client.set(key, "done", ex=7 * 86_400)
    else:

        @handler.register(event_name="cat*", once=bool(options.get("once")))
        def listen(event: Event) -> None:
            _count()

elif options["engine"] == "celery":
    app = _on_transport(celery_app(_url))
    app.conf.task_default_queue = options.get("queue", "celery")
    # What ours promises as well: acknowledged once it is done, and again when its process is lost.
    promised = {"acks_late": True, "reject_on_worker_lost": True, "ignore_result": True}
    bare = app.task(name="bare", **promised)(_bare)
    hand_on = app.task(name="hand_on", **promised)(_hand_on)
    if _url.startswith("amqp"):  # else a message is acknowledged whose successors may be lost
        app.conf.broker_transport_options = {"confirm_publish": True}
else:
    import dramatiq

    broker = dramatiq_broker(_url)
    bare = dramatiq.actor(_bare, actor_name="bare", queue_name=queue, broker=broker)
    hand_on = dramatiq.actor(_hand_on, actor_name="hand_on", queue_name=queue, broker=broker)
