"""A task of your own: beat sends it every evening."""

from celery.schedules import crontab

from fastapi_events.dispatcher import dispatch

from .events import celery_app

celery_app.conf.beat_schedule = {
    "close the shop": {"task": "app.tasks.close_shop", "schedule": crontab(hour=18, minute=0)}
}


@celery_app.task(name="app.tasks.close_shop")
def close_shop() -> None:
    """What it dispatches goes out when it has succeeded."""
    dispatch("shop-closed")
