"""The events that were dispatched, and what a test says of them."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import Enum
from typing import Any, TypeAlias, overload

from fastapi_events import checks
from fastapi_events.environment import dispatch_disabled
from fastapi_events.errors import ConfigurationError
from fastapi_events.event import Event, names, wire_name
from fastapi_events.registry.payload_schema import registry

Target: TypeAlias = str | Enum | type
"""Which events are meant: a name, a pattern of names, an Enum member, or the model of their payload."""

Where: TypeAlias = Callable[[Event], object]

_MOST_SHOWN = 8
_LONGEST_PAYLOAD = 160
_ABSENT = object()


class DispatchedEvents(Sequence[Event]):
    """Events in the order in which they were dispatched: a sequence of pairs, with assertions.

    Parameters:
        events: What was dispatched; whoever goes on recording adds to it.
    """

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self._events = list(events)

    @overload
    def __getitem__(self, at: int) -> Event: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Event]: ...
    def __getitem__(self, at: int | slice) -> Event | Sequence[Event]:
        return self._events[at]

    def __len__(self) -> int:
        return len(self._events)

    def __eq__(self, other: object) -> bool:
        return self._events == list(other) if isinstance(other, Sequence) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"{type(self).__name__}({[(wire_name(each.name), each.payload) for each in self._events]!r})"

    def named(self, target: Target) -> list[Event]:
        """The events with a name, a name that a pattern matches, or the name of a model.

        Raises:
            ConfigurationError: When it is none of these.
        """
        wanted = _Wanted.of(target, {}, None)
        return [each for each in self._events if wanted.is_named(each)]

    def clear(self) -> None:
        """Forget what was dispatched so far."""
        self._events.clear()

    def assert_dispatched(self, target: Target, /, *, where: Where | None = None, **fields: Any) -> Event:
        """Assert that an event was dispatched.

            events.assert_dispatched(OrderPlaced, number=1)
            events.assert_dispatched("order-*", where=lambda event: event.payload["number"] > 0)

        Parameters:
            target: A name, a pattern, an Enum member, or a model.
            where: What has to be true of the event as well.
            fields: What its payload has to have, and as which value.

        Returns:
            The first such event.

        Raises:
            AssertionError: When there is none, with what was dispatched, the closest first.
        """
        __tracebackhide__ = True
        wanted = self._wanted(target, fields, where)
        found = self._find(wanted)
        if not found:
            raise AssertionError(f"No {wanted} was dispatched. {self._what_was(wanted)}")
        return found[0]

    def assert_dispatched_once(
        self, target: Target, /, *, where: Where | None = None, **fields: Any
    ) -> Event:
        """Assert that an event was dispatched, and no second one like it.

        Raises:
            AssertionError: When it was not, or more than once.
        """
        __tracebackhide__ = True
        wanted = self._wanted(target, fields, where)
        found = self._find(wanted)
        if not found:
            raise AssertionError(f"No {wanted} was dispatched. {self._what_was(wanted)}")
        if len(found) > 1:
            raise AssertionError(f"{len(found)} {wanted.plural} were dispatched, not one:\n{_listed(found)}")
        return found[0]

    def assert_not_dispatched(
        self, target: Target = "*", /, *, where: Where | None = None, **fields: Any
    ) -> None:
        """Assert that no such event was dispatched; without arguments, none at all.

        Raises:
            AssertionError: When one was.
        """
        __tracebackhide__ = True
        wanted = self._wanted(target, fields, where)
        if found := self._find(wanted):
            were = "was" if len(found) == 1 else "were"
            which = wanted if len(found) == 1 else wanted.plural
            raise AssertionError(f"{len(found)} {which} {were} dispatched:\n{_listed(found)}")

    def _wanted(self, target: Target, fields: Mapping[str, Any], where: Where | None) -> _Wanted:
        wanted = _Wanted.of(target, fields, where)
        model = target if isinstance(target, type) else registry.get(target)
        if model is not None:
            there = [each for each in self._events if wanted.is_named(each)]
            _check_fields(model, [name for name in fields if not any(_has(each, name) for each in there)])
        return wanted

    def _find(self, wanted: _Wanted) -> list[Event]:
        return [each for each in self._events if wanted.difference(each) is None]

    def _what_was(self, wanted: _Wanted) -> str:
        if not self._events:
            disabled = " FASTAPI_EVENTS_DISABLE_DISPATCH is set." if dispatch_disabled() else ""
            return f"Nothing was dispatched at all.{disabled}"
        closest = sorted(self._events, key=wanted.closeness, reverse=True)
        return f"What was, closest first:\n{_listed(closest, wanted)}"


@dataclass(frozen=True)
class _Wanted:
    """What an assertion looks for."""

    patterns: tuple[str, ...]
    fields: Mapping[str, Any]
    where: Where | None

    @classmethod
    def of(cls, target: Target, fields: Mapping[str, Any], where: Where | None) -> _Wanted:
        checks.callable_or_none("where", where)
        if isinstance(target, type):
            return cls(names_of(target), fields, where)
        if not isinstance(target, (str, Enum)) or target == "":
            raise ConfigurationError(
                f"{checks.shown(target)}: expected the name of an event, a pattern, or a payload's class."
            )
        return cls(names(target), fields, where)

    def is_named(self, event: Event) -> bool:
        spelled = names(event.name)
        return any(
            name == pattern or fnmatch.fnmatchcase(name, pattern)
            for pattern in self.patterns
            for name in spelled
        )

    def difference(self, event: Event) -> str | None:
        """What is different about an event; None where it is what is looked for."""
        if not self.is_named(event):
            return "another name"
        wrong = [_difference(event, name, value) for name, value in self.fields.items()]
        found = "; ".join(filter(None, wrong))
        if found:
            return found
        return "where= says no" if self.where is not None and not self.where(event) else None

    def closeness(self, event: Event) -> tuple[bool, int, float]:
        equal = sum(_difference(event, name, value) is None for name, value in self.fields.items())
        ratio = max(
            SequenceMatcher(None, pattern, wire_name(event.name)).ratio() for pattern in self.patterns
        )
        return self.is_named(event), equal, ratio

    @property
    def plural(self) -> str:
        return str(self).replace("event", "events", 1)

    def __str__(self) -> str:
        name = "" if self.patterns == ("*",) else f" {' or '.join(map(repr, self.patterns[:1]))}"
        fields = ", ".join(f"{name}={checks.shown(value)}" for name, value in self.fields.items())
        rest = f" with {fields}" if fields else ""
        return f"event{name}{rest}{' and' if rest and self.where else ''}{' where=…' if self.where else ''}"


def names_of(model: type) -> tuple[str, ...]:
    """The events whose payload is of a class.

    Raises:
        ConfigurationError: When there are none.
    """
    spelled = getattr(model, "__event_name__", None)
    found = names(spelled) if spelled else ()
    found += tuple(wire_name(name) for name, schema in registry.items() if schema is model)
    if not found:
        raise ConfigurationError(
            f"{model.__name__} names no event: it has no __event_name__, and is registered for none."
        )
    return tuple(dict.fromkeys(found))


def _check_fields(model: type, fields: Iterable[str]) -> None:
    """Refuse a field that the model lacks: an assertion that asks for it says nothing."""
    known = getattr(model, "model_fields", None) or getattr(model, "__dataclass_fields__", None)
    if known is None or getattr(model, "model_config", {}).get("extra") == "allow":
        return
    for name in fields:
        if name not in known and not hasattr(model, name):
            hint = checks.guess(name, known) or f"there are {', '.join(known) or 'none'}."
            raise ConfigurationError(f"{model.__name__} has no field {name!r}; {hint}")


def _values(event: Event, name: str) -> Iterator[Any]:
    """A field of an event's payload, as the model has it and as it is handed on."""
    for payload in dict.fromkeys(map(_Same, (event.full_payload, event.payload))):
        if isinstance(payload.it, Mapping):
            if name in payload.it:
                yield payload.it[name]
        elif (value := getattr(payload.it, name, _ABSENT)) is not _ABSENT:
            yield value


