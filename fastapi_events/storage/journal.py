"""The journal: what happened to events, for people to look up; nothing else depends on it."""

from __future__ import annotations

import bisect
import fnmatch
import json
import operator
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias, get_args

from pydantic_core import to_json

from fastapi_events import checks
from fastapi_events.storage.base import Store, check_aware, read_cursor, storable
from fastapi_events.storage.histories import BITS, HAPPENINGS, NOTABLE, Happening, History, outcomes_of

KEEP: Final = timedelta(days=3)
"""How long an event is kept after the last that happened to it."""

MAX_EVENTS: Final = 100_000
"""Events that are kept."""

BUCKETS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
"""Upper bounds, in seconds, of the histograms; what takes longer is in one more."""

Histogram: TypeAlias = Literal["duration", "age"]

_BUCKETS_OF: Final[Mapping[Histogram, Sequence[str]]] = {
    measure: (*(f"{measure}<={bound:g}" for bound in BUCKETS), measure) for measure in get_args(Histogram)
}

_LONGEST_NAME = 200
"""Characters of names and ids: a forged one may be longer than an index can take."""

_LONGEST_KEY = 255
_LONGEST_ERROR = 2_000
_LONGEST_PAYLOAD = 10_000

_LONGEST: Final = (
    ("event_id", _LONGEST_NAME), ("event_name", _LONGEST_NAME), ("handler", _LONGEST_NAME),
    ("subscription", _LONGEST_NAME), ("cause", _LONGEST_NAME), ("correlation", _LONGEST_NAME),
    ("ordering_key", _LONGEST_KEY), ("error", _LONGEST_ERROR), ("payload", _LONGEST_PAYLOAD),
)  # fmt: skip

_PAGE = 500


# Values that nobody changes; but `frozen` would make them several times as dear, and there are many.
@dataclass(kw_only=True, slots=True, unsafe_hash=True)
class Record:
    """One thing that happened to an event.

    Parameters:
        event_id: The event's id.
        event_name: The event's name.
        what: What happened.
        at: When; seconds since 1970.
        process: Where: host and process id.
        handler: The queue handler that it concerns, if it concerns one.
        subscription: The subscription that it concerns, if it concerns one.
        queue: Where the messages of that subscription wait.
        to: The subscriptions that got a message each, of an event that was fanned out.
        attempt: Which attempt it was, counted from 1.
        wait: Seconds until the next one.
        duration: Seconds that the function took.
        age: Seconds from the dispatch to the start of the function.
        error: What went wrong, in one line.
        cause: The event whose function dispatched this one.
        correlation: What the events of a chain have in common.
        ordering_key: The event's ordering key, if it has one.
        payload: The payload as JSON, where it is to be kept; the start of a long one.
    """

    event_id: str
    event_name: str
    what: Happening
    at: float
    process: str
    handler: str | None = None
    subscription: str | None = None
    queue: str | None = None
    to: tuple[str, ...] = ()
    attempt: int | None = None
    wait: float | None = None
    duration: float | None = None
    age: float | None = None
    error: str | None = None
    cause: str | None = None
    correlation: str | None = None
    ordering_key: str | None = None
    payload: str | None = None

    def __post_init__(self) -> None:
        if self.error is None and self.payload is None:  # as of most, of which there are several an event
            text = f"{self.event_id}{self.event_name}{self.handler}{self.subscription}"
            text += f"{self.cause}{self.correlation}{self.ordering_key}"
            if is_short(text):
                return
        for name, longest in _LONGEST:
            _cut(self, name, longest)


@dataclass(kw_only=True, slots=True, unsafe_hash=True)
class JournalEvent:
    """An event of which the journal has records.

    Parameters:
        id: Its id.
        name: Its name.
        first_at: When the first known thing happened to it; seconds since 1970.
        last_at: When the last did.
        outcomes: All that has happened to it.
        cause: The event whose function dispatched this one.
        correlation: What the events of a chain have in common.
        ordering_key: Its ordering key, if it has one.
        payload: Its payload as JSON, where it was to be kept.
    """

    id: str
    name: str
    first_at: float
    last_at: float
    outcomes: frozenset[str]
    cause: str | None = None
    correlation: str | None = None
    ordering_key: str | None = None
    payload: str | None = None

    @classmethod
    def of(cls, history: History) -> JournalEvent:
        """The event of which a history tells, as if that were all."""
        return cls(
            id=history.id, name=history.name, first_at=history.first_at, last_at=history.last_at,
            outcomes=outcomes_of(history.bits), cause=history.cause, correlation=history.correlation,
            ordering_key=history.ordering_key, payload=history.payload,
        )  # fmt: skip

    @property
    def is_notable(self) -> bool:
        """Whether something went wrong with it, if only for a while."""
        return not NOTABLE.isdisjoint(self.outcomes)

    @property
    def cursor(self) -> str:
        """Where the event stands among the latest; opaque, and good even after the event has gone."""
        return f"{self.last_at!r}/{self.id}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Count:
    """How often something happened within a minute.

    Parameters:
        minute: When it began; seconds since 1970.
        event_name: Of which events.
        handler: The queue handler that it concerns; empty where it concerns none, as `dispatched` does.
        subscription: In which subscription; empty where it concerns none.
        measure: What was counted: something that can happen, or a bucket of a histogram, `duration<=0.5` or
            `age<=0.5`, which holds what is in no smaller one; `duration` or `age` alone is the last bucket.
        count: How often.
    """

    minute: int
    event_name: str
    subscription: str
    measure: str
    count: int
    handler: str = ""

    def __post_init__(self) -> None:
        if not is_short(f"{self.event_name}{self.handler}{self.subscription}"):
            for name in ("event_name", "handler", "subscription"):
                _cut(self, name, _LONGEST_NAME)

    @property
    def key(self) -> CountKey:
        """What is counted."""
        return self.minute, self.event_name, self.handler, self.subscription, self.measure


