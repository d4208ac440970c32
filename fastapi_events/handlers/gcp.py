"""Forward events to Google Cloud Pub/Sub."""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from collections.abc import Iterable
from typing import Any

from fastapi_events import checks
from fastapi_events.errors import MissingDependencyError
from fastapi_events.event import Event
from fastapi_events.handlers.base import BaseEventHandler
from fastapi_events.handlers.forwarding import (
    Serializer,
    as_json,
    checked_batch_size,
    checked_callable,
    report,
)

try:
    from google.cloud import pubsub_v1
except ImportError as _missing:
    raise MissingDependencyError("google-cloud-pubsub", "google") from _missing

CONFIRMATION_DEADLINE = 30.0
"""Seconds that a flush waits for Pub/Sub to confirm its messages."""


class GoogleCloudSimplePubSubHandler(BaseEventHandler):
    """Publishes events to one Pub/Sub topic, without blocking the event loop.

    What Pub/Sub does not confirm in time is reported lost.

    Parameters:
        project_id: The topic's project.
        topic_id: The topic.
        max_batch_size: Messages a request, at most 1,000.
        batch_settings_kwargs: Passed to `pubsub_v1.types.BatchSettings`.
        serializer: Makes a message of an event; JSON `["name", {…}]` if not given.

    Raises:
        ConfigurationError: When the function cannot be called or a batch cannot have that size.
    """

    def __init__(
        self,
        project_id: str,
        topic_id: str,
        max_batch_size: int = 1000,
        batch_settings_kwargs: dict[str, Any] | None = None,
        serializer: Serializer | None = None,
    ) -> None:
        checks.text("project_id", project_id, such_as="shop-eu")
        checks.text("topic_id", topic_id, such_as="events")
        self._max_batch_size = checked_batch_size(max_batch_size, service="Pub/Sub", limit=1000)
        self._serializer: Serializer = checked_callable("serializer", serializer) or as_json
        self._batch_settings = pubsub_v1.types.BatchSettings(
            **{"max_messages": self._max_batch_size, **(batch_settings_kwargs or {})}
        )
        self._client: Any = self._new_client()
        self._stopped = False
        self._topic_path = self._client.topic_path(project_id, topic_id)

    async def handle_many(self, events: Iterable[Event]) -> None:
        """Publish the events of a flush, in order, and wait for the confirmations.

        Raises:
            NotPublished: When some were not confirmed; the others were.
        """
        events = [Event.of(event) for event in events]
        lost = await asyncio.to_thread(self._publish, events)
        gone = {id(event) for event, _ in lost}
        report([event for event in events if id(event) not in gone], lost, handler=self.name)

    async def handle(self, event: Event) -> None:
        """Publish one event."""
        await self.handle_many([event])

    async def on_startup(self) -> None:
        """Replace a client that was stopped: the same application may start again, as it does in tests."""
        if self._stopped:
            self._client = await asyncio.to_thread(self._new_client)
            self._stopped = False

    async def on_shutdown(self) -> None:
        """Let the client send what its batches still hold."""
        if not self._stopped:  # two middlewares may share a handler, and a client stops only once
            self._stopped = True
            await asyncio.to_thread(self._client.stop)

    def format_message(self, event: Event) -> bytes:
        """The data of the event's message."""
        return self._serializer(event).encode("utf-8")

    def _new_client(self) -> Any:
        return pubsub_v1.PublisherClient(self._batch_settings)

    def _publish(self, events: Iterable[Event]) -> list[tuple[Event, str]]:
        """Publish events and wait; called in a thread.

        Returns:
            What was not confirmed, with the reason.
        """
        lost: list[tuple[Event, str]] = []
        publishing: list[tuple[Event, Any]] = []
        for event in events:
            try:
                publishing.append((event, self._client.publish(self._topic_path, self.format_message(event))))
            except Exception as error:  # one event's fault must not cost the others
                lost.append((event, f"{type(error).__name__}: {error}"))
        deadline = time.monotonic() + CONFIRMATION_DEADLINE
        for event, future in publishing:
            try:
                future.result(timeout=max(0.0, deadline - time.monotonic()))
            except concurrent.futures.TimeoutError:
                lost.append((event, f"not confirmed within {CONFIRMATION_DEADLINE} s; it may have arrived"))
            except Exception as error:  # whatever the client raises
                lost.append((event, f"{type(error).__name__}: {error}"))
        return lost
