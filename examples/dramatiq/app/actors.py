"""An actor of your own, which some cron job may send."""

import dramatiq

from fastapi_events.dispatcher import dispatch

from .events import broker


@dramatiq.actor(broker=broker)
def close_shop() -> None:
    """What it dispatches goes out when it has succeeded."""
    dispatch("shop-closed")
