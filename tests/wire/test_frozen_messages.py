"""Messages that earlier versions have written, and other programs: they are read for ever.

These files are never changed. A version that writes something new adds a file.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fastapi_events.envelope import read_batch, seal, unseal, write
from fastapi_events.event import Event

FOLDER = Path(__file__).parent


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.json")), ids=lambda file: file.stem)
def test_every_frozen_message_is_read_and_kept_as_it_is(file: Path) -> None:
    for envelope in read_batch(file.read_text()):
        event = unseal(envelope)
        assert event.id == envelope["id"]
        assert event.payload == envelope["data"]
        assert json.loads(write(envelope)) == envelope
        again = json.loads(seal(event, source="another"))
        assert again.keys() == envelope.keys()
        assert {name: again[name] for name in again if name != "time"} == {
            name: envelope[name] for name in envelope if name != "time"
        }


def test_what_we_write_today_is_what_is_frozen() -> None:
    first, second = read_batch((FOLDER / "fan_out-1.0.json").read_text())
    written = seal(
        Event(
            "cat-woke-up", None, id=second["id"],
            dispatched_at=datetime(2026, 11, 24, 10, 6, 28, 779911, tzinfo=UTC),
            headers={"correlationid": first["id"], "causationid": first["id"]},
        ),
        source="fastapi-events",
    )  # fmt: skip
    assert json.loads(written) == second
