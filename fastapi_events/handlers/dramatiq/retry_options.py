"""What Dramatiq's own options and errors say of another attempt: `retry_when`, `Retry` and the like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import dramatiq

from fastapi_events.errors import DeliveredTooOften
from fastapi_events.handlers.task_queue.worker.outcome import NO_RETRY, Attempt, TryLater
from fastapi_events.retry import RetryPolicy


def with_own_terms(attempt: Attempt, options: Mapping[str, Any], error: BaseException) -> Attempt:
    """A failed attempt with what the function and its options say of another, in Dramatiq's own terms."""
    return replace(attempt, policy=_policy(attempt, options, error), wait=_asked_wait(error))


def _asked_wait(error: BaseException) -> float | None:
    """Seconds that the function has asked for by raising Dramatiq's own `Retry`."""
    delay = error.delay if isinstance(error, dramatiq.Retry) else None
    return None if delay is None else delay / 1000


def _policy(attempt: Attempt, options: Mapping[str, Any], error: BaseException) -> RetryPolicy:
    retry_when = options.get("retry_when")
    if retry_when is None or isinstance(error, (TryLater, DeliveredTooOften)):
        return attempt.policy
    # It counts before the number of retries, as in Dramatiq.
    if not retry_when(attempt.failed_before, error):
        return NO_RETRY
    return replace(attempt.policy, max_retries=max(attempt.policy.max_retries, attempt.failed_before + 1))


def tell_exhausted(
    broker: dramatiq.Broker,
    message: Mapping[str, Any],
    options: Mapping[str, Any],
    retries: int,
    policy: RetryPolicy,
) -> None:
    """Send a message that was given up to the actor that the option names, if it names one."""
    target = options.get("on_retry_exhausted")
    if target:
        broker.get_actor(target).send(message, {"retries": retries, "max_retries": policy.max_retries})
