"""What a worker's functions did, as the lifecycle hooks tell it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi_events.event import Event
from fastapi_events.lifecycle import Lifecycle


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that happened.

    Parameters:
        hook: Which hook told it.
        event: To which event.
        subscription: By which function, where one is concerned.
        error: What went wrong.
        reason: The same in words.
        wait: Seconds until the next attempt.
        attempt: How many have been made.
    """

    hook: str
    event: Event | None = None
    subscription: str | None = None
    error: BaseException | None = None
    reason: str = ""
    wait: float = 0.0
    attempt: int = 0


class Log(Lifecycle):
    """Writes down what happens, in order."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def dispatched(self, event: Event) -> None:
        self.entries.append(Entry(hook="dispatched", event=event))

    def discarded(self, event: Event) -> None:
        self.entries.append(Entry(hook="discarded", event=event))

    def stored(self, events: Sequence[Event], *, handler: str, reason: str) -> None:
        self.entries += [Entry(hook="stored", event=each, reason=reason) for each in events]

    def lost(self, event: Event, *, handler: str, reason: str) -> None:
        self.entries.append(Entry(hook="lost", event=event, reason=f"{handler}: {reason}"))

    def unmatched(self, event: Event, *, handler: str) -> None:
        self.entries.append(Entry(hook="unmatched", event=event, reason=handler))

    def started(self, event: Event, *, subscription: str) -> None:
        self.entries.append(Entry(hook="started", event=event, subscription=subscription))

    def skipped(self, event: Event, *, subscription: str) -> None:
        self.entries.append(Entry(hook="skipped", event=event, subscription=subscription))

    def succeeded(self, event: Event, *, subscription: str) -> None:
        self.entries.append(Entry(hook="succeeded", event=event, subscription=subscription))

    def failed(
        self, events: Sequence[Event], *, handler: str, subscription: str | None, error: BaseException
    ) -> None:
        self.entries += [
            Entry(hook="failed", event=each, subscription=subscription, error=error, reason=handler)
            for each in events
        ]

    def retried(
        self, event: Event, *, subscription: str, error: BaseException, attempt: int, wait: float
    ) -> None:
        self.entries.append(
            Entry(
                hook="retried", event=event, subscription=subscription, error=error, wait=wait,
                attempt=attempt,
            )
        )  # fmt: skip

    def dead(self, event: Event | None, *, subscription: str, reason: str, attempts: int) -> None:
        self.entries.append(
            Entry(hook="dead", event=event, subscription=subscription, reason=reason, attempt=attempts)
        )


def last_errors(entries: Sequence[Entry], dead: Entry) -> list[BaseException]:
    """What the last attempt has raised at a message that was given up.

    Parameters:
        entries: What happened before.
        dead: Says that it was given up.
    """
    errors: list[BaseException] = []
    for each in reversed(entries):
        if each.subscription != dead.subscription or not _concerns(each, dead):
            continue
        if each.hook == "failed" and each.error is not None:
            errors.insert(0, each.error)
        elif errors:  # an attempt before, or the beginning of this one
            break
    return errors


def _concerns(entry: Entry, other: Entry) -> bool:
    return entry.event is not None and other.event is not None and entry.event.id == other.event.id
