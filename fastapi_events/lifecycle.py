"""The whole life of an event, as hooks in the order they are called.

Subclass `Lifecycle`, override what you want to hear of, and `observe()` an instance:

```python
class CountLosses(Lifecycle):
    def lost(self, event, *, handler, reason):
        losses.labels(event=event.name).inc()

observe(CountLosses())
```

A hook is called where the thing happens, possibly in a thread, so it should be quick; one that raises is
logged and does no harm. What listens by default is the visible list `default_observers`.
"""

from __future__ import annotations

import logging
import math
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec

from fastapi_events import redaction
from fastapi_events.context import reported
from fastapi_events.errors import leaves
from fastapi_events.event import Event, wire_name

logger: logging.Logger = logging.getLogger(__name__)

NOT_DUE = "not due yet"
"""Why an event is `stored` that is to be handled later, and has nothing else the matter with it."""

IN_ORDER = "waits for those before it"
"""Why an event with an ordering key is `stored` that a relay puts into its lane; nothing is the matter."""

P = ParamSpec("P")


class Lifecycle:
    """No-op hooks. `handler` and `subscription` are names."""

    # In the process that dispatches

    def dispatched(self, event: Event) -> None:
        """The event entered a scope, or a transaction, or was handed over at once outside of any scope."""

    def discarded(self, event: Event) -> None:
        """An event is not handled: the flush policy forbids it, or its transaction was not committed."""

    def published(self, events: Sequence[Event], *, handler: str) -> None:
        """The broker has confirmed the events."""

    def stored(self, events: Sequence[Event], *, handler: str, reason: str) -> None:
        """The outbox has the events; a relay will publish them."""

    def relayed(self, count: int, *, handler: str) -> None:
        """A relay has published so many events from the outbox, and the broker has confirmed them."""

    def lost(self, event: Event, *, handler: str, reason: str) -> None:
        """Nobody holds the event any more, or nobody can tell: it may not have arrived."""

    # In the process that handles

    def fanned_out(self, event: Event, *, handler: str, subscriptions: Sequence[str]) -> None:
        """A message to each of the subscriptions that listen to it is in the broker."""

    def unmatched(self, event: Event, *, handler: str) -> None:
        """No subscription of the fleet listens to the event, as far as this worker knows."""

    def started(self, event: Event, *, subscription: str) -> None:
        """A subscription is about to run."""

    def skipped(self, event: Event, *, subscription: str) -> None:
        """A subscription with `once=True` had completed the event before; or any, of one sent once more."""

    def succeeded(self, event: Event, *, subscription: str) -> None:
        """A subscription has returned, and the events that it dispatched are published."""

    def failed(
        self, events: Sequence[Event], *, handler: str, subscription: str | None, error: BaseException
    ) -> None:
        """A subscription raised; or, where it is None, a whole handler."""

    def retried(
        self, event: Event, *, subscription: str, error: BaseException, attempt: int, wait: float
    ) -> None:
        """The failed attempt, counted from 1, will be followed by another in `wait` seconds."""

    def dead(self, event: Event | None, *, subscription: str, reason: str, attempts: int) -> None:
        """The message was given up and kept aside; `event` is None where it cannot be read."""

    # In the process that replays dead letters

    def replayed(self, event: Event, *, subscription: str) -> None:
        """The message that was given up has been sent once more."""


class LogLifecycle(Lifecycle):
    """Writes what someone must be able to find later. Payloads are never logged."""

    def __init__(self) -> None:
        self._unheard = _Seldom()

    def discarded(self, event: Event) -> None:
        logger.debug("Event %r (%s) discarded.", wire_name(event.name), event.id)

    def lost(self, event: Event, *, handler: str, reason: str) -> None:
        reason = redaction.scrubbed(reason, [event])
        logger.error("Event %r (%s) lost by %s: %s", wire_name(event.name), event.id, handler, reason)

    def stored(self, events: Sequence[Event], *, handler: str, reason: str) -> None:
        level = logging.DEBUG if reason in (NOT_DUE, IN_ORDER) else logging.WARNING  # it was asked for
        name, event_id = wire_name(events[0].name), events[0].id
        if len(events) == 1:
            logger.log(level, "Event %r (%s) of %s waits in the outbox: %s", name, event_id, handler, reason)
            return
        logger.log(level, "%d events of %s wait in the outbox, %r (%s) first: %s", len(events), handler,
                   name, event_id, reason)  # fmt: skip

    def unmatched(self, event: Event, *, handler: str) -> None:
        count = self._unheard.count(f"{handler} {wire_name(event.name)}")
        name = wire_name(event.name)
        if count == 1:
            logger.warning(
                "Nobody listens to event %r in %s (%s). Look for a misspelt name, a worker that does not "
                "import its functions, or another application that uses the same queue.",
                name, handler, event.id,
            )  # fmt: skip
        elif count:
            logger.warning(
                "Nobody listens to event %r in %s: %d since this was said last, %s the latest.",
                name, handler, count, event.id,
            )  # fmt: skip

    def failed(
        self, events: Sequence[Event], *, handler: str, subscription: str | None, error: BaseException
    ) -> None:
        hidden = any(redaction.hides(event) for event in events)
        text = redaction.scrubbed(str(error), events) if hidden else error
        for event in events:
            logger.error(
                "Event %r (%s) failed in %s: %s: %s",
                wire_name(event.name), event.id, subscription or handler, type(error).__name__, text,
                exc_info=error if event is events[0] and not hidden else None,
            )  # fmt: skip
        if hidden:  # what it was given may stand in what it raised
            logger.error("%s", redaction.scrubbed("".join(traceback.format_exception(error)), events))

    def retried(
        self, event: Event, *, subscription: str, error: BaseException, attempt: int, wait: float
    ) -> None:
        logger.warning(
            "Event %r (%s): attempt %d of %s failed, the next in %.1f s.",
            wire_name(event.name), event.id, attempt, subscription, wait,
        )  # fmt: skip

    def dead(self, event: Event | None, *, subscription: str, reason: str, attempts: int) -> None:
        name, event_id = (wire_name(event.name), event.id) if event else (None, None)
        logger.error(
            "Event %r (%s) given up by %s after %d %s, now a dead letter: %s",
            name, event_id, subscription, attempts, "attempt" if attempts == 1 else "attempts", reason,
        )  # fmt: skip


