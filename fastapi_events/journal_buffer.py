"""What a process has to tell a journal, as texts and counts in a bounded buffer."""

from __future__ import annotations

import operator
import os
import socket
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

from pydantic_core import to_json

from fastapi_events import codec, redaction
from fastapi_events.errors import FastapiEventError
from fastapi_events.event import Event, wire_name
from fastapi_events.storage.histories import BITS, Happening, History
from fastapi_events.storage.journal import (
    CountKey,
    Histogram,
    Record,
    bucket_of,
    cut_payload,
    is_short,
    record_text,
)
from fastapi_events.subscriptions.subscription import Subscriptions

MAX_BUFFERED = 10_000
"""Records that may wait for the journal."""

BATCH = 1_000
"""Records that are written at once."""

_MOST_NAMES = 1_000
_OTHER_NAMES = "(other)"
"""Names may come from anywhere, and their number has no bound; that of the counts shall have one."""

_Measured: TypeAlias = tuple[Histogram, float]

_Head: TypeAlias = tuple[str, str]


class _Kind(NamedTuple):
    """What records of one kind, of events of one name, have in common within a minute.

    Parameters:
        head: How their JSON begins.
        bit: Of what happened.
        minute: Which one.
        counted: Where they are counted.
    """

    head: str
    bit: int
    minute: int
    counted: CountKey


Details: TypeAlias = Mapping[str, Any]
"""Fields of a `Record`."""


class Recorded(Protocol):
    """A handler whose events a journal tells of."""

    @property
    def subscriptions(self) -> Subscriptions:
        """The functions that this process has."""

    @property
    def has_worker_here(self) -> bool:
        """Whether this process is one of its workers."""

    @property
    def name(self) -> str:
        """Its name."""

    queue: str
    """Where the messages of subscriptions wait that name no queue of their own."""


class Source(Protocol):
    """Whose events are written."""

    @property
    def handlers(self) -> Iterable[Recorded]:
        """All handlers of this process that have the journal."""

    keeps_payloads: bool
    """Whether payloads are to be kept."""