CountKey: TypeAlias = tuple[int, str, str, str, str]

CountPart: TypeAlias = Literal["minute", "event_name", "handler", "subscription"]

COUNT_PARTS: Final[Mapping[CountPart, type[int] | type[str]]] = {
    "minute": int, "event_name": str, "handler": str, "subscription": str,
}  # fmt: skip
"""What counts of one measure are told apart by, in the order of `Count.key`."""

_WRITTEN = [
    each.name
    for each in fields(Record)
    if each.name not in ("event_id", "event_name", "correlation", "ordering_key", "payload")
]
_written_of = operator.attrgetter(*_WRITTEN)

MAX_ACTIONS: Final = 10_000
"""Actions of people that are kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Action:
    """What somebody did to events.

    Parameters:
        at: When; seconds since 1970.
        by: Who: a user and the host, or what the application says.
        what: What was done, such as `replayed` or `discarded`.
        handler: The handler whose events they were.
        subject: To which of them, such as an id or what filters asked for.
        count: How many they were.
    """

    at: float
    by: str
    what: str
    handler: str
    subject: str
    count: int

    def __post_init__(self) -> None:
        for name in ("by", "what", "handler", "subject"):
            _cut(self, name, _LONGEST_ERROR)


Actions: TypeAlias = list[Action]
JournalEvents: TypeAlias = list[JournalEvent]
Records: TypeAlias = list[Record]
Counts: TypeAlias = list[Count]


class Journal(Store, ABC):
    """What happened to events, for some days.

    Parameters:
        keep: How long an event is kept after the last that happened to it, and how long counts are.
        max_events: How many are kept at most: those to which nothing notable happened go first.
    """

    def __init__(self, *, keep: timedelta | float = KEEP, max_events: int = MAX_EVENTS) -> None:
        self.keep_seconds: float = checks.seconds("keep", keep, positive=True)
        self.max_events: int = checks.whole("max_events", max_events, least=1)

    def write(self, records: Sequence[Record], counts: Sequence[Count] = ()) -> None:
        """Add records, and add counts to those that there are."""
        self.put(histories_of(records), counts)

    @abstractmethod
    def put(self, histories: Sequence[History], counts: Sequence[Count] = ()) -> None:
        """Add to what is known of events, each of which is there once, and to counts.

        Parameters:
            histories: By the events' ids, lest two who write wait for each other.
        """

    def events(
        self,
        *,
        limit: int = 100,
        name: str | None = None,
        outcome: str | None = None,
        ordering_key: str | None = None,
        since: datetime | None = None,
        after: str | None = None,
    ) -> JournalEvents:
        """The events to which something happened last, the latest first.

        Parameters:
            after: Begin behind the event with this `cursor`.
            name: Only those with this name, in which `*` stands for anything.
            outcome: Only those to which this has happened.
            ordering_key: Only those with this ordering key.
            since: Only those to which something has happened since.
        """
        check_aware("since", since)
        begin = None if since is None else since.timestamp()
        found: JournalEvents = []
        below = None if after is None else read_cursor(after)
        while len(found) < limit:
            page = self._latest(
                _PAGE, below=below, since=begin, only_notable=outcome in NOTABLE, name=name, outcome=outcome,
                ordering_key=ordering_key,
            )  # fmt: skip
            found += (
                each
                for each in page
                if (name is None or fnmatch.fnmatchcase(each.name, name))
                and (outcome is None or outcome in each.outcomes)
                and ordering_key in (None, each.ordering_key)
            )
            if len(page) < _PAGE:
                break
            below = page[-1].last_at, page[-1].id
        return found[:limit]

    def notable(self, *, limit: int = 20) -> JournalEvents:
        """The events to which something notable happened, the latest first."""
        return self._latest(limit, below=None, since=None, only_notable=True)

    @abstractmethod
    def chain(self, correlation: str, *, limit: int = 1_000) -> JournalEvents:
        """The events that have a correlation id in common, the first one first."""

    @abstractmethod
    def find(self, prefix: str, *, limit: int = 10) -> JournalEvents:
        """The events whose ids begin with a prefix, by id."""

    @abstractmethod
    def records(self, event_id: str) -> Records:
        """What happened to an event, in the order of time."""

    @abstractmethod
    def counts(self, since: datetime) -> Counts:
        """What was counted since the minute of a time, the first minute first."""

    def sums(
        self,
        since: datetime,
        *,
        by: Collection[CountPart] = ("event_name", "handler", "subscription"),
        measures: Collection[str] | None = None,
    ) -> Counts:
        """The counts, added up where nothing tells them apart.

        A store that can add is to do so: an hour of counts are ten thousands, and their sums a few.

        Parameters:
            by: What is told apart beside the measure; the rest is 0 or empty in the answer.
            measures: Only these; all if not given.
        """
        sums: Counter[CountKey] = Counter()
        for each in self.counts(since):
            if measures is None or each.measure in measures:
                apart = (
                    each.minute if "minute" in by else 0,
                    each.event_name if "event_name" in by else "",
                    each.handler if "handler" in by else "",
                    each.subscription if "subscription" in by else "",
                    each.measure,
                )
                sums[apart] += each.count
        return [count_of(key, count) for key, count in sorted(sums.items())]

    @abstractmethod
    def note(self, action: Action) -> None:
        """Keep what somebody did."""

    @abstractmethod
    def actions(self, *, limit: int = 100) -> Actions:
        """What people did, the latest first; the latest 10,000 are kept."""

    @abstractmethod
    def prune(self) -> int:
        """Remove what need not be kept any longer, in small steps, and count the events that went."""

    @abstractmethod
    def _latest(
        self,
        limit: int,
        *,
        below: tuple[float, str] | None,
        since: float | None,
        only_notable: bool,
        name: str | None = None,
        outcome: str | None = None,
        ordering_key: str | None = None,
    ) -> JournalEvents:
        """Events by `last_at` and id, the highest first.

        Parameters:
            below: Only those that come after these in that order.
            name: Others than those with this name, in which `*` stands for anything, may be left out.
            outcome: Others than those to which this has happened may be left out.
            ordering_key: Others than those with this ordering key may be left out.
        """


def count_of(key: CountKey, count: int) -> Count:
    """How often something happened, by what `Count.key` says."""
    minute, name, handler, subscription, measure = key
    return Count(
        minute=minute,
        event_name=name,
        handler=handler,
        subscription=subscription,
        measure=measure,
        count=count,
    )


def bucket_of(measure: Histogram, seconds: float) -> str:
    """The bucket of a histogram, as `Count.measure` names it."""
    return _BUCKETS_OF[measure][bisect.bisect_left(BUCKETS, seconds)]


def histories_of(records: Iterable[Record]) -> list[History]:
    """What records add to what is known of their events."""
    found: dict[str, History] = {}
    for each in records:
        history = found.get(each.event_id)
        if history is None:
            history = History(
                each.event_id, each.event_name, each.correlation, each.cause, each.at, each.ordering_key
            )
            found[each.event_id] = history
        history.add(BITS[each.what], each.at, record_text(each))
        history.cause = history.cause or each.cause
        history.ordering_key = history.ordering_key or each.ordering_key
        history.payload = history.payload or each.payload
    return [found[id_] for id_ in sorted(found)]


def record_text(record: Record) -> str:
    """A record as JSON text, without what its event's history says."""
    values = zip(_WRITTEN, _written_of(record), strict=True)
    return to_json({name: value for name, value in values if value is not None and value != ()}).decode()