class _Seldom:
    """Counts what is to be said once a minute about each subject, at most."""

    def __init__(self) -> None:
        self._said: dict[str, tuple[float, int]] = {}
        self._lock = threading.Lock()

    def count(self, subject: str) -> int:
        """How often it has happened since it was said last, this time included.

        Returns:
            0 where it is not to be said now.
        """
        now = time.monotonic()
        with self._lock:
            if subject not in self._said and len(self._said) >= _MOST_SUBJECTS:
                subject = _OTHERS  # names may come from anywhere, and their number has no bound
            said_at, times = self._said.get(subject, (-math.inf, 0))
            if now - said_at < _SELDOM_SECONDS:
                self._said[subject] = said_at, times + 1
                return 0
            self._said[subject] = now, 0
            return times + 1


_SELDOM_SECONDS = 60.0
_MOST_SUBJECTS = 1_000
_OTHERS = ""

default_observers: list[type[Lifecycle]] = [LogLifecycle]

_HOOKS: tuple[Callable[..., None], ...] = tuple(
    hook for name, hook in vars(Lifecycle).items() if not name.startswith("_")
)

heard: set[Callable[..., None]] = set()
"""The hooks that some observer overrides. What happens to every event asks here before it calls `tell`, so
that a hook nobody overrides costs one look."""

_observers: list[Lifecycle] = []
_listening: dict[str, list[Callable[..., None]]] = {}


def observe(observer: Lifecycle) -> None:
    """Call the hooks of `observer` from now on, in every scope of this process."""
    _observers.append(observer)
    _observers_changed()


def forget(observer: Lifecycle) -> None:
    """Undo `observe`."""
    global _observers
    # Another list: an observer may be forgotten by the garbage collector, while this one is gone through.
    _observers = [each for each in _observers if each is not observer]
    _observers_changed()


def _observers_changed() -> None:
    _listening.clear()
    heard.clear()
    heard.update(hook for hook in _HOOKS if listeners(hook))


def tell(hook: Callable[Concatenate[Any, P], None], *args: P.args, **kwargs: P.kwargs) -> None:
    """Call a hook of every observer that overrides it: `tell(Lifecycle.lost, event, handler=…, reason=…)`."""
    for call in listeners(hook):
        try:
            call(*args, **kwargs)
        except Exception:  # an observer's fault must not become the event's
            logger.exception("The lifecycle hook %r failed.", call)


def listeners(hook: Callable[..., None]) -> list[Callable[..., None]]:
    """Who overrides `hook`; empty for most hooks, which then cost nothing."""
    found = _listening.get(hook.__name__)
    if found is None:
        found = _listening[hook.__name__] = [
            getattr(observer, hook.__name__)
            for observer in _observers
            if getattr(type(observer), hook.__name__) is not hook
        ]
    return found


def report_failure(
    events: Sequence[Event], *, handler: str, error: BaseException, subscription: str | None = None
) -> None:
    """Tell `failed` of an error; of a group, of each error in it."""
    for each in leaves(error):
        mark_reported(each)
        tell(Lifecycle.failed, events, handler=handler, subscription=subscription, error=each)


def report_unreported(
    events: Sequence[Event], *, handler: str, error: BaseException, subscription: str | None = None
) -> None:
    """Tell `failed` of an error that has come up, unless somebody in this delivery has told it already."""
    known = reported.get() or {}
    for each in leaves(error):
        if id(each) not in known:
            report_failure(events, handler=handler, error=each, subscription=subscription)


def mark_reported(*errors: BaseException) -> None:
    """Say that the observers know of these errors, for as long as this delivery takes.

    The errors are remembered here rather than marked: they are not ours, and some take no attributes.
    """
    known = reported.get()
    if known is not None:
        known.update({id(each): each for error in errors for each in leaves(error)})


for _kind in default_observers:
    observe(_kind())
