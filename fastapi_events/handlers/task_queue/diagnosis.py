"""What `fastapi-events doctor` has to say about a handler."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

Severity: TypeAlias = Literal["ok", "advice", "danger"]


class Finding(NamedTuple):
    """Something that is to be said about a handler, its engine or its broker.

    Parameters:
        severity: `"danger"`: events can be lost, and nobody would notice in time.
        subject: What it is about.
        text: What is the matter, and what to do about it.
    """

    severity: Severity
    subject: str
    text: str
