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


@pytest.mark.parametrize(
    ("name", "wrong", "says"),
    [
        ("queue", "", "FASTAPI_EVENTS_QUEUE='': expected a text that is not empty, such as 'events'"),
        ("queue", " ", "FASTAPI_EVENTS_QUEUE=' ': expected a text that is not empty"),
        ("queue", "a\tb", "FASTAPI_EVENTS_QUEUE='a.*b': expected a text without control characters"),
        ("queue", 5, "FASTAPI_EVENTS_QUEUE=5: expected a text"),
        (
            "source",
            "",
            "FASTAPI_EVENTS_SOURCE='': expected a text that is not empty, such as 'fastapi-events'",
        ),
        ("source", b"shop", "FASTAPI_EVENTS_SOURCE=b'shop': expected a text"),
        ("broker_url", "", "FASTAPI_EVENTS_BROKER_URL must begin with one of redis://, rediss://"),
        ("journal_url", "", "FASTAPI_EVENTS_JOURNAL_URL must begin with one of redis://, rediss://, unix://"),
        ("journal_url", "amqp://a", "FASTAPI_EVENTS_JOURNAL_URL must begin with one of redis://"),
        (
            "store_url",
            "",
            "FASTAPI_EVENTS_STORE_URL must be the URL of a database or a Redis, such as sqlite:",
        ),
        ("store_url", "events.db", "FASTAPI_EVENTS_STORE_URL must be the URL of a database"),
        ("queu", "a", "Settings: unknown setting 'queu'; did you mean 'queue'"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_is_expected(name: str, wrong: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Settings(**{name: wrong})


@pytest.mark.parametrize(
    "url", ["sqlite:///events.db", "postgresql+psycopg://a@b/c", "redis://localhost:6379/0"]
)
def test_databases_and_servers_are_stores(url: str) -> None:
    assert Settings(store_url=url).store_url == url


def test_a_variable_that_makes_no_sense_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTAPI_EVENTS_SOURCE", " ")
    with pytest.raises(ValidationError, match="FASTAPI_EVENTS_SOURCE=' ': expected a text that is not empty"):
        Settings()
