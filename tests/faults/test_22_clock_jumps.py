"""Row 22: the clock jumps an hour, either way, while events wait in the outbox."""

from __future__ import annotations

import pytest

from tests.faults.conftest import Row

FAULT = "clock jumps an hour"


@pytest.mark.parametrize("hours", [1, -1])
def test_nothing_is_stuck(one_row: Row, hours: int) -> None:
    # Given events that wait for a broker, some of them claimed by a relay that has died
    row, shop = one_row, one_row.shop(clock=True)
    shop.start_worker()
    shop.start_web()
    shop.place(row.events // 2)
    row.broker.kill()
    shop.place(row.events // 2)
    doomed = shop.start_relay(FASTAPI_EVENTS_CRASH_AT="relay.after_claim")
    shop.wait_until(lambda: doomed.poll() is not None or not shop.stored(), "the end of the relay")

    # When the clock jumps and the broker is back
    shop.forward(hours * 3_600)
    row.broker.start()

    # Then everything is handled
    verdict = shop.settle()
    row.record(22, f"{FAULT}, {'forward' if hours > 0 else 'back'}", "outbox", verdict)
    assert not verdict.lost, shop.logs()
    shop.wait_until(lambda: not shop.stored(), "the end of the outbox")
