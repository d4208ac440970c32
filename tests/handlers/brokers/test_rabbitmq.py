"""What is RabbitMQ's, whatever the engine."""

from __future__ import annotations

from fastapi_events.handlers.brokers.rabbitmq import diagnose_queues, too_long_for_rabbitmq
from fastapi_events.retry import RetryPolicy


def test_a_policy_that_waits_for_too_long_is_told_why_and_what_to_do() -> None:
    text = too_long_for_rabbitmq(RetryPolicy(max_backoff=3_600), 900.0, asking="app.cook")

    assert text.startswith("app.cook: max_backoff is 3600 s")
    assert "900 s is the limit" in text
    assert "longest_delay=" in text


def test_quorum_queues_are_well_and_classic_ones_get_advice() -> None:
    assert diagnose_queues({"b", "a"}, quorum=True)[:2] == ("ok", "queues")
    finding = diagnose_queues({"b", "a"}, quorum=False)
    assert finding.severity == "advice"
    assert finding.text.startswith("a, b: classic")
