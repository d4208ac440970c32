"""Forward events to Amazon SQS."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from fastapi_events.retry import RetryPolicy

try:
    import boto3
except ImportError as _missing:
    raise MissingDependencyError("boto3", "aws") from _missing

MAX_BATCH_BYTES = 262_144
"""What all messages of a batch may take together; a queue may allow more, but none need."""

# For entries that SQS refuses for the moment. Errors of the connection are retried by boto3 itself.
_RETRY = RetryPolicy(max_retries=3, min_backoff=0.1, max_backoff=1.0)


class SQSForwardHandler(BaseEventHandler):
    """Forwards events to an SQS queue, in batches, without blocking the event loop.

    What SQS does not take, after a few attempts, is reported lost.

    Parameters:
        queue_url: The queue's URL.
        region_name: The queue's region.
        serializer: Makes a message of an event; JSON `["name", {…}]` if not given.
        id_generator: Makes the id of an entry; a UUID if not given. One that repeats begins a new batch.
        max_batch_size: Messages a request, at most 10.
        boto_client_kwargs: Passed to `boto3.client`.

    Raises:
        ConfigurationError: When a function cannot be called or a batch cannot have that size.
    """

    def __init__(
        self,
        queue_url: str,
        region_name: str,
        serializer: Serializer | None = None,
        id_generator: Callable[[Event], str] | None = None,
        max_batch_size: int = 10,
        **boto_client_kwargs: Any,
    ) -> None:
        self._queue_url = checks.text(
            "queue_url", queue_url, such_as="https://sqs.eu-west-1.amazonaws.com/1/q"
        )
        if region_name is not None:  # the environment may say it
            checks.text("region_name", region_name, such_as="eu-west-1")
        self._region_name = region_name
        self._serializer: Serializer = checked_callable("serializer", serializer) or as_json
        self._id_generator = checked_callable("id_generator", id_generator) or _any_id
        self._max_batch_size = checked_batch_size(max_batch_size, service="SQS", limit=10)
        self._client: Any = boto3.client("sqs", region_name=region_name, **boto_client_kwargs)

    async def handle_many(self, events: Iterable[Event]) -> None:
        """Forward the events of a flush, in order.

        Raises:
            NotPublished: When some were not taken; the others were.
        """
        taken: list[Event] = []
        lost: list[tuple[Event, str]] = []
        for batch in self._batches(events, lost):
            accepted, refused = await self._send(batch)
            taken += accepted
            lost += refused
        report(taken, lost, handler=self.name)

    async def handle(self, event: Event) -> None:
        """Forward one event."""
        await self.handle_many([event])

    def format_message(self, event: Event) -> str:
        """The body of the event's message."""
        return self._serializer(event)

    def generate_id(self, event: Event) -> str:
        """The id of the event's entry in its batch."""
        return str(self._id_generator(event))

    def _batches(
        self, events: Iterable[Event], lost: list[tuple[Event, str]]
    ) -> Iterator[Sequence[tuple[Event, dict[str, str]]]]:
        batch: list[tuple[Event, dict[str, str]]] = []
        ids: set[str] = set()
        size = 0
        for event in map(Event.of, events):
            try:
                entry = {"Id": self.generate_id(event), "MessageBody": self.format_message(event)}
            except Exception as error:  # a serializer's fault with one event must not cost the others
                lost.append((event, f"cannot be serialised: {type(error).__name__}: {error}"))
                continue
            length = len(entry["MessageBody"].encode())
            full = len(batch) == self._max_batch_size or size + length > MAX_BATCH_BYTES
            if batch and (full or entry["Id"] in ids):  # SQS refuses a batch in which two are the same
                yield batch
                batch, ids, size = [], set(), 0
            batch.append((event, entry))
            ids.add(entry["Id"])
            size += length
        if batch:
            yield batch

    async def _send(
        self, batch: Sequence[tuple[Event, dict[str, str]]]
    ) -> tuple[list[Event], list[tuple[Event, str]]]:
        waiting = {entry["Id"]: (event, entry) for event, entry in batch}
        refused: list[tuple[Event, str]] = []
        attempt = 0
        while waiting:
            attempt += 1
            try:
                response = await asyncio.to_thread(
                    self._client.send_message_batch,
                    QueueUrl=self._queue_url,
                    Entries=[entry for _, entry in waiting.values()],
                )
                failures = {each["Id"]: each for each in response.get("Failed", ())}
                faults = [id_ for id_, each in failures.items() if each["SenderFault"]]
                hopeless = [(waiting[id_][0], _reason(failures[id_])) for id_ in faults]
                again = {id_: waiting[id_] for id_ in failures if id_ not in faults}
            except Exception as error:  # of boto3, of the network, or an answer of no sense: the whole batch
                refused += [(event, f"{type(error).__name__}: {error}") for event, _ in waiting.values()]
                break
            refused += hopeless
            waiting = again
            wait = _RETRY.next_wait(attempt, RuntimeError())
            if waiting and wait is None:
                refused += [(event, _reason(failures[id_])) for id_, (event, _) in waiting.items()]
                break
            if waiting and wait is not None:
                await asyncio.sleep(wait)
        gone = {id(event) for event, _ in refused}
        return [event for event, _ in batch if id(event) not in gone], refused


def _reason(failure: dict[str, Any]) -> str:
    return f"SQS refused it: {failure.get('Code')} {failure.get('Message', '')}".rstrip()


def _any_id(_: Event) -> str:
    return str(uuid.uuid4())