def _has(event: Event, name: str) -> bool:
    return any(True for _ in _values(event, name))


class _Same:
    """An object, equal to itself alone."""

    def __init__(self, it: Any) -> None:
        self.it = it

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.it is other.it

    def __hash__(self) -> int:
        return id(self.it)


def _difference(event: Event, name: str, expected: Any) -> str | None:
    found = list(_values(event, name))
    if any(value == expected for value in found):
        return None
    if not found:
        return f"no {name}"
    return f"{name} is {checks.shown(found[0])}, not {checks.shown(expected)}"


def _listed(events: Sequence[Event], wanted: _Wanted | None = None) -> str:
    width = max(len(wire_name(each.name)) for each in events[:_MOST_SHOWN])
    lines = []
    for each in events[:_MOST_SHOWN]:
        difference = wanted.difference(each) if wanted is not None and wanted.is_named(each) else None
        payload = repr(each.payload)
        if len(payload) > _LONGEST_PAYLOAD:
            payload = f"{payload[: _LONGEST_PAYLOAD - 1]}…"
        lines.append(
            f"  {wire_name(each.name):{width}}  {payload}{f'   ({difference})' if difference else ''}"
        )
    if len(events) > _MOST_SHOWN:
        lines.append(f"  and {len(events) - _MOST_SHOWN} more")
    return "\n".join(lines)
