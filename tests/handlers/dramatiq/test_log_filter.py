"""Dramatiq's own log shows no value that nobody may see."""

from __future__ import annotations

import logging
from typing import Any

import dramatiq
import pytest
from dramatiq.broker import MessageProxy

from fastapi_events.handlers.dramatiq.log_filter import hide_payloads_of

HIDDEN = '{"specversion":"1.0","id":"e1","type":"order","sensitive":"card","data":{"card":"4242","cat":1}}'
OPEN = '{"specversion":"1.0","id":"e2","type":"order","data":{"card":"4242"}}'


def message(argument: Any) -> MessageProxy:
    return MessageProxy(dramatiq.Message("events", "cook", (argument,), {}, {}))


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> logging.Logger:
    logger = logging.getLogger("tests.filtered")
    hide_payloads_of(logger)
    hide_payloads_of(logger)
    assert len(logger.filters) == 1
    caplog.set_level(logging.DEBUG, logger.name)
    return logger


def test_a_message_that_has_something_to_hide_is_named_by_its_event(
    log: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    log.debug("Received message %s with id %r.", message(HIDDEN), "m1")
    log.debug("Received args=%r kwargs=%r.", (f"[{HIDDEN}]",), {})

    assert caplog.messages == ["Received message cook(e1) with id 'm1'.", "Received args='(e1)' kwargs={}."]


def test_the_traceback_of_its_failure_is_masked(
    log: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    try:
        raise ValueError("bad card 4242")
    except ValueError:
        log.exception("Failed to process message %s with unhandled exception.", message(HIDDEN))

    assert "ValueError: bad card ***" in caplog.text
    assert "4242" not in caplog.text


def test_whatever_has_nothing_to_hide_is_logged_as_it_is(
    log: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    log.debug("Received message %s.", message(OPEN))
    log.debug("%s and %s", ("no event",), 7)
    log.debug("%(name)s", {"name": "by name"})

    assert caplog.messages[0].startswith("Received message cook('{")
    assert caplog.messages[1:] == ["('no event',) and 7", "by name"]
