"""What workers and the demo are configured by."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from fastapi_events.settings import Settings


def test_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BROKER_URL", "HANDLERS", "QUEUE", "SOURCE"):
        monkeypatch.delenv(f"FASTAPI_EVENTS_{name}", raising=False)
    settings = Settings()
    assert settings.broker_url == "redis://localhost:6379/0"
    assert (settings.handlers, settings.queue, settings.source) == ((), "events", "fastapi-events")


def test_a_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTAPI_EVENTS_BROKER_URL", "amqp://guest:guest@localhost")
    monkeypatch.setenv("FASTAPI_EVENTS_HANDLERS", " shop.handlers, billing.handlers,")
    monkeypatch.setenv("FASTAPI_EVENTS_QUEUE", "shop")
    monkeypatch.setenv("FASTAPI_EVENTS_SOURCE", "")
    settings = Settings()
    assert settings.broker_url == "amqp://guest:guest@localhost"
    assert settings.handlers == ("shop.handlers", "billing.handlers")
    assert (settings.queue, settings.source) == ("shop", "fastapi-events")


@pytest.mark.parametrize("url", ["localhost", "http://localhost", "redis:localhost"])
def test_a_broker_that_nobody_knows_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("FASTAPI_EVENTS_BROKER_URL", url)
    with pytest.raises(ValidationError, match="FASTAPI_EVENTS_BROKER_URL must begin with one of redis://"):
        Settings()


def test_an_error_does_not_show_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTAPI_EVENTS_BROKER_URL", "rediss//:s3cret@localhost")
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert "s3cret" not in str(caught.value)


def test_what_is_given_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTAPI_EVENTS_QUEUE", "shop")
    assert Settings(queue="mail").queue == "mail"
