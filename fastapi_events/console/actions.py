"""What people press: each action needs a permission, a token of the page, and is kept in the audit trail."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from fastapi_events import clock, envelope, redaction
from fastapi_events.checks import counted
from fastapi_events.console import csrf, notices
from fastapi_events.console.jobs import Jobs
from fastapi_events.console.pages.dead_letters import matching_of
from fastapi_events.console.permissions import Visitor
from fastapi_events.console.rendering import Links
from fastapi_events.console.state import State
from fastapi_events.emission import emit
from fastapi_events.errors import ConfigurationError, FastapiEventError, UnreadableEnvelope
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.handlers.task_queue.worker.replay import Pace, rate_of
from fastapi_events.storage.dead_letters import DeadLetter, DeadLetters
from fastapi_events.storage.jobs import Job, Verb, filter_as_json
from fastapi_events.storage.outbox import Entry

T = TypeVar("T")

_LARGEST_FORM: Final = 1_048_576
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


@dataclass(frozen=True, slots=True)
class Pressed:
    """An action that somebody asks for.

    Parameters:
        id: Its own.
        form: What the form says.
        by: Who asks.
        state: The handlers.
        jobs: Does what concerns many letters.
    """

    id: str
    form: Mapping[str, str]
    by: Visitor
    state: State
    jobs: Jobs

    def text(self, name: str) -> str:
        """A field; empty if it is not there."""
        return self.form.get(name, "").strip()

    @property
    def handler(self) -> TaskQueueHandler:
        """The handler that the form names."""
        found = self.state.named(self.text("handler"))
        if found is None:
            raise HTTPException(404, f"There is no handler {self.text('handler')!r} here.")
        return found

    @property
    def letters(self) -> DeadLetters:
        """The store of that handler's dead letters."""
        return self.handler.worker.dead_letters.store

    @property
    def letter(self) -> DeadLetter:
        """The letter that the form names."""
        found = self.letters.get(self.text("id"))
        if found is None or found.handler != self.handler.name:
            raise HTTPException(404, "This dead letter is not there any more: it was replayed or discarded.")
        return found


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an action has come to.

    Parameters:
        said: In a sentence.
        path: The page that follows; the one that it came from if empty.
        parts: What follows the path, to be quoted.
    """

    said: str
    path: str = ""
    parts: tuple[str, ...] = ()


Act = Callable[[Pressed], Outcome]


def replay(pressed: Pressed) -> Outcome:
    """Replay one letter, or all that filters mean."""
    if not pressed.text("id"):
        return _begin(pressed, "replay")
    letter = pressed.letter
    pressed.handler.replay([letter], by=pressed.by.name)
    pressed.letters.replayed([letter])
    return Outcome(f"Letter {letter.id} was replayed.", "dead")


def discard(pressed: Pressed) -> Outcome:
    """Discard one letter, or all that filters mean."""
    if not pressed.text("id"):
        return _begin(pressed, "discard")
    letter = pressed.letter
    pressed.handler.discard([letter], by=pressed.by.name)
    return Outcome(f"Letter {letter.id} was discarded.", "dead")


def edit(pressed: Pressed) -> Outcome:
    """Replay a letter with another payload."""
    if not pressed.by.may("see_payloads"):
        raise HTTPException(
            403,
            f"To edit needs the permission 'see_payloads' as well, which {pressed.by.name} has not.",
        )
    try:
        payload = json.loads(pressed.text("payload"))
    except ValueError as error:
        raise ConfigurationError(f"What was written is no JSON, and nothing was replayed: {error}") from None
    letter = pressed.letter
    pressed.handler.replay_edited(letter, payload, by=pressed.by.name)
    return Outcome(f"Letter {letter.id} was replayed with another payload.", "dead")


def pause(pressed: Pressed) -> Outcome:
    """Pause a subscription."""
    name, length = pressed.text("subscription"), pressed.text("for")
    pressed.handler.pause(name, duration=_seconds(length), by=pressed.by.name)
    return Outcome(f"{name} is paused{f' for {length}' if length else ''}.")


def resume(pressed: Pressed) -> Outcome:
    """Let a subscription go on."""
    name = pressed.text("subscription")
    resumed = pressed.handler.resume(name, by=pressed.by.name)
    return Outcome(f"{name} goes on." if resumed else f"{name} was not paused.")


def cancel(pressed: Pressed) -> Outcome:
    """Take an event out of the outbox."""
    entry = _entry(pressed)
    count = pressed.handler.cancel([entry], by=pressed.by.name) if entry is not None else 0
    return Outcome("The event was cancelled." if count else "The event has gone out already.")


def dispatch_again(pressed: Pressed) -> Outcome:
    """Dispatch an event once more, as a new one that the first has caused."""
    handler, first = pressed.handler, _event(pressed)
    headers = {"causationid": first.id, "correlationid": str(first.headers.get("correlationid", first.id))}
    if redaction.SENSITIVE in first.headers:
        headers[redaction.SENSITIVE] = str(first.headers[redaction.SENSITIVE])
    made = emit([handler], str(first.name), first.payload, headers=headers, ordering_key=first.ordering_key)
    handler.audit.note("dispatched again", f"{first.id} as {made.id}", by=pressed.by.name)
    return Outcome(f"The event was dispatched again, as {made.id}.", "event", (made.id,))


def stop_job(pressed: Pressed) -> Outcome:
    """Stop what is done to many letters."""
    stopped = pressed.jobs.interrupt(pressed.handler, pressed.text("id"), by=pressed.by.name)
    return Outcome("It was stopped." if stopped else "It was not running.")


def go_on_with_job(pressed: Pressed) -> Outcome:
    """Go on with what was stopped."""
    goes_on = pressed.jobs.go_on(pressed.handler, pressed.text("id"), by=pressed.by.name)
    return Outcome("It goes on." if goes_on else "It was not stopped.")


ACTIONS: Final[Mapping[str, tuple[str, Act]]] = {
    "replay": ("replay", replay), "discard": ("discard", discard), "edit": ("edit", edit),
    "pause": ("pause", pause), "resume": ("pause", resume), "cancel": ("discard", cancel),
    "dispatch-again": ("replay", dispatch_again), "stop": ("replay", stop_job),
    "go-on": ("replay", go_on_with_job),
}  # fmt: skip
"""The permission that each needs, and what it does."""


async def press(request: Request) -> Response:
    """Do what a form asks for, once, and show the page that follows."""
    form = await _form(request)
    found = ACTIONS.get(request.path_params["verb"])
    if found is None:
        raise HTTPException(404, f"There is no action {request.path_params['verb']!r}.")
    permission, act = found
    action_id = csrf.check(request, form)
    visitor: Visitor = request.state.visitor
    app = request.app.state
    pressed = Pressed(action_id, form, visitor, app.console, app.jobs)
    if act in (stop_job, go_on_with_job):  # for those who may begin it
        job = await _asked(pressed.jobs.find, pressed.text("id"))
        permission = permission if job is None else job[1].verb
    if not visitor.may(permission):
        raise HTTPException(403, f"This needs the permission {permission!r}, which {visitor.name} has not.")
    link = Links(request)
    turn = await _asked(app.once.begin, action_id)
    if turn is None:
        job = await _asked(pressed.jobs.find, action_id)
        there = _back(request, form) if job is None else link("jobs", action_id)
        return RedirectResponse(there, status_code=303)
    try:
        outcome = await _asked(act, pressed)
    except HTTPException:
        await _asked(app.once.release, action_id, turn)
        raise
    app.console.reads.forget()
    there = link(outcome.path, *outcome.parts) if outcome.path else _back(request, form)
    response = RedirectResponse(there, status_code=303)
    notices.give(request, response, outcome.said)
    return response


async def _asked(call: Callable[..., T], *given: Any) -> T:
    """What a call in a thread returns; its errors are for whoever has pressed."""
    try:
        return await run_in_threadpool(call, *given)
    except FastapiEventError as error:
        status = 400 if isinstance(error, ConfigurationError) else 502
        raise HTTPException(status, str(error)) from error


async def _form(request: Request) -> dict[str, str]:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST_FORM:
            raise HTTPException(413, "The form is larger than 1 MiB.")
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        raise HTTPException(415, "A form is application/x-www-form-urlencoded.")
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def _back(request: Request, form: Mapping[str, str]) -> str:
    """The page that a request came from, if it is a page of this console."""
    root = request.scope.get("root_path", "").rstrip("/")
    path = form.get("back", "")
    parts = urlsplit(path)
    ours = (
        path.startswith(f"{root}/")
        and not path.startswith("//")
        and not parts.scheme
        and not parts.netloc
        and "\\" not in path
    )
    return path if ours and path.isprintable() else f"{root}/"


def _begin(pressed: Pressed, verb: Verb) -> Outcome:
    handler = pressed.handler
    matching = matching_of(pressed.form, pressed.by)
    if matching.is_empty and pressed.text("all") != "yes":
        raise ConfigurationError("Say which letters are meant: a group, a filter, or all.")
    said, most = pressed.text("rate"), pressed.text("max_in_flight")
    try:
        rate = rate_of(said) if said else None
    except ValueError as error:
        raise ConfigurationError(f"{error}.") from None
    if most and not most.isdecimal():
        raise ConfigurationError(f"{most!r} letters in flight: expected a whole number, such as 50.")
    at_once = int(most) if most else None
    Pace(rate, at_once, handler.journal)  # refuses what it cannot keep
    pressed.letters.check()
    job = Job(
        id=pressed.id, verb=verb, by=pressed.by.name, began=clock.timestamp(),
        matching=filter_as_json(matching), rate=rate, max_in_flight=at_once,
    )  # fmt: skip
    pressed.jobs.begin(handler, job)
    return Outcome("It has begun, and goes on when this page is closed.", "jobs", (job.id,))


def _seconds(text: str) -> float | None:
    if not text:
        return None
    if text[:-1].isdecimal() and text[-1] in _UNITS:
        return float(int(text[:-1]) * _UNITS[text[-1]])
    raise ConfigurationError(f"{text!r} is no length of time; write for example 45s, 10m or 2h.")


def _entry(pressed: Pressed) -> Entry | None:
    """The entry that stands where the form says, if it is still there."""
    outbox, place = pressed.handler.outbox, pressed.text("place")
    if outbox is None or not place.isdecimal():
        raise ConfigurationError("The form does not say where in the outbox the event is.")
    found = outbox.list(limit=1, after=str(int(place) - 1))
    same = [
        each for each in found if each.id == pressed.text("id") and each.destination == pressed.handler.name
    ]
    return same[0] if same else None


def _event(pressed: Pressed) -> Event:
    """The event as it was, where something has kept all of it."""
    id_, handler = pressed.text("id"), pressed.handler
    if handler.dead_letters is not None:
        for letter in handler.dead_letters.find(id_, handler=handler.name):
            if letter.event_id == id_:
                return _whole(letter.argument)
    if handler.journal is not None:
        found = next((each for each in handler.journal.find(id_, limit=1) if each.id == id_), None)
        if found is not None and found.payload is not None:
            return _kept(found.id, found.name, found.payload, found.correlation)
    raise ConfigurationError(
        f"Nothing has kept the payload of {id_}: dead letters do, and a journal with journal_payloads=True."
    )


def _whole(argument: str) -> Event:
    try:
        [sealed] = envelope.read_batch(argument)
        event = envelope.unseal(sealed)
    except (UnreadableEnvelope, ValueError) as error:
        raise ConfigurationError(f"The event in the dead letter cannot be read: {error}") from None
    if redaction.ENCRYPTED in event.headers:
        raise ConfigurationError(
            "Its payload is encrypted: replay the dead letter instead, which keeps it so."
        )
    return event


def _kept(id_: str, name: str, payload: str, correlation: str | None) -> Event:
    try:
        data = json.loads(payload)
    except ValueError:
        raise ConfigurationError("The journal has only the beginning of its payload.") from None
    if redaction.MASK in payload:
        raise ConfigurationError("The journal has its payload without the sensitive values.")
    return Event(name, data, id=id_, headers={"correlationid": correlation or id_})


def said_of(job: Job) -> str:
    """What a job does, in a few words."""
    letters = "letters" if job.total is None else counted(job.total, "letter")
    return f"{job.verb.capitalize()} {letters}: {job.wanted}"
