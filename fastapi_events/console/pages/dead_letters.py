"""Dead letters: groups of one cause, their letters, and one letter with its traceback."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request

from fastapi_events import clock, envelope, redaction
from fastapi_events.console.page import Page, after_of
from fastapi_events.console.permissions import Visitor
from fastapi_events.console.reads import Told
from fastapi_events.console.state import State
from fastapi_events.console.words import AGES
from fastapi_events.errors import UnreadableEnvelope
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.storage.dead_letters import DeadLetter, DeadLetters
from fastapi_events.storage.letters import LetterFilter, LetterGroup, group_id, matching_letters

_LIMIT = 100
_GROUPS = 200
_NAMES = ("handler", "subscription", "event", "error", "group", "since", "field", "value")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address asks for.

    Parameters:
        given: The parameters, as they stand in the address.
        matching: The letters that they mean.
    """

    given: dict[str, str]
    matching: LetterFilter

    @property
    def query(self) -> str:
        """The filters as the query of a URL."""
        return urlencode({name: value for name, value in self.given.items() if value})

    @property
    def command(self) -> str:
        """The filters as options of `fastapi-events dead`."""
        named = (
            ("subscription", "--subscription"), ("event", "--event"), ("error", "--error"),
            ("group", "--group"), ("since", "--since"),
        )  # fmt: skip
        parts = [f"{option} {shlex.quote(self.given[name])}" for name, option in named if self.given[name]]
        if self.given["field"]:
            parts.append(f"--where {shlex.quote(self.given['field'] + '=' + self.given['value'])}")
        return " ".join(parts) or "--all"


def asked_for(request: Request) -> Asked:
    """What a request asks for."""
    given = {name: request.query_params.get(name, "").strip() for name in _NAMES}
    return Asked(given, matching_of(given, getattr(request.state, "visitor", None)))


def matching_of(given: Mapping[str, str], visitor: Visitor | None) -> LetterFilter:
    """The letters that an address or a form asks for.

    Raises:
        HTTPException: 400 when it asks for what is no filter, which would mean more letters than it says; 403
            when it asks for payloads, and the visitor may not see them.
    """
    said = {name: given.get(name, "").strip() for name in _NAMES}
    if said["since"] and said["since"] not in AGES:
        raise HTTPException(400, f"since={said['since']!r}: expected {', '.join(AGES)}, or none.")
    if said["value"] and not said["field"]:
        raise HTTPException(400, "A value needs the field of the payload that it stands in: field=…")
    if said["field"] and visitor is not None and not visitor.may("see_payloads"):
        raise HTTPException(
            403,
            "To filter by a field of the payload needs the permission 'see_payloads', which "
            f"{visitor.name} has not.",
        )
    window = AGES.get(said["since"])
    return LetterFilter(
        subscription=said["subscription"] or None,
        event_name=said["event"] or None,
        error=said["error"] or None,
        group=said["group"] or None,
        since=None if window is None else clock.now() - window,
        fields={said["field"]: said["value"]} if said["field"] else {},
    )


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups of a handler."""

    handler: TaskQueueHandler
    told: Told[list[LetterGroup]] | None
    """None where the handler leaves its dead letters to the engine."""


async def read_groups(state: State, request: Request) -> Page:
    """Read the screen of groups."""
    asked = asked_for(request)
    handlers = _handlers(state, asked)

    async def groups(handler: TaskQueueHandler) -> Groups:
        letters = handler.dead_letters
        if letters is None:
            return Groups(handler, None)
        told = await state.reads.ask(
            f"The store of dead letters of {handler.name}", ("groups", asked.query),
            lambda: letters.groups(handler=handler.name, limit=_GROUPS, wanted=asked.matching),
        )  # fmt: skip
        return Groups(handler, told)

    found = await asyncio.gather(*map(groups, handlers))
    return Page(
        "dead", "Dead letters", "dead_groups.html",
        {
            "found": found, "asked": asked, "ages": list(AGES), "handlers": state.handlers,
            "is_filtered": bool(asked.query),
        },
    )  # fmt: skip


async def read_letters(state: State, request: Request) -> Page:
    """Read the screen of letters that filters mean, page by page."""
    asked, after = asked_for(request), after_of(request)

    async def letters(handler: TaskQueueHandler) -> tuple[TaskQueueHandler, Told[list[DeadLetter]] | None]:
        store = handler.dead_letters
        if store is None:
            return handler, None
        told = await state.reads.ask(
            f"The store of dead letters of {handler.name}", ("letters", asked.query, after),
            _listing(store, handler.name, asked.matching, after),
        )  # fmt: skip
        return handler, told

    found = await asyncio.gather(*map(letters, _handlers(state, asked)))
    sample = next((each for _, told in found if told and told.value for each in told.value), None)
    return Page(
        "dead", "Dead letters", "dead_letters.html",
        {
            "found": found, "asked": asked, "limit": _LIMIT, "sample": sample, "following": _following(found),
            "sample_group": None if sample is None else group_id(sample),
        },
    )  # fmt: skip


def _following(found: Sequence[tuple[TaskQueueHandler, Told[list[DeadLetter]] | None]]) -> dict[str, str]:
    """Behind which letter the next page of each handler begins, where there is one."""
    return {
        handler.name: told.value[-1].cursor
        for handler, told in found
        if told is not None and told.value and len(told.value) == _LIMIT
    }


async def read_letter(state: State, request: Request) -> Page:
    """Read the screen of one letter."""
    id_ = request.path_params["id"]
    troubles: list[str] = []
    for handler in state.handlers:
        store = handler.dead_letters
        if store is None:
            continue
        told = await state.reads.ask(
            f"The store of dead letters of {handler.name}", ("letter", id_), _getting(store, id_)
        )
        if told.trouble is not None:
            troubles.append(told.trouble)
        letter = told.value
        if letter is not None and letter.handler == handler.name:
            return Page("dead", "Dead letter", "letter.html", _one(handler, letter))
    title, status = ("The letter cannot be shown", 503) if troubles else ("No such letter", 404)
    has_store = any(each.dead_letters is not None for each in state.handlers)
    values = {"id": id_, "troubles": troubles, "has_store": has_store}
    return Page("dead", title, "no_letter.html", values, status=status)


def _one(handler: TaskQueueHandler, letter: DeadLetter) -> dict[str, object]:
    return {
        "letter": letter, "handler": handler, "group": group_id(letter),
        "argument": redaction.shown_text(letter.argument), "payload": _payload(letter),
        "may_edit": handler.dead_letters is not None and handler.dead_letters.allows_editing,
    }  # fmt: skip


def _payload(letter: DeadLetter) -> str | None:
    """The payload of one event as people may see it; None where the letter is not about one event."""
    try:
        [shown] = envelope.read_batch(redaction.shown_text(letter.argument))
    except (UnreadableEnvelope, ValueError):
        return None
    is_event = isinstance(shown, dict) and "data" in shown
    return json.dumps(shown["data"], indent=2, ensure_ascii=False) if is_event else None


def _handlers(state: State, asked: Asked) -> Sequence[TaskQueueHandler]:
    name = asked.given["handler"]
    named = state.named(name)
    if name and named is None:
        raise HTTPException(404, f"There is no handler {name!r} here.")
    return state.handlers if named is None else (named,)


def _listing(
    store: DeadLetters, handler: str, matching: LetterFilter, after: str | None
) -> Callable[[], list[DeadLetter]]:
    return lambda: list(islice(matching_letters(store, handler, matching, after=after), _LIMIT))


def _getting(store: DeadLetters, id_: str) -> Callable[[], DeadLetter | None]:
    return lambda: store.get(id_)
