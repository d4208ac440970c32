"""Row 34: a function ends the process, as it thinks, or raises an exception that cannot be changed."""

from __future__ import annotations

from tests.faults.conftest import Row

FAULT = "sys.exit, KeyboardInterrupt, a shared and frozen exception"
HOW = ("sys.exit", "interrupt", "shared")


def test_it_is_the_failure_of_that_event_and_nobody_elses(row: Row) -> None:
    shop = row.shop()
    shop.start()

    # Given functions that raise what is no ordinary error, among others
    shop.place(row.events // 2)
    for how in HOW:
        shop.place(2, do=how)
    shop.place(row.events - row.events // 2)

    # Then each of these is tried again, and given up with its reason
    verdict = shop.settle()
    row.record(34, FAULT, "outbox", verdict)
    assert not verdict.lost, shop.logs()
    assert verdict.dead == 2 * len(HOW)
    dead = shop.history.book("dead")
    assert {each["attempts"] for each in dead} == {3}
    reasons = "\n".join(sorted({each["reason"] for each in dead}))
    assert "SystemExit" in reasons
    assert "KeyboardInterrupt" in reasons
    assert "__traceback__ cannot be set" in reasons  # Python's own, as the error passes a block

    # And nobody else notices
    assert verdict.handled == 2 * row.events + 2 * len(HOW)
    assert shop.restarts == 0
