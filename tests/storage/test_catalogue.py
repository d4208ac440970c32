"""Every catalogue does what it has to, also for many workers that boot at once."""

from __future__ import annotations

import threading
from typing import Any

from fastapi_events.testing.contracts import CatalogueContract
from fastapi_events.testing.contracts.catalogue import _HANDLER as HANDLER
from fastapi_events.testing.contracts.catalogue import _alive as alive
from fastapi_events.testing.contracts.catalogue import _listed as listed
from fastapi_events.testing.contracts.catalogue import _listing as listing
from fastapi_events.testing.contracts.catalogue import _worker as worker


class TestCatalogue(CatalogueContract):
    pass


def test_many_workers_that_boot_at_once_are_all_listed(on_own_clock: Any) -> None:
    def boot(number: int) -> None:
        module = f"app.module{number}"
        one = listing(f"function{number}", module)
        on_own_clock.catalogue.announce(HANDLER, worker(str(number), modules=(module,)), [one])
        assert on_own_clock.catalogue.heard(HANDLER, worker(str(number), modules=(module,)))

    threads = [threading.Thread(target=boot, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len(listed(on_own_clock)) == 8
    assert len(alive(on_own_clock)) == 8
