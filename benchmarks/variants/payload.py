"""The event that everything is measured with: a name and five keys, some 130 bytes of JSON."""

from __future__ import annotations

from typing import Any

NAME = "cat-requested-a-fish"

PAYLOAD: dict[str, Any] = {
    "cat_id": 4711,
    "name": "Mrs Whiskerson of the Third Floor",
    "fish": "herring",
    "requested_at": "2026-01-31T12:34:56+00:00",
    "urgent": True,
}
