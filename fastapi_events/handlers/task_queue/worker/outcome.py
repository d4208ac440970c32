"""What follows a failed attempt: another one, or the dead letters; the same for every engine."""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import SchemaError, to_json

from fastapi_events import clock, redaction
from fastapi_events.errors import DeliveredTooOften, InvalidPayload, UnreadableEnvelope, reason_of
from fastapi_events.event import Event, wire_name
from fastapi_events.handlers.task_queue.messages import bell_in, events_in, is_batch, not_resent
from fastapi_events.ids import named_id
from fastapi_events.lifecycle import Lifecycle, tell
from fastapi_events.retry import RetryPolicy
from fastapi_events.storage.dead_letters import DeadLetter

NO_RETRY = RetryPolicy(max_retries=0)
"""The policy of a message that the engine itself has dropped."""

HOPELESS = (UnreadableEnvelope, InvalidPayload, DeliveredTooOften)
"""What no retry can mend, whatever a policy says."""

LONGEST_PAUSE_SECONDS = 5.0
"""How long a message whose turn has not come waits at most until it is looked at again."""


class TryLater(Exception):
    """Raised while a message is run whose turn has not come; no failure of anybody.

    Parameters:
        seconds: When to try it again.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(f"to be tried again in {seconds:.1f} s")
        self.seconds = seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An attempt at a message that has failed, as an engine describes it.

    Parameters:
        handler: The handler's name.
        subscription: Whom the message is for; the name of an actor.
        queue: Where it came from.
        message_id: Identifies it, however often it is sent.
        policy: When it is tried again.
        arguments: Its positional arguments; one, if it is a message of ours.
        keywords: Its keyword arguments; none, if it is a message of ours.
        failed_before: How many attempts at it have failed before this one.
        was_run: Whether this one counts: not where the engine has dropped the message unrun.
        wait: Seconds that the function has asked for, instead of what the policy says.
    """

    handler: str
    subscription: str
    queue: str
    message_id: str
    policy: RetryPolicy
    arguments: Sequence[Any]
    keywords: Mapping[str, Any] = field(default_factory=dict)
    failed_before: int = 0
    was_run: bool = True
    wait: float | None = None

    @property
    def event(self) -> Event | None:
        """The event in the message, or the first of several; None if it cannot be read."""
        return next(iter(events_in(self.arguments)), None)


@dataclass(frozen=True, slots=True)
class TryAgain:
    """The message has to be sent once more, and then acknowledged.

    Parameters:
        after: Seconds until it may be received.
        failed: How many attempts have failed by now; the next `Attempt` wants to know.
        counts: Whether this one did; it did not where it was not the message's turn.
    """

    after: float
    failed: int
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Drop:
    """The message has to be acknowledged, and nothing else: it was a bell, and others are rung."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The message has to be kept as a dead letter, and then acknowledged."""

    letter: DeadLetter


def after_failure(attempt: Attempt, error: BaseException) -> TryAgain | GiveUp | Drop:
    """Decide what follows a failed attempt; a pure function, but for the jitter of a wait."""
    if isinstance(error, TryLater):
        return TryAgain(error.seconds, attempt.failed_before, counts=False)
    if bell_in(attempt.arguments, attempt.keywords) is not None:
        return Drop()
    if isinstance(error, DeliveredTooOften):
        return GiveUp(letter_of(attempt, error, attempts=attempt.failed_before + error.crashes))
    failed = attempt.failed_before + attempt.was_run
    wait = attempt.policy.giving_up_on(*HOPELESS).next_wait(max(failed, 1), error)
    if wait is None:
        return GiveUp(letter_of(attempt, error, attempts=failed))
    return TryAgain(wait if attempt.wait is None else attempt.wait, failed)


def decide(attempt: Attempt, error: BaseException) -> TryAgain | GiveUp | Drop:
    """Decide what follows a failed attempt, and tell the observers where there is to be another."""
    outcome = after_failure(attempt, error)
    if isinstance(outcome, TryAgain) and outcome.counts and (event := attempt.event) is not None:
        tell(
            Lifecycle.retried, event, subscription=attempt.subscription, error=error,
            attempt=outcome.failed, wait=outcome.after,
        )  # fmt: skip
    return outcome


def letter_of(attempt: Attempt, error: BaseException, *, attempts: int) -> DeadLetter:
    """The dead letter of a message, with the error of its last attempt."""
    now = clock.now()
    events = events_in(attempt.arguments)
    event = events[0] if events else None
    argument = _text(attempt.arguments, attempt.keywords)
    return DeadLetter(
        id=_id_of(attempt, events, argument),
        handler=attempt.handler,
        subscription=attempt.subscription,
        queue=attempt.queue,
        event_id=None if event is None else event.id,
        event_name=None if event is None else wire_name(event.name),
        argument=argument,
        reason=redaction.scrubbed(reason_of(error), events),
        traceback=traceback_of(error, events),
        attempts=attempts,
        first_at=now if event is None else min(event.dispatched_at, now),
        last_at=now,
    )


def traceback_of(error: BaseException, events: Sequence[Event] = ()) -> str:
    """The last thirty frames, as Python would print them.

    Parameters:
        events: Whose values are masked that nobody may see.
    """
    return redaction.scrubbed("".join(traceback.format_exception(error, limit=-30)), events)


def _id_of(attempt: Attempt, events: Sequence[Event], argument: str) -> str:
    """The letter's id: one for the same work of a handler, however often it is given up.

    Handlers may share a store, and both have a function of one name: each letter is theirs to replay.
    """
    if not events:
        identity = attempt.message_id
    elif len(events) == 1 and not is_batch(argument):
        identity = events[0].id
    else:
        identity = not_resent(argument)
    return named_id(attempt.handler, attempt.subscription, identity)


def _text(arguments: Sequence[Any], keywords: Mapping[str, Any]) -> str:
    """The one argument of a message, as JSON text; of a message that has others, all of them."""
    kept: Any = arguments[0] if len(arguments) == 1 else list(arguments)
    if keywords:
        kept = {"args": list(arguments), "kwargs": dict(keywords)}
    if isinstance(kept, str):
        return kept
    try:
        return to_json(kept, fallback=repr, inf_nan_mode="strings").decode()
    except (ValueError, SchemaError):
        # Lone surrogates, or nested deeper than pydantic goes, or pydantic 2.7, which has no such mode.
        written = json.dumps(kept, default=repr)
        return json.dumps(json.loads(written, parse_constant=str), separators=(",", ":"))
