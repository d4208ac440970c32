"""One event as something to paste: a command, a request to an endpoint that takes CloudEvents, a test."""

from __future__ import annotations

import json
import pprint
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_WIDTH = 88

_TEST = """\
from fastapi_events.testing import InlineWorker

from app.events import events


def test_{function}() -> None:
    with InlineWorker(events) as worker:
        run = worker.emit({name!r}, {payload})
    run.assert_nothing_unmatched()
    run.assert_nothing_dead()
"""

_KEPT = ("specversion", "id", "source", "type", "time", "datacontenttype", "dataschema")


@dataclass(frozen=True, slots=True)
class Copy:
    """A text to paste.

    Parameters:
        title: What it is.
        text: The text.
    """

    title: str
    text: str


def copies_of(name: str, payload: str | None, envelope: Mapping[str, Any]) -> Iterator[Copy]:
    """An event in the forms that somebody may want to try again.

    Parameters:
        name: Its name.
        payload: Its payload as JSON, as people may see it; None where nobody has kept it.
        envelope: What else is known of how it travels, at least its id.
    """
    if payload is None:
        return
    try:
        value = json.loads(payload)
    except ValueError:  # the start of a long one
        return
    yield Copy("a command", f"fastapi-events emit APP {shlex.quote(name)} {shlex.quote(payload)}")
    kept = {key: envelope[key] for key in _KEPT if key in envelope}
    event = {"specversion": "1.0", "source": "console", "type": name, **kept, "data": value}
    body = json.dumps(event, ensure_ascii=False)
    yield Copy(
        "curl, to an endpoint that takes CloudEvents",
        f"curl \"$URL\" -H 'content-type: application/cloudevents+json' --data-raw {shlex.quote(body)}",
    )
    function = re.sub(r"\W+", "_", name.lower()).strip("_") or "event"
    shown = pprint.pformat(value, width=_WIDTH, sort_dicts=False).replace("\n", "\n" + " " * 8)
    yield Copy("a test", _TEST.format(function=function, name=name, payload=shown))
