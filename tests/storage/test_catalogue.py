"""Every catalogue does what it has to, also for many workers that boot at once."""

from __future__ import annotations

import threading
from typing import Any

from fastapi_events.storage.catalogue import Listing, Worker
from fastapi_events.testing.contracts import CatalogueContract

HANDLER = "dramatiq:events"


class TestCatalogue(CatalogueContract):
    pass


def listing(name: str, module: str = "app.mail", **more: Any) -> Listing:
    return Listing(name=name, patterns=("cat*",), queue="events", engine="dramatiq", module=module, **more)


def worker(id_: str, *subscriptions: str, modules: tuple[str, ...] = ("app.mail",)) -> Worker:
    return Worker(
        id=id_, host="here", pid=1, engine="dramatiq", queues=("events",), modules=modules,
        subscriptions=subscriptions,
    )  # fmt: skip


def listed(store: Any, destination: str = HANDLER) -> list[str]:
    return [each.name for each in store.catalogue.read(destination).listings]


def alive(store: Any) -> list[str]:
    return [each.id for each in store.catalogue.read(HANDLER).workers]


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
