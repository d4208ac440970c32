"""The log as JSON lines."""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime

from fastapi_events.cli.json_lines import JsonLines


def test_a_log_record_can_be_a_line_of_json() -> None:
    try:
        int("x")
    except ValueError:
        record = logging.LogRecord("shop", logging.ERROR, "f", 1, "no %s", ("fish",), sys.exc_info())

    line = json.loads(JsonLines().format(record))

    assert (line["level"], line["logger"], line["message"]) == ("ERROR", "shop", "no fish")
    assert "ValueError" in line["traceback"]
    assert datetime.fromisoformat(line["time"]).tzinfo is not None
