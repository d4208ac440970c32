"""The functions of a `LocalHandler` as the dict of lists that public code reads and changes."""

from __future__ import annotations

import copy
import functools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import Any

from fastapi_events.subscriptions.plan import plan
from fastapi_events.subscriptions.subscription import Subscription, Subscriptions, name_of

Function = Callable[..., Any]


class Registry(dict[str, list[Function]]):
    """The functions by their patterns: what is put in is subscribed, what is taken out no longer called.

    Parameters:
        subscriptions: What a handler looks events up in; kept as this dict says.
    """

    def __init__(self, subscriptions: Subscriptions) -> None:
        super().__init__()
        self._subscriptions = subscriptions
        self._made: dict[tuple[str, int], Subscription] = {}

    def remember(self, subscription: Subscription) -> None:
        """Use this subscription, which may ask for a model, when its function is put in under its pattern."""
        self._made[_key(subscription.pattern, subscription.function)] = subscription

    def subscription(self, pattern: str, function: Function) -> Subscription:
        """The subscription of a function to a pattern."""
        key = _key(pattern, function)
        if key not in self._made:
            how = plan(function, by_annotation=False)
            self._made[key] = Subscription(name_of(function), (pattern,), function, how)
        return self._made[key]

    def subscriptions_of(self, functions: Mapping[str, Iterable[Function]]) -> Subscriptions:
        """The subscriptions of another such dict, which a test has put in the place of this one."""
        found = Subscriptions()
        for pattern, listening in functions.items():
            for function in listening:
                found.add(self.subscription(pattern, function))
        return found

    def added(self, pattern: str, function: Function) -> None:
        """Subscribe a function that was appended to a list."""
        self._subscriptions.add(self.subscription(pattern, function))

    def changed(self) -> None:
        """Subscribe what the lists hold, in the order in which it was subscribed first."""
        wanted = [(pattern, function) for pattern, listed in self.items() for function in listed]
        missing = Counter(_key(*each) for each in wanted)
        kept = []
        for subscription in self._subscriptions:
            key = _key(subscription.pattern, subscription.function)
            if missing[key]:
                missing[key] -= 1
                kept.append(subscription)
        for pattern, function in wanted:
            if missing[_key(pattern, function)]:
                missing[_key(pattern, function)] -= 1
                kept.append(self.subscription(pattern, function))
        self._subscriptions.replace(kept)

    def __setitem__(self, pattern: str, functions: Iterable[Function]) -> None:
        listed = _Functions(functions, self, pattern)
        # All of them first: one that cannot be called is refused before anything changes.
        subscriptions = [self.subscription(pattern, function) for function in listed]
        is_new = pattern not in self
        super().__setitem__(pattern, listed)
        if not is_new:
            self.changed()
            return
        for subscription in subscriptions:
            self._subscriptions.add(subscription)

    def __delitem__(self, pattern: str) -> None:
        super().__delitem__(pattern)
        self.changed()

    def setdefault(self, pattern: str, functions: Iterable[Function] = ()) -> list[Function]:
        if pattern not in self:
            self[pattern] = functions
        return self[pattern]

    def popitem(self) -> tuple[str, list[Function]]:
        if not self:
            raise KeyError("popitem(): dictionary is empty")
        pattern = next(reversed(self))
        return pattern, self.pop(pattern)

    def __ior__(self, functions: Any) -> Any:  # type: ignore[misc]  # of dict alone, it is another overload
        self.update(functions)
        return self

    # They call the methods above.
    pop = MutableMapping.pop
    clear = MutableMapping.clear
    update = MutableMapping.update

    def copy(self) -> dict[str, list[Function]]:
        """A plain dict of the same lists."""
        return dict(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, list[Function]]:
        return {pattern: copy.deepcopy(list(listed), memo) for pattern, listed in self.items()}

    def __reduce__(self) -> Any:
        return dict, ({pattern: list(listed) for pattern, listed in self.items()},)


class _Functions(list[Function]):
    """The functions of one pattern; whoever changes the list changes the subscriptions."""

    def __init__(self, functions: Iterable[Function], registry: Registry, pattern: str) -> None:
        super().__init__(functions)
        self._registry = registry
        self._pattern = pattern

    @property
    def _is_listed(self) -> bool:
        return self._registry.get(self._pattern) is self

    def append(self, function: Function) -> None:
        if self._is_listed:
            self._registry.added(self._pattern, function)
        super().append(function)

    def changed(self) -> None:
        if self._is_listed:
            self._registry.changed()

    def __deepcopy__(self, memo: dict[int, Any]) -> list[Function]:
        return [copy.deepcopy(function, memo) for function in self]

    def __reduce__(self) -> Any:
        return list, (list(self),)


def _telling(change: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(change)
    def changing(self: _Functions, *args: Any, **kwargs: Any) -> Any:
        try:
            return change(self, *args, **kwargs)
        finally:
            self.changed()

    return changing


for _name in (
    "extend", "insert", "remove", "pop", "clear", "sort", "reverse", "__setitem__", "__delitem__", "__iadd__",
    "__imul__",
):  # fmt: skip
    setattr(_Functions, _name, _telling(getattr(list, _name)))


def _key(pattern: str, function: Function) -> tuple[str, int]:
    return pattern, id(function)
