"""Row 10: a subscription raises."""

from __future__ import annotations

from tests.faults.conftest import PATIENT, Row

FAULT = "subscription raises"


def test_it_is_retried_alone_and_kept_when_given_up(row: Row) -> None:
    # Given orders that fail once, orders that fail for ever, and orders that do not fail
    shop = row.shop(handler=PATIENT)
    shop.start()
    shop.place(row.events - 40)
    once = shop.place(20, do="raise-once")
    always = shop.place(20, do="raise")

    # When all is done
    verdict = shop.settle()
    row.record(10, FAULT, "outbox", verdict)
    assert not verdict.lost, shop.logs()

    # Then those that failed for ever are dead, each after three attempts, and their siblings have run once
    assert shop.history.parts("dead") == {("ship", number) for number in always}
    assert {each["attempts"] for each in shop.history.book("dead")} == {3}
    assert verdict.duplicates == 0
    bills = [each["number"] for each in shop.history.book("started") if each["subscription"] == "bill"]
    assert sorted(bills) == list(range(1, row.events + 1))
    starts = [each["number"] for each in shop.history.book("started") if each["subscription"] == "ship"]
    assert {starts.count(number) for number in once} == {2}

    # And the letters say why
    letters = shop.letters()
    assert len(letters) == 20
    assert all("cannot be shipped" in each.traceback for each in letters)
