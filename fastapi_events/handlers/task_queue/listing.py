"""What the catalogue says of a subscription."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pydantic import TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError

from fastapi_events.storage.catalogue import Listing
from fastapi_events.subscriptions.subscription import Subscription

_LONGEST_SCHEMA = 16_384
"""Characters of a JSON Schema. A longer one is left out: every process reads the catalogue each second."""


def listing_of(subscription: Subscription, *, engine: str, version: str | None) -> Listing:
    """A subscription, as other processes get to know it.

    Parameters:
        version: That of the application.
    """
    retry, many = subscription.retry, subscription.batch
    payload_type = subscription.plan.payload_type if many is None else many.payload_type
    annotation = None if payload_type is None else payload_type.annotation
    priority, expires = (subscription.options.get(option) for option in ("priority", "expires"))
    return Listing(
        name=subscription.name,
        patterns=subscription.patterns,
        queue=subscription.queue or "",
        engine=engine,
        module=subscription.module,
        batch_size=subscription.batch_size,
        priority=priority if isinstance(priority, int) else None,
        expires=expires if isinstance(expires, (int, float)) else None,
        once=subscription.once,
        retry={}
        if retry is None
        else {
            "max_retries": retry.max_retries, "min_backoff": _seconds(retry.min_backoff),
            "max_backoff": _seconds(retry.max_backoff),
        },
        payload=None if annotation is None else getattr(annotation, "__name__", str(annotation)),
        payload_schema=None if annotation is None else _schema_of(annotation),
        version=version,
    )  # fmt: skip


def _seconds(wait: float | timedelta) -> float:
    return wait.total_seconds() if isinstance(wait, timedelta) else wait


def _schema_of(annotation: Any) -> Mapping[str, Any] | None:
    """The JSON Schema of a type; None where it has none."""
    try:
        schema: dict[str, Any] = TypeAdapter(annotation).json_schema()
    except (PydanticUserError, PydanticInvalidForJsonSchema):
        return None
    return schema if len(json.dumps(schema)) <= _LONGEST_SCHEMA else None
