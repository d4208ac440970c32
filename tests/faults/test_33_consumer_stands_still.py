"""Row 33: a worker's consumer stands still while its process lives."""

from __future__ import annotations

import urllib.error
import urllib.request

from tests.faults.conftest import Row
from tests.faults.running import Shop

FAULT = "a worker's consumer stands still while its process lives"


def test_it_is_not_ready_then_started_again_and_its_messages_are_handled(row: Row) -> None:
    # Given a worker with a supervisor that answers probes
    shop = row.shop(stalls=True)
    port = shop.start_supervised_worker("--silent-after", "3", "--grace", "3")
    shop.start_web()
    shop.wait_until(lambda: _status(port, "readyz") == 200, "the first time that it is ready")
    shop.place(row.events // 2)
    shop.settle()
    first = _pids(shop)

    # When its consumer takes nothing any more, though it lives
    (shop.folder / "stall").touch()
    shop.place(row.events - row.events // 2)

    # Then it says so, is ended and started again, and the next one handles what came
    shop.wait_until(lambda: _status(port, "readyz") == 503, "that it is not ready")
    verdict = shop.settle()
    row.record(33, FAULT, "outbox", verdict)
    assert not verdict.lost, shop.logs()
    assert verdict.handled == 2 * row.events
    assert verdict.dead == 0
    assert _pids(shop) > first
    shop.wait_until(lambda: _status(port, "readyz") == 200, "that it is ready again")


def _status(port: int, path: str) -> int | None:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=20) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return None


def _pids(shop: Shop) -> set[int]:
    return {each["pid"] for each in shop.history.book("handled")}
