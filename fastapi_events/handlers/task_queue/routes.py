"""Which queue an event travels through."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum

from fastapi_events import codec
from fastapi_events.checks import shown
from fastapi_events.errors import InvalidSetting
from fastapi_events.event import EventName, names, wire_name
from fastapi_events.subscriptions.pattern import PatternIndex


class Routes:
    """Patterns of event names, and the queue of each; the first that matches decides.

    Parameters:
        queue: Where events go that no pattern matches.
        routes: Shell-style patterns, each with its queue.

    Raises:
        InvalidSetting: When it is no mapping, a pattern is neither a string nor an Enum member, or a queue is
            no string.
    """

    def __init__(self, queue: str, routes: Mapping[str, str] | None = None) -> None:
        if routes is not None and not isinstance(routes, Mapping):
            raise InvalidSetting(
                f"routes={shown(routes)}: expected a mapping of patterns to queues, such as "
                "{'billing.*': 'billing'}."
            )
        self.default = queue
        self._index: PatternIndex[str] = PatternIndex()
        self._queues = [queue]
        for pattern, target in (routes or {}).items():
            if not isinstance(pattern, (str, Enum)) or not pattern:
                raise InvalidSetting(f"routes={{{pattern!r}: {target!r}}}: expected a pattern of names.")
            if not isinstance(target, str) or not target.strip() or not target.isprintable():
                raise InvalidSetting(f"routes={{{pattern!r}: {target!r}}}: expected the name of a queue.")
            self._index.add(wire_name(pattern), target)
            self._queues.append(target)
        self.is_one: bool = len(self._queues) == 1
        """Whether there is one queue for all events."""

    def queue_for(self, name: EventName) -> str:
        """The queue for an event of this name."""
        if self.is_one:
            return self.default
        found = self._index.match(*names(name))
        return found[0] if found else self.default

    def queue_for_envelope(self, text: str) -> str:
        """The queue for the event in an envelope."""
        if self.is_one:  # no need to read it
            return self.default
        return self.queue_for(str(codec.decode(text).get("type")))

    def to_subscription(self, own: str | None, routed: str) -> str:
        """The queue for a message to a subscription.

        Parameters:
            own: The subscription's queue; the default one is not its own.
            routed: The queue for the event.
        """
        return own if own and own != self.default else routed

    def __iter__(self) -> Iterator[str]:
        """Every queue, the default one first."""
        return iter(dict.fromkeys(self._queues))