class JournalBuffer:
    """What one process has gathered. An object is meant for one thread at a time.

    Parameters:
        source: Whose events.
    """

    def __init__(self, source: Source) -> None:
        self.waiting: dict[str, History] = {}
        """What is to be written of each event, the oldest first."""
        self.counts: dict[CountKey, int] = {}
        self.records: int = 0
        """How many wait."""
        self.not_written: int = 0
        """How many have been left out."""
        self._source = source
        self._process = f"{socket.gethostname()}:{os.getpid()}"
        self._heads: dict[tuple[str, str | None, str | None], _Head] = {}
        self._kinds: dict[tuple[str, str | None, str | None, str], _Kind] = {}
        self._at, self._at_text, self._minute = 0.0, "0.0", 0
        self._names: set[str] = set()
        self._short_names: set[str] = set()
        self._began: dict[tuple[str, str], float] = {}

    def batch(self) -> list[History]:
        """The oldest of what waits, as much as is written at once."""
        batch: list[History] = []
        size = 0
        for each in self.waiting.values():
            size += len(each.texts)
            if batch and size > BATCH:
                break
            batch.append(each)
        return sorted(batch, key=operator.attrgetter("id"))

    def forget(self, history: History) -> None:
        """Let go of what was written, or cannot be."""
        if self.waiting.pop(history.id, None) is not None:
            self.records -= len(history.texts)

    def add(
        self,
        what: Happening,
        event: Event,
        at: float,
        handler: str | None,
        subscription: str | None,
        details: Details | None,
    ) -> None:
        """Take in what has happened to an event; the event itself, and its payload, are let go.

        Raises:
            Exception: Its name or payload is not what it should be.
        """
        id_ = event._id or event.id  # noqa: SLF001 - our own
        history = self.waiting.get(id_) or self._history(event, id_, at)
        if at != self._at:  # events of a flush share theirs
            self._at, self._at_text, self._minute = at, f"{at:.6f}", int(at) // 60 * 60
        kind = self._kinds.get((what, handler, subscription, history.name))
        if kind is None or kind.minute != self._minute:
            kind = self._kind(what, handler, subscription, history.name)
        measured = None if subscription is None else self._measured(what, event, id_, at, subscription)
        if details:
            said = details if history.cause is None else {**details, "cause": history.cause}
            text = self._rare_text(what, event, at, handler, subscription, said, measured)
        else:
            cause = "" if history.cause is None else f',"cause":{to_json(history.cause).decode()}'
            numbers = "" if measured is None else f',"{measured[0]}":{measured[1]:.6f}'
            text = f'{kind.head},"at":{self._at_text}{numbers}{cause}}}'
        if self._source.keeps_payloads and what in ("dispatched", "started"):
            history.payload = history.payload or self._payload_of(event)
        history.add(kind.bit, at, text)
        self.waiting[history.id] = history
        self.records += 1
        self._count(kind.counted)
        if measured is not None:
            self._count((*kind.counted[:-1], bucket_of(*measured)))
        if self.records > MAX_BUFFERED:
            oldest = next(iter(self.waiting.values()))
            self.not_written += len(oldest.texts)
            self.forget(oldest)

    def _history(self, event: Event, id_: str, at: float) -> History:
        """What is said once about an event, by the rules of a `Record`."""
        headers = event._headers or {}  # noqa: SLF001 - our own; asked by its name it would be made
        cause, correlation = headers.get("causationid"), str(headers.get("correlationid") or id_)
        name, key = wire_name(event[0]), event.ordering_key or None
        others = "" if cause is key is None and correlation == id_ else f"{cause}{correlation}{key}"
        if name in self._short_names and is_short(f"{id_}{others}"):  # as of most
            return History(id_, name, correlation, cause, at, key)
        cut = Record(
            event_id=id_, event_name=name, what="dispatched", at=at, process="", cause=cause,
            correlation=correlation, ordering_key=key,
        )  # fmt: skip
        if cut.event_name == name and len(self._short_names) < _MOST_NAMES:
            self._short_names.add(name)
        known = self.waiting.get(cut.event_id)
        return known or History(
            cut.event_id, cut.event_name, cut.correlation, cut.cause, at, cut.ordering_key
        )

    def _measured(
        self, what: Happening, event: Event, id_: str, at: float, subscription: str
    ) -> _Measured | None:
        """How old the event was when a function began with it, or how long that took."""
        if what == "started":
            if len(self._began) >= MAX_BUFFERED:
                self._began.pop(next(iter(self._began)))  # the one that has been running longest
            self._began[id_, subscription] = at
            return "age", max(0.0, at - event.timestamp)
        if what in ("succeeded", "failed"):
            began = self._began.pop((id_, subscription), None)
            return None if began is None else ("duration", max(0.0, at - began))
        return None

    def _rare_text(
        self,
        what: Happening,
        event: Event,
        at: float,
        handler: str | None,
        subscription: str | None,
        details: Details,
        measured: _Measured | None,
    ) -> str:
        said = dict(details) if measured is None else {**details, measured[0]: measured[1]}
        if "error" in said:
            said["error"] = redaction.scrubbed(said["error"], [event])
        owner, queue = self._owner_of(subscription)
        return record_text(
            Record(
                event_id="", event_name="", what=what, at=at, process=self._process,
                handler=handler or owner, subscription=subscription, queue=queue, **said,
            )
        )  # fmt: skip

    def _kind(self, what: Happening, handler: str | None, subscription: str | None, name: str) -> _Kind:
        """What records of a kind have in common, this minute."""
        known = self._heads.get((what, handler, subscription))
        head, owner = known or self._head(what, handler, subscription)
        counted_name = name if name in self._names or len(self._names) < _MOST_NAMES else _OTHER_NAMES
        self._names.add(counted_name)
        counted = self._minute, counted_name, owner, subscription or "", what
        kind = _Kind(head, BITS[what], self._minute, counted)
        if known is not None:
            if len(self._kinds) >= _MOST_NAMES:
                self._kinds.clear()
            self._kinds[what, handler, subscription, name] = kind
        return kind

    def _head(self, what: Happening, handler: str | None, subscription: str | None) -> _Head:
        """How the JSON of a record begins of which only numbers are its own, and whose function it is."""
        owner, queue = self._owner_of(subscription)
        cut = Record(
            event_id="", event_name="", what=what, at=0.0, process=self._process, handler=handler or owner,
            subscription=subscription, queue=queue,
        )  # fmt: skip
        said = {name: getattr(cut, name) for name in ("what", "process", "handler", "subscription", "queue")}
        head = to_json({name: value for name, value in said.items() if value is not None}).decode()[:-1]
        found = head, handler or owner or ""
        if (subscription is None or queue is not None) and len(self._heads) < _MOST_NAMES:
            self._heads[what, handler, subscription] = found
        return found

    def _owner_of(self, subscription: str | None) -> tuple[str | None, str | None]:
        """The handler whose function it is, and the queue of its messages.

        Handlers of two engines may have functions of one name: it is that whose worker this process is.
        """
        if subscription is not None:
            handlers = sorted(self._source.handlers, key=lambda each: not each.has_worker_here)
            for handler in handlers:
                found = handler.subscriptions.named(subscription)
                if found is not None:
                    return handler.name, str(found.queue or handler.queue)
        return None, None

    def _payload_of(self, event: Event) -> str | None:
        try:
            name = wire_name(event.name)
            text = event.encoded or codec.encode(event.full_payload, event_name=name, sensitive=[])
            if redaction.hides(event):
                text = to_json(redaction.shown_of(event, codec.decode(text))).decode()
        except FastapiEventError:  # it stays in this process, and need not be able to travel
            return None
        return cut_payload(text)

    def _count(self, key: CountKey) -> None:
        counts = self.counts
        try:
            counts[key] += 1
        except KeyError:
            if len(counts) < MAX_BUFFERED:  # else the journal has been away for hours
                counts[key] = 1
