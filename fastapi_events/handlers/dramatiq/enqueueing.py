"""What Dramatiq's `enqueue` does beside sending, at less cost where nobody has asked for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import dramatiq
from dramatiq.encoder import JSONEncoder
from pydantic_core import to_json

_HOOKS = ("before_enqueue", "after_enqueue")


class EnqueueHooks:
    """Tells a broker's middleware of messages that are enqueued, where some of it listens.

    Parameters:
        broker: Whose middleware it is.
    """

    def __init__(self, broker: dramatiq.Broker) -> None:
        self._broker: Any = broker
        self._looked_at: list[dramatiq.Middleware] = []
        self._is_heard = False

    def are_heard(self) -> bool:
        """Whether some middleware does something where a message is enqueued."""
        middleware = self._broker.middleware
        if middleware != self._looked_at:  # to ask each takes long
            self._looked_at = list(middleware)
            self._is_heard = any(_overrides(each, hook) for each in middleware for hook in _HOOKS)
        return self._is_heard

    def before(self, messages: Iterable[tuple[dramatiq.Message[Any], int | None]]) -> None:
        """Messages, each with its delay, are about to be sent."""
        if self.are_heard():
            for message, delay in messages:
                self._broker.emit_before("enqueue", message, delay)

    def after(self, messages: Iterable[tuple[dramatiq.Message[Any], int | None]]) -> None:
        """They have been sent."""
        if self.are_heard():
            for message, delay in messages:
                self._broker.emit_after("enqueue", message, delay)


def has_own_encoder() -> bool:
    """Whether the program has chosen what turns messages into bytes."""
    return type(dramatiq.get_encoder()) is not JSONEncoder


def encoder() -> Callable[[dramatiq.Message[Any]], bytes]:
    """What turns a message into bytes: the program's encoder, or what writes the same as Dramatiq's own."""
    return dramatiq.Message.encode if has_own_encoder() else _encoded


def _encoded(message: dramatiq.Message[Any]) -> bytes:
    """A message as JSON; `json.dumps` takes five times as long."""
    try:
        return to_json(vars(message))  # its fields
    except ValueError:  # such as half of a character, in a message of somebody else's
        return message.encode()


def _overrides(middleware: dramatiq.Middleware, hook: str) -> bool:
    nothing = getattr(dramatiq.Middleware, hook)
    return getattr(getattr(middleware, hook), "__func__", None) is not nothing
