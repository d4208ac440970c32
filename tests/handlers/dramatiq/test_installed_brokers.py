"""Which of Dramatiq's brokers a broker is, where a client may be missing."""

from __future__ import annotations

import pytest
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker
from dramatiq.brokers.stub import StubBroker

from fastapi_events.handlers.dramatiq import installed_brokers


def test_each_broker_is_known_by_its_kind() -> None:
    brokers = [RedisBroker(), RabbitmqBroker(), StubBroker()]

    assert [installed_brokers.is_redis(each) for each in brokers] == [True, False, False]
    assert [installed_brokers.is_rabbitmq(each) for each in brokers] == [False, True, False]


def test_without_a_client_no_broker_is_of_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed_brokers, "redis", None)
    monkeypatch.setattr(installed_brokers, "rabbitmq", None)

    assert not installed_brokers.is_redis(StubBroker())
    assert not installed_brokers.is_rabbitmq(StubBroker())
