"""What queue handlers send: sizes and identities."""

from __future__ import annotations

import pytest

from fastapi_events.errors import UnreadableEnvelope
from fastapi_events.handlers.task_queue.messages import (
    MAX_BYTES_PER_MESSAGE,
    MAX_EVENTS_PER_MESSAGE,
    chunks,
    event_in,
    message_id,
    only_argument,
)

ENVELOPE = '{"specversion":"1.0","id":"1","type":"hello"}'


def test_the_same_parts_give_the_same_id_and_others_another() -> None:
    assert message_id("event", "work") == message_id("event", "work")
    assert len({message_id("event", "work"), message_id("event", "other"), message_id("other", "work")}) == 3


def test_a_message_holds_so_many_events_and_no_more() -> None:
    texts = [str(n) for n in range(2 * MAX_EVENTS_PER_MESSAGE + 1)]

    sizes = [len(chunk) for chunk in chunks(texts)]

    assert sizes == [MAX_EVENTS_PER_MESSAGE, MAX_EVENTS_PER_MESSAGE, 1]
    assert [text for chunk in chunks(texts) for text in chunk] == texts


def test_a_message_holds_so_many_bytes_and_no_more() -> None:
    large = "x" * (MAX_BYTES_PER_MESSAGE // 2 + 1)

    assert [len(chunk) for chunk in chunks([large, large, "small"])] == [1, 2]
    assert [len(chunk) for chunk in chunks(["x" * (2 * MAX_BYTES_PER_MESSAGE)])] == [1]
    assert list(chunks([])) == []


def test_a_message_of_ours_has_one_argument() -> None:
    assert only_argument(["one"], {}) == "one"
    for args, kwargs in [((), {}), (("a", "b"), {}), (("a",), {"b": 1})]:
        with pytest.raises(UnreadableEnvelope, match="expected one"):
            only_argument(args, kwargs)


def test_the_event_in_a_message_is_found_if_there_is_one() -> None:
    assert event_in((ENVELOPE,)) == event_in((f"[{ENVELOPE}]",)) == ("hello", None)
    for arguments in ((), ("nonsense",), ("[]",), (5,)):
        assert event_in(arguments) is None
