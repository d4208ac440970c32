"""What the rest of a queue handler needs of an engine: it sends messages, and keeps those given up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from fastapi_events.handlers.task_queue.messages import Message
from fastapi_events.handlers.task_queue.worker.outcome import Attempt
from fastapi_events.storage.dead_letters import DeadLetter


class Sender(Protocol):
    """The way to a broker."""

    @property
    def runs_in_place(self) -> bool:
        """Whether `send` runs the actors itself, as in tests: no deadline bounds a flush then."""
        return False

    def send(self, messages: Sequence[Message], *, timeout: float | None = None) -> None:
        """Enqueue messages, in their order and in one round trip where the broker can; or raise.

        Once it has returned, the broker has them all.

        Parameters:
            timeout: Seconds that a flush has left for it, in the process that publishes; None in a worker.

        Raises:
            Exception: Whatever the broker's client raises. Some of the messages may have arrived.
        """

    def ping(self, *, timeout: float) -> None:
        """Ask the broker for an answer; does nothing where an engine does not implement it.

        Parameters:
            timeout: Seconds that each step may take.

        Raises:
            Exception: Whatever the broker's client raises, when there is no answer.
        """
        return

    def sends_on_loop(self) -> bool:
        """Whether `send_on_loop` may be asked just now; an engine that has no such way says no."""
        return False

    async def send_on_loop(self, messages: Sequence[Message]) -> bool:
        """Enqueue messages from the running event loop, without blocking it.

        It saves the way to a thread and back. Whoever awaits it cancels it at the deadline.

        Returns:
            Whether the broker has confirmed them all. If not, `send` gets the same messages.

        Raises:
            Exception: As good as not confirmed.
        """
        return False

    # In a worker

    def described(self, attempt: Attempt, options: Mapping[str, Any], error: BaseException) -> Attempt | None:
        """Add to a failed attempt at an event with an ordering key what only the engine knows.

        Parameters:
            options: The engine's own, of the subscription.

        Returns:
            The attempt, such as with the wait that the function has asked for. None where it has not failed:
            the error ends the worker.
        """
        return attempt

    def refusal(self, options: Mapping[str, Any], argument: str) -> Exception | None:
        """Why the engine would drop an event with an ordering key, such as one that is too old; or None.

        Parameters:
            options: The engine's own, of the subscription.
            argument: Its envelope.
        """
        return None

    def gave_up(self, attempt: Attempt, options: Mapping[str, Any], error: BaseException) -> None:
        """Note that an event with an ordering key has been given up, and its dead letter is kept.

        Parameters:
            options: The engine's own, of the subscription.
        """
        return

    def keep(self, letter: DeadLetter) -> None:
        """Keep a dead letter by the engine's own means, because the handler has no store or it failed.

        Once it has returned, it is kept. An engine that has no such means writes it to its log, at ERROR.

        Raises:
            Exception: When it cannot be kept; its message must not be acknowledged then.
        """
