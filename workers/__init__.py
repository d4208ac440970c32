"""What `dramatiq workers` and `celery -A workers worker` start: the modules named by FASTAPI_EVENTS_HANDLERS.

They register their functions on `workers.events.events`:

    # shop/handlers.py
    from workers.events import events

    @events.register(event_name="cat*")
    async def feed(event): ...

Settings: FASTAPI_EVENTS_BROKER_URL, FASTAPI_EVENTS_HANDLERS, FASTAPI_EVENTS_QUEUE, FASTAPI_EVENTS_SOURCE,
FASTAPI_EVENTS_STORE_URL.
"""

import logging
from importlib import import_module

from workers.events import settings

logger = logging.getLogger(__name__)

if not settings.handlers:
    logger.info("FASTAPI_EVENTS_HANDLERS names no module, so that no function listens to events.")

for _module in settings.handlers:
    import_module(_module)
