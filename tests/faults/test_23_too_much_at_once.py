"""Row 23: 10,000 events by one request, 500 requests at once, and a slow broker.

So many where a row has 1,000 events; fewer in proportion where it has fewer, of buffer and requests as well.
"""

from __future__ import annotations

from tests.faults.conftest import Row
from tests.faults.traffic import Traffic

FAULT = "10,000 events by one request, 500 requests at once, slow broker"

TRANSPORT = {"visibility_timeout": 600}
HANDLER = {"resend_after": 120.0}

_BOUND_BYTES = 256 * 2**20


def test_what_exceeds_the_buffer_waits_in_the_outbox(row_on_valkey: Row) -> None:
    # Given a broker that answers late, and a buffer of some events
    row = row_on_valkey
    proxy = row.proxy()
    handler = {**HANDLER, "max_pending_events": row.events, "flush_deadline": 10.0}
    shop = row.shop(handler=handler, transport_options=TRANSPORT)
    shop.config["broker_url"] = row.broker.url_through(proxy.port)
    shop.start_web()
    before = shop.state()["resident"]
    proxy.delay(0.05)

    # When one request dispatches ten times as many, and half as many come at once
    many, at_once = 10 * row.events, row.events // 2
    shop.place_batch(many)
    accepted, failed = Traffic(shop.port, clients=at_once).place(range(many + 1, many + at_once + 1))
    assert (len(accepted), failed) == (at_once, 0)
    shop.history.accept(accepted)

    # Then the process holds no more of them than it may
    assert shop.state()["resident"] - before < _BOUND_BYTES

    # And everything is handled, by workers with a shorter way
    proxy.heal()
    for _ in range(2):
        shop.start_worker(broker_url=row.broker.url)
    verdict = shop.settle(patience=300)  # thirty thousand messages
    row.record(23, FAULT, "outbox", verdict)
    assert not verdict.lost, shop.logs()
    assert verdict.reported == 0


def test_without_an_outbox_what_exceeds_the_buffer_is_counted(row_on_valkey: Row) -> None:
    row = row_on_valkey
    handler = {**HANDLER, "max_pending_events": row.events}
    shop = row.shop(outbox=False, handler=handler, transport_options=TRANSPORT)
    shop.start()
    shop.start_worker()
    shop.place(10)

    shop.place_batch(10 * row.events)

    verdict = shop.settle(patience=300)
    row.record(23, FAULT, "no outbox", verdict)
    assert not verdict.lost, shop.logs()
