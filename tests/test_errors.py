"""Errors, and how several are raised together."""

from __future__ import annotations

import pytest

from fastapi_events.errors import (
    ConfigurationError,
    MissingDependencyError,
    UnserialisablePayload,
    raise_together,
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
    ],
)
def test_a_handler_whose_library_is_missing_says_what_to_install(
    module: str, library: str, extra: str
) -> None:
    import subprocess
    import sys

    code = f"import sys; sys.modules[{library!r}] = None; import {module}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert f"pip install 'fastapi-events[{extra}]'" in run.stderr
