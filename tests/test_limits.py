"""The limits that the documentation names are those of the code."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from fastapi_events import codec, dispatch_options, journal_buffer
from fastapi_events.handlers import aws
from fastapi_events.handlers.brokers import rabbitmq
from fastapi_events.handlers.dramatiq.rabbitmq_quorum import QuorumBroker
from fastapi_events.handlers.task_queue import (
    FAN_OUT_RETRY,
    TaskQueueSettings,
    messages,
    once,
)
from fastapi_events.handlers.task_queue.publish import flush_outcome, relay_thread
from fastapi_events.retry import RetryPolicy
from fastapi_events.storage import journal, outbox
from fastapi_events.storage.memory import MemoryStore
from fastapi_events.storage.sqlalchemy import SqlStore
from fastapi_events.subscriptions import batch

PAGE = Path(__file__).parents[1] / "docs" / "limits.md"


def default(function: Any, name: str) -> Any:
    return inspect.signature(function).parameters[name].default


IN_THE_CODE: dict[str, float] = {
    **{
        f"`{name}` of the handler": default(TaskQueueSettings, name)
        for name in (
            "max_payload_bytes", "flush_deadline", "max_pending_events", "shutdown_deadline",
            "max_crashes", "resend_after",
        )
    },
    **{
        f"`{name}` of the store": default(SqlStore, name)
        for name in ("max_entries", "max_letters", "max_items", "max_events", "busy_timeout")
    },
    "`unknown_retry` of the handler": default(TaskQueueSettings, "unknown_retry").max_retries,
    "`longest_delay` of the handler": rabbitmq.RABBITMQ_LONGEST_DELAY,
    "`dead_message_ttl` of `QuorumBroker`": default(QuorumBroker, "dead_message_ttl"),
    "`RetryPolicy(max_retries=)`": RetryPolicy().max_retries,
    "`RetryPolicy(max_backoff=)`": RetryPolicy().longest_wait,
    "`FAN_OUT_RETRY`": FAN_OUT_RETRY.max_retries,
    "`ordering_key`": dispatch_options._LONGEST_KEY,
    "`MAX_DEPTH`": codec.MAX_DEPTH,
    "`MAX_EVENTS_PER_MESSAGE`": messages.MAX_EVENTS_PER_MESSAGE,
    "`MAX_BYTES_PER_MESSAGE`": messages.MAX_BYTES_PER_MESSAGE,
    "`MAX_BATCH_BYTES`": aws.MAX_BATCH_BYTES,
    "`MAX_BATCH`": batch.MAX_BATCH,
    "`LONGEST_RESEND_SECONDS`": outbox.LONGEST_RESEND_SECONDS,
    "`SHORT_DELAY_SECONDS`": flush_outcome.SHORT_DELAY_SECONDS,
    "`MAX_ACTIONS`": journal.MAX_ACTIONS,
    "`MAX_BUFFERED`": journal_buffer.MAX_BUFFERED,
    "`KEEP_SECONDS`": once.KEEP_SECONDS,
    "`_LEASE_SECONDS`": relay_thread._LEASE_SECONDS,
}  # fmt: skip


def rows() -> list[list[str]]:
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if row[0] not in ("limit", "---")]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_a_default_in_the_documentation_is_that_of_the_code(row: list[str]) -> None:
    _, documented, setting, outcome = row
    number = re.match(r"[\d,]+", documented)

    assert number is not None
    assert int(number[0].replace(",", "")) == IN_THE_CODE[setting]
    assert outcome


def test_each_default_is_documented() -> None:
    assert {row[2] for row in rows()} == set(IN_THE_CODE)


@pytest.mark.parametrize("name", ["max_entries", "max_letters", "max_items", "max_events", "keep"])
def test_stores_have_the_same_defaults(name: str) -> None:
    assert default(MemoryStore, name) == default(SqlStore, name)
