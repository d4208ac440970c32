"""Which workers are unlike, as the catalogue shows them."""

from __future__ import annotations

from fastapi_events.handlers.task_queue.announcement import unlike_workers
from fastapi_events.storage.catalogue import Listing, Snapshot, Worker


def listing(name: str, queue: str = "events") -> Listing:
    return Listing(name=name, patterns=("cat*",), queue=queue, engine="list", module="app.mail")


def worker(id_: str, *names: str, queues: tuple[str, ...] = ("events",)) -> Worker:
    return Worker(id=id_, host="here", pid=1, engine="list", queues=queues, subscriptions=names)


def test_workers_are_unlike_where_one_of_a_queue_lacks_what_another_has() -> None:
    snapshot = Snapshot(
        listings=(listing("bill"), listing("mail"), listing("cook", "kitchen")),
        workers=(
            worker("a", "mail"),
            worker("b", "mail", "bill"),
            worker("c", "cook", queues=("kitchen",)),
        ),
    )

    assert unlike_workers(snapshot) == {"events": ["bill"]}


def test_a_function_that_no_live_worker_has_makes_none_unlike() -> None:
    snapshot = Snapshot(listings=(listing("bill"),), workers=(worker("a"), worker("b")))

    assert unlike_workers(snapshot) == {}
