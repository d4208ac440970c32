"""The default registry of payload schemas."""

import logging

from fastapi_events.registry.base import BaseEventPayloadSchemaRegistry

logger: logging.Logger = logging.getLogger(__name__)


class EventPayloadSchemaRegistry(BaseEventPayloadSchemaRegistry):
    """A registry of one's own, to be passed to `dispatch(…, payload_schema_registry=…)`."""


registry: EventPayloadSchemaRegistry = EventPayloadSchemaRegistry()
"""Where `dispatch()` looks unless told otherwise."""
