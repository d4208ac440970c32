"""RabbitMQ is short of memory: it reads nothing from those that publish, and a worker is told to stop."""

from __future__ import annotations

import time

import pytest

from tests.faults.brokers import RabbitMQ
from tests.faults.conftest import ON_RABBITMQ, Row
from tests.faults.running import PATIENCE_SECONDS


@pytest.mark.pairs(ON_RABBITMQ)
def test_a_worker_ends_at_sigterm_and_nothing_is_lost(row: Row) -> None:
    # Given a worker with functions that are about to fail, whose next attempts are to be published
    assert isinstance(row.broker, RabbitMQ)
    shop = row.shop(transport_options={"confirm_publish": True})  # Celery's, as we advise
    worker = shop.start_worker()
    shop.start_web()
    shop.place(2, do="wait-and-raise-once")
    shop.wait_until(
        lambda: {("ship", 1), ("ship", 2)} <= shop.history.parts("started"), "the start of two functions"
    )

    # When the server is short of memory as they fail, and the worker is told to stop
    row.broker.alarm(on=True)
    try:
        shop.place(20)
        shop.open_gate()
        shop.wait_until(lambda: shop.history.book("failing"), "the failure")
        time.sleep(3)  # Celery's heart beats every two seconds, and nobody confirms that
        shop.dismiss(worker)
        # Then it ends
        worker.wait(PATIENCE_SECONDS)
    finally:
        row.broker.alarm(on=False)

    # And another one goes on when there is memory
    shop.start_worker()
    verdict = shop.settle()
    assert not verdict.lost, shop.logs()
    assert verdict.dead == 0
