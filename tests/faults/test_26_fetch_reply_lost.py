"""Row 26: the broker's answer to a worker that fetches messages is lost on the wire."""

from __future__ import annotations

from tests.faults.conftest import Row

FAULT = "a worker's fetch reply lost on the wire"


def test_the_messages_in_it_are_delivered_again(row_on_valkey: Row) -> None:
    # Given a worker behind a wire that swallows large answers, those with messages in them
    row = row_on_valkey
    proxy = row.proxy()
    shop = row.shop(
        handler={"confirm": "handled", "resend_after": 10.0},
        transport_options={"health_check_interval": 2},  # how often a Celery worker asks after its connection
    )
    shop.start_worker(through=proxy)
    shop.start_web()
    shop.place(20)
    shop.settle()
    proxy.swallow(every=20, bigger_than=400, at_most=2)

    # When orders come in
    shop.place(row.events)

    # Then all are handled in the end; a Celery worker sees at its second check that no answer comes
    verdict = shop.settle(patience=300)
    row.record(26, FAULT, 'outbox, confirm="handled"', verdict)
    assert proxy.swallowed > 0
    assert not verdict.lost, shop.logs()
    assert verdict.renamed == frozenset()
