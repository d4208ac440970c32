"""Dead letters that an engine keeps by its own means, because the handler had no store or it was away."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from fastapi_events import clock
from fastapi_events.errors import FastapiEventError
from fastapi_events.handlers.task_queue.messages import message_id
from fastapi_events.handlers.task_queue.worker.dead_letters import UNREADABLE, original_of, unreadable_letter
from fastapi_events.handlers.task_queue.worker.outcome import NO_RETRY, Attempt, letter_of
from fastapi_events.storage.dead_letters import DeadLetter

_NO_REPORT = "the engine has rejected it, and its message does not say why"


@dataclass(frozen=True, slots=True)
class QueuedLetter:
    """A dead letter in an engine's own queue.

    Parameters:
        letter: As a store would keep it.
        place: Where it lies, for `remove`.
    """

    letter: DeadLetter
    place: Any


class DeadQueues(Protocol):
    """The queues in which an engine keeps dead letters, while somebody looks at them."""

    @abstractmethod
    def __iter__(self) -> Iterator[QueuedLetter]:
        """The letters of one handler, queue by queue, the oldest first.

        Raises:
            Exception: What the broker's client raises, when it does not answer.
        """

    @abstractmethod
    def remove(self, queued: QueuedLetter) -> None:
        """Remove a letter that is kept elsewhere now."""


class QueueByQueue(DeadQueues):
    """Dead queues that are read one after the other.

    Parameters:
        handler: Whose letters they are.
        queues: The queues that the dead ones belong to.
    """

    def __init__(self, handler: str, queues: Collection[str]) -> None:
        self._handler = handler
        self._queues = queues

    def __iter__(self) -> Iterator[QueuedLetter]:
        for queue in self._queues:
            yield from self._of_queue(queue)

    @abstractmethod
    def _of_queue(self, queue: str) -> Iterator[QueuedLetter]:
        """The letters beside one queue, the oldest first."""


class NoDeadQueues(DeadQueues):
    """The dead queues of an engine that has none, or cannot list their contents."""

    def __iter__(self) -> Iterator[QueuedLetter]:
        return iter(())

    def remove(self, queued: QueuedLetter) -> None:
        return


class _Rejected(FastapiEventError):
    """Stands for whatever made an engine reject a message."""


def letter_from(
    handler: str,
    queue: str,
    subscription: str,
    identity: str,
    arguments: Sequence[Any],
    keywords: Mapping[str, Any],
    report: object,
) -> DeadLetter:
    """The dead letter that a message in an engine's own queue stands for.

    Parameters:
        identity: The message's id.
        report: Why it was given up, as the message says; see `FailureReport`.
    """
    attempt = Attempt(
        handler=handler, subscription=subscription, queue=queue, message_id=identity, policy=NO_RETRY,
        arguments=arguments, keywords=keywords,
    )  # fmt: skip
    said = report if isinstance(report, Mapping) else {}
    attempts = said.get("attempts")
    letter = letter_of(attempt, _Rejected(_NO_REPORT), attempts=attempts if isinstance(attempts, int) else 0)
    at = _time(said.get("at"))
    return replace(
        letter,
        reason=str(said.get("reason") or _NO_REPORT),
        traceback=str(said.get("traceback") or ""),
        first_at=min(letter.first_at, at),
        last_at=at,
    )


def letter_from_nothing_readable(handler: str, queue: str, body: bytes | str, fault: str) -> DeadLetter:
    """The dead letter of something in an engine's own queue that is no message of the engine's."""
    original = original_of(body)
    identity = message_id(UNREADABLE, queue, str(original))
    return unreadable_letter(handler, queue, identity, original, f": {fault}")


def _time(text: object) -> datetime:
    try:
        at = datetime.fromisoformat(text) if isinstance(text, str) else clock.now()
    except ValueError:
        return clock.now()
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
