"""The functions of a LocalHandler as a dict of lists that may be changed."""

from __future__ import annotations

from typing import Any

import pytest

from fastapi_events.errors import ConfigurationError
from fastapi_events.handlers.local_registry import Registry
from fastapi_events.subscriptions.subscription import Subscriptions


def one(event: Any) -> None: ...


def two(event: Any) -> None: ...


@pytest.fixture
def subscriptions() -> Subscriptions:
    return Subscriptions()


@pytest.fixture
def registry(subscriptions: Subscriptions) -> Registry:
    return Registry(subscriptions)


def heard(subscriptions: Subscriptions, name: str) -> list[Any]:
    return [each.function for each in subscriptions.match(name)]


def test_what_is_put_in_is_subscribed(registry: Registry, subscriptions: Subscriptions) -> None:
    registry["cat*"] = [one]
    registry.setdefault("cat*").append(two)

    assert heard(subscriptions, "cat-woke-up") == [one, two]
    assert registry == {"cat*": [one, two]}


def test_a_new_pattern_costs_no_look_at_those_before_it() -> None:
    class Counting(Subscriptions):
        added = 0

        def add(self, subscription: Any) -> None:
            self.added += 1
            super().add(subscription)

    subscriptions = Counting()
    registry = Registry(subscriptions)
    for number in range(50):
        registry.setdefault(f"cat-{number}-*", []).append(one)
        registry[f"dog-{number}"] = [one, two]

    assert subscriptions.added == len(subscriptions) == 150


def test_what_is_taken_out_is_no_longer_called(registry: Registry, subscriptions: Subscriptions) -> None:
    registry["cat"] = [one, two]
    registry["dog"] = [one]

    registry["cat"].remove(one)
    del registry["dog"]

    assert heard(subscriptions, "cat") == [two]
    assert heard(subscriptions, "dog") == []


def test_the_order_of_subscribing_is_kept(registry: Registry, subscriptions: Subscriptions) -> None:
    registry["c*"] = [two]
    registry["cat"] = [one]

    assert heard(subscriptions, "cat") == [two, one]


def test_what_cannot_be_called_is_refused_and_changes_nothing(
    registry: Registry, subscriptions: Subscriptions
) -> None:
    registry["cat"] = [one]

    def needs_more(event: Any, *, other: int) -> None: ...

    with pytest.raises(ConfigurationError, match="other"):
        registry["cat"] = [needs_more]

    assert heard(subscriptions, "cat") == [one]


def test_the_subscriptions_of_another_dict_can_be_had(registry: Registry) -> None:
    found = registry.subscriptions_of({"cat": [one], "dog": [two]})

    assert [each.function for each in found.match("dog")] == [two]
