"""Row 25: names with wildcards, newlines and a megabyte; forged envelopes; markup in what the tools show."""

from __future__ import annotations

import json
import pickle

from fastapi_events.envelope import seal
from fastapi_events.event import Event
from tests.faults.conftest import Row

FAULT = "hostile input"

NAMES = ["*", "order-*\n", "order-[a-z]", "?" * 300, "<script>alert(1)</script>", "'; DROP TABLE events; --"]
MARKUP = "<script>alert(1)</script>\x1b[31m'; DROP TABLE events; --"


def test_it_is_refused_or_shown_as_text(row: Row) -> None:
    # Given a client that chooses the names of events
    shop = row.shop()
    shop.start()
    for number, name in enumerate(NAMES, start=10_001):
        shop.post(f"/named?number={number}", name)
    shop.post("/named?number=10100", "n" * 1_000_000)

    # and one that writes into the queue
    class Harmful:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return exec, (f"open({str(shop.folder / 'harmed')!r}, 'w')",)

    forged = json.loads(seal(Event("order-placed", {"number": 20_001, "do": MARKUP}), source="a"))
    for change in ({"id": MARKUP}, {"type": 7}, {"time": "yesterday"}, {"data": "{" * 100_000}, {"id": {}}):
        shop.send(json.dumps([{**forged, **change}]))
    shop.send(pickle.dumps(Harmful(), protocol=0).decode())
    shop.send("[" * 100_000)

    # When orders come in, and one that is given up
    shop.place(row.events // 2)
    shop.place(1, do="raise")
    verdict = shop.settle()

    # Then orders are handled, no pattern has been injected, and no code has run
    row.record(25, FAULT, "outbox", verdict)
    assert not verdict.lost, shop.logs()
    assert shop.restarts == 0
    strange = {10_001, 10_005, 10_006, 10_100}
    shop.wait_until(
        lambda: strange <= {each["number"] for each in shop.history.book("unmatched")}, "their count"
    )
    assert not (shop.folder / "harmed").exists()

    # And the tools show it as text
    shown = shop.output("fastapi_events", "dead", "list", "tests.faults.shop.events:events")
    assert "\x1b" not in shown
