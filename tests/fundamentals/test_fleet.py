"""Fundamentals: workers that import different modules; each function gets every event."""

from fastapi_events.dispatcher import dispatch
from fastapi_events.scope import collect_events
from fastapi_events.storage.memory import MemoryCatalogue
from fastapi_events.typing import Event
from tests.handlers.task_queue.broker import ListEngine, ListHandler


def test_two_unlike_workers_handle_every_event_with_each_function() -> None:
    # Given two workers, of which one has imported the function for mail and the other that for bills,
    catalogue, handled = MemoryCatalogue(), list[tuple[str, int]]()
    mail_worker = ListHandler(ListEngine(), catalogue=catalogue)
    bill_worker = ListHandler(ListEngine(), catalogue=catalogue)

    def mail(event: Event) -> None:
        handled.append(("mail", event.payload["number"]))

    def bill(event: Event) -> None:
        handled.append(("bill", event.payload["number"]))

    mail.__module__, bill.__module__ = "app.mail", "app.bills"
    mail_worker.register(mail, event_name="cat*", name="mail")
    bill_worker.register(bill, event_name="cat*", name="bill")

    # When they boot, of which the later one waits until the other knows of it,
    for worker in (mail_worker, bill_worker):
        worker.fleet.boot(["events"], engine="list")
        worker.fleet.start()

    # and each of them fans out some of the events,
    fanned_out = []
    for number, worker in enumerate([mail_worker, bill_worker] * 10):
        with collect_events([worker], raise_errors=True):
            dispatch("cat-fed", {"number": number})
        message = worker.sent.pop()
        worker.engine.actors[message.task].run(message.argument)
        fanned_out += worker.sent
        worker.sent.clear()

    # and what was fanned out reaches a worker that has its function,
    for message in fanned_out:
        worker = mail_worker if message.task == "mail" else bill_worker
        worker.engine.actors[message.task].run(message.argument)

    # Then each function has handled every event.
    assert sorted(handled) == sorted((name, number) for name in ("mail", "bill") for number in range(20))
    for worker in (mail_worker, bill_worker):
        worker.fleet.leave()
