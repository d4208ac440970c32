"""Limits and checks of RabbitMQ that hold for every engine."""

from __future__ import annotations

from collections.abc import Collection

from fastapi_events.handlers.task_queue.diagnosis import Finding
from fastapi_events.retry import RetryPolicy

RABBITMQ_LONGEST_DELAY = 900.0
"""Seconds: half of the time after which RabbitMQ gives up a consumer that does not acknowledge."""


def too_long_for_rabbitmq(policy: RetryPolicy, longest: float, *, asking: str) -> str:
    """Why a policy waits for too long, and what to do about it.

    Parameters:
        longest: Seconds that it may wait.
    """
    return (
        f"{asking}: max_backoff is {policy.longest_wait:.0f} s, but RabbitMQ gives up a worker that holds a "
        f"message for longer than its consumer_timeout, so that {longest:.0f} s is the limit; lower "
        "max_backoff, or raise the server's consumer_timeout and then longest_delay= of the handler."
    )


def diagnose_queues(queues: Collection[str], *, quorum: bool) -> Finding:
    """What `fastapi-events doctor` says about the type of a handler's queues."""
    names = ", ".join(sorted(queues))
    if quorum:
        return Finding("ok", "queues", f"{names}: quorum, kept by most nodes of a cluster")
    return Finding(
        "advice",
        "queues",
        f"{names}: classic, kept by one node; where RabbitMQ is a cluster, queue_type='quorum' lets them "
        "outlive it.",
    )
