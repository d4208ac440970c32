"""Subscriptions: functions, the patterns they listen to, and their options."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from fastapi_events.errors import ConfigurationError, MissingEventNameDuringRegistration
from fastapi_events.event import EventName, check_name, names
from fastapi_events.subscriptions.annotations import is_payload_type
from fastapi_events.subscriptions.pattern import PatternIndex
from fastapi_events.subscriptions.plan import Plan
from fastapi_events.subscriptions.signature import describe

if TYPE_CHECKING:  # of queue handlers; the core does without
    from fastapi_events.retry import RetryPolicy
    from fastapi_events.subscriptions.batch import Batch

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(eq=False, slots=True)
class Subscription:
    """A function, the patterns it listens to, and its options.

    Parameters:
        name: Identifies it in logs and messages, and is the name of its actor or task.
        patterns: Shell-style; the function runs once for an event, however many of them match.
        function: What was registered.
        plan: How it is called.
        queue: Where its messages wait; None in this process.
        retry: When it runs again after a failure; None in this process.
        options: Passed on to the engine.
        once: Whether an event that it has completed is skipped when it comes again.
        batch: How it takes many events at once; None where it takes one.
        module: The module whose import registers it.
        pause_on: Errors at which it pauses itself.
        pause_for: Seconds that it pauses then.
    """

    name: str
    patterns: tuple[str, ...]
    function: Callable[..., Any]
    plan: Plan
    queue: str | None = None
    retry: RetryPolicy | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    once: bool = False
    batch: Batch | None = None
    module: str = ""
    pause_on: tuple[type[BaseException], ...] = ()
    pause_for: float = 0.0

    @property
    def pattern(self) -> str:
        """The first pattern."""
        return self.patterns[0]

    @property
    def batch_size(self) -> int | None:
        """How many events it takes at once, at most; None where it takes one."""
        return None if self.batch is None else self.batch.size


class Subscriptions:
    """The subscriptions of a handler, in order of registration, found by the names of events."""

    def __init__(self) -> None:
        self._all: list[Subscription] = []
        self._index: PatternIndex[Subscription] = PatternIndex()
        self._stacked = False

    def add(self, subscription: Subscription) -> None:
        """Take in a new subscription."""
        self._all.append(subscription)
        self._stacked = self._stacked or len(subscription.patterns) > 1
        for pattern in subscription.patterns:
            self._index.add(pattern, subscription)

    def add_patterns(self, subscription: Subscription, patterns: tuple[str, ...]) -> None:
        """Let a subscription listen to more."""
        new = tuple(pattern for pattern in patterns if pattern not in subscription.patterns)
        subscription.patterns += new
        self._stacked = True
        for pattern in new:
            self._index.add(pattern, subscription)

    def replace(self, subscriptions: list[Subscription]) -> None:
        """Forget all subscriptions and take in these."""
        self._all, self._index = [], PatternIndex()
        self._stacked = False
        for subscription in subscriptions:
            self.add(subscription)

    def match(self, name: EventName) -> Sequence[Subscription]:
        """Who listens to an event, each once."""
        # Most names are text, which has one spelling; to ask for it takes as long as to look it up.
        found = self._index.match(name) if type(name) is str else self._index.match(*names(name))
        return tuple(dict.fromkeys(found)) if self._stacked else found

    def named(self, name: str) -> Subscription | None:
        """The subscription with this name."""
        return next((each for each in self._all if each.name == name), None)

    def __iter__(self) -> Iterator[Subscription]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)


class Registration(NamedTuple):
    """What `register(…)` was given, taken apart."""

    function: Callable[..., Any] | None
    model: type | None
    patterns: tuple[str, ...]


def registration(target: Any, event_name: EventName) -> Registration:
    """Tell apart the forms of `register`: bare, with a function, with a model, with `event_name=`.

    Raises:
        ConfigurationError: When `target` is none of them.
        MissingEventNameDuringRegistration: When a model has no `__event_name__`.
    """
    check_name(event_name, asking="register")
    if event_name == "":
        raise ConfigurationError("register(event_name=''): no event has an empty name; '*' means all.")
    if isinstance(target, (str, Enum)):
        raise ConfigurationError(f"register({target!r}): write register(event_name={target!r}).")
    if isinstance(target, type) and (is_payload_type(target) or hasattr(target, "__event_name__")):
        name = getattr(target, "__event_name__", None) if event_name == "*" else event_name
        if not name:
            raise MissingEventNameDuringRegistration
        if not is_payload_type(target):
            raise ConfigurationError(
                f"register({target.__name__}): expected a pydantic model, a dataclass or a TypedDict."
            )
        return Registration(None, target, names(name))
    if target is not None and not callable(target):
        raise ConfigurationError(f"register({target!r}): expected a function or a model.")
    return Registration(target, None, names(event_name))


def name_of(function: Callable[..., Any]) -> str:
    """The default name of a function's subscription: `module.qualname`."""
    return describe(function)
