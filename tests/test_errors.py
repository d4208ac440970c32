"""Errors, and how several are raised together."""

from __future__ import annotations

import pytest

from fastapi_events.errors import (
    ConfigurationError,
    MissingDependencyError,
    UnserialisablePayload,
    leaves,
    raise_together,
    reason_of,
)


def test_none_one_and_several() -> None:
    raise_together([], "nothing")
    with pytest.raises(KeyError):
        raise_together([KeyError("one")], "x")
    with pytest.raises(Exception, match="both") as raised:
        raise_together([KeyError("one"), ValueError("two")], "both")
    assert [type(each) for each in raised.value.exceptions] == [KeyError, ValueError]  # type: ignore[attr-defined]


def test_a_missing_library_names_the_extra() -> None:
    error = MissingDependencyError("boto3", "aws")
    assert isinstance(error, (ConfigurationError, ImportError))
    assert "pip install 'fastapi-events[aws]'" in str(error)


def test_a_payload_that_cannot_travel_says_which_and_where() -> None:
    error = UnserialisablePayload("hello", "payload.items[3]", "is NaN")
    assert str(error) == "Event 'hello' cannot be sent: payload.items[3] is NaN."
    assert (error.event_name, error.path, error.reason) == ("hello", "payload.items[3]", "is NaN")


@pytest.mark.parametrize(
    ("module", "library", "extra"),
    [
        ("fastapi_events.handlers.dramatiq", "dramatiq", "dramatiq"),
        ("fastapi_events.handlers.celery", "celery", "celery"),
        ("fastapi_events.handlers.aws", "boto3", "aws"),
        ("fastapi_events.handlers.gcp", "google.cloud.pubsub_v1", "google"),
        ("fastapi_events.otel.metrics", "opentelemetry", "otel"),
        ("fastapi_events.otel.gauges", "opentelemetry", "otel"),
        ("fastapi_events.prometheus", "prometheus_client", "prometheus"),
        ("fastapi_events.console", "starlette", "console"),
        ("fastapi_events.console", "jinja2", "console"),
        ("fastapi_events.storage.redis", "redis", "redis"),
        ("fastapi_events.storage.sqlalchemy", "sqlalchemy", "sql"),
        ("fastapi_events.commit", "sqlalchemy", "sql"),
        ("fastapi_events.cli.reloader", "watchfiles", "reload"),
        ("fastapi_events.cli.completion", "shtab", "completion"),
        ("fastapi_events.handlers.dramatiq.redis_broker", "redis", "dramatiq"),
        ("fastapi_events.handlers.dramatiq.rabbitmq_quorum", "pika", "rabbitmq"),
    ],
)
def test_a_module_whose_library_is_missing_says_what_to_install(
    module: str, library: str, extra: str
) -> None:
    import subprocess
    import sys

    code = f"import sys; sys.modules[{library!r}] = None; import {module}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert f"pip install 'fastapi-events[{extra}]'" in run.stderr


@pytest.mark.parametrize(
    ("url", "driver", "extra"),
    [
        ("postgresql://localhost/events", "psycopg", "postgres"),
        ("postgresql+asyncpg://localhost/events", "asyncpg", "postgres"),
    ],
)
def test_a_store_whose_driver_is_missing_says_what_to_install(url: str, driver: str, extra: str) -> None:
    import subprocess
    import sys

    code = (
        f"import sys; sys.modules[{driver!r}] = None\n"
        f"from fastapi_events.storage.sqlalchemy import SqlStore; SqlStore({url!r})"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert f"pip install 'fastapi-events[{extra}]'" in run.stderr


def test_a_group_is_taken_apart_and_its_reason_names_the_leaves() -> None:
    inner = [ValueError("a"), KeyError("b")]
    group = ExceptionGroup("outer", [ExceptionGroup("inner", inner), OSError("c")])

    assert leaves(group)[:2] == inner
    assert leaves(inner[0]) == inner[:1]
    assert reason_of(inner[0]) == "ValueError: a"
    assert reason_of(group).endswith("ValueError: a; KeyError: 'b'; OSError: c")