def records_of(event: JournalEvent, texts: Iterable[str]) -> Records:
    """The records of an event, without those that cannot be read and what else a newer version wrote."""
    known = {each.name for each in fields(Record)}
    found = []
    for text in texts:
        for values in json.loads(text):
            if values.get("what") not in HAPPENINGS:
                continue
            given = {name: value for name, value in values.items() if name in known}
            given["to"] = tuple(given.get("to", ()))
            found.append(
                Record(
                    event_id=event.id, event_name=event.name, correlation=event.correlation,
                    ordering_key=event.ordering_key, **given,
                )
            )  # fmt: skip
    return sorted(found, key=lambda each: each.at)


def text_of_action(action: Action) -> str:
    """An action as JSON text, which `action_of` reads."""
    return json.dumps({each.name: getattr(action, each.name) for each in fields(Action)})


def action_of(text: str) -> Action:
    """An action that was written, without what a newer version wrote beside."""
    known = {each.name for each in fields(Action)}
    return Action(**{name: value for name, value in json.loads(text).items() if name in known})


def is_short(text: str) -> bool:
    """Whether a text is kept as it is, and all its parts."""
    return len(text) <= _LONGEST_NAME and text.isascii() and text.isprintable()


def cut_payload(text: str) -> str:
    """A payload as it is kept: the start of a long one."""
    return _shortened(text, _LONGEST_PAYLOAD)


def _cut(made: object, name: str, longest: int) -> None:
    """Let a text be one that fits; the object is frozen for its users, and is still being made."""
    text = getattr(made, name)
    if text is not None:
        object.__setattr__(made, name, _shortened(text, longest))


def _shortened(text: str, longest: int) -> str:
    text = storable(text)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
