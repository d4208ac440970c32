"""What commands print, and what becomes of it where nobody reads."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime

import pytest

from fastapi_events.cli.text import block, local, say, say_json, shown, table


def test_a_value_is_one_harmless_line_and_can_be_cut() -> None:
    assert shown("a\x1b[2J\nb") == "a\\x1b[2J\\nb"
    assert shown("abcdef", 4) == "abc…"


def test_a_block_keeps_its_lines() -> None:
    assert block("a\n\tb\x07") == "a\n    b\\x07"


def test_columns_are_as_wide_as_they_need_to_be() -> None:
    assert table(("A", "B"), [("long", "x"), ("s", "y")]) == "A     B\nlong  x\ns     y"


def test_json_has_times_with_an_offset(capsys: pytest.CaptureFixture[str]) -> None:
    say_json({"at": datetime(2026, 1, 1, tzinfo=UTC)})

    assert json.loads(capsys.readouterr().out) == {"at": "2026-01-01T00:00:00+00:00"}


def test_a_local_time_says_how_far_it_is_from_utc() -> None:
    at = datetime(2026, 1, 1, 12, 30, 15, 999, tzinfo=UTC)

    assert datetime.fromisoformat(local(at)) == at.replace(microsecond=0)


def test_where_the_reader_has_gone_the_rest_goes_nowhere() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        say("nobody reads this", to=stream)
        say("nor this", to=stream)
