"""Jobs: what is done to many dead letters, bit by bit, whatever becomes of the process that does it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

from fastapi_events.storage.base import moment
from fastapi_events.storage.letters import LetterFilter

Verb: TypeAlias = Literal["replay", "discard"]
State: TypeAlias = Literal["running", "stopped", "done", "failed"]

FORGET_AFTER_SECONDS: Final = 7 * 86_400.0
"""How long a job is known after the last that was heard of it."""

LEASE_SECONDS: Final = 10.0
"""A job whose process has not been heard of for so long is taken over by another."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """Something that is done to all dead letters that a filter means.

    Parameters:
        id: Its own; who asks for it twice gets the same job.
        verb: What is done.
        matching: The filter, as `filter_as_json` writes it.
        by: Who asked for it.
        began: When; seconds since 1970. Letters that are kept later are not meant.
        rate: Letters a second, at most.
        max_in_flight: Letters that are replayed and whose functions have not ended, at most.
        state: `running`, also where no process is at it just now; `stopped` by somebody; `done`; `failed`.
        total: How many letters there were, once that is known.
        done: How many of them are done.
        trouble: Why it has failed.
        owner: The process that is at it.
        held_until: Until when it is that process's.
        changed: When something was last heard of it.
    """

    id: str
    verb: Verb
    by: str
    began: float
    matching: Mapping[str, Any] = field(default_factory=dict)
    rate: float | None = None
    max_in_flight: int | None = None
    state: State = "running"
    total: int | None = None
    done: int = 0
    trouble: str = ""
    owner: str = ""
    held_until: float = 0.0
    changed: float = 0.0

    @property
    def wanted(self) -> LetterFilter:
        """The letters that are meant."""
        wanted = filter_of_json(self.matching)
        began = moment(self.began)
        return replace(wanted, before=began if wanted.before is None else min(began, wanted.before))

    def is_free(self, now: float) -> bool:
        """Whether it is to go on, and nobody is at it."""
        return self.state == "running" and now >= self.held_until

    def held(self, owner: str, now: float, **changes: Any) -> Job:
        """The job, for a while longer in one process's hands."""
        return replace(self, owner=owner, held_until=now + LEASE_SECONDS, changed=now, **changes)

    def let_go(self, now: float, **changes: Any) -> Job:
        """The job in nobody's hands."""
        return replace(self, owner="", held_until=0.0, changed=now, **changes)


def filter_as_json(matching: LetterFilter) -> dict[str, Any]:
    """A filter as plain JSON, which `filter_of_json` reads."""
    values = {each.name: getattr(matching, each.name) for each in fields(LetterFilter)}
    values["fields"] = dict(matching.fields)
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in values.items()
        if value
    }


def filter_of_json(values: Mapping[str, Any]) -> LetterFilter:
    """A filter that was written as JSON."""
    times = {name: datetime.fromisoformat(values[name]) for name in ("before", "since") if name in values}
    return LetterFilter(**{**values, **times})
