"""Fundamentals: workers that import different modules; each function gets every event."""

from dramatiq.brokers.stub import StubBroker

from fastapi_events.dispatcher import dispatch
from fastapi_events.handlers.dramatiq import DramatiqHandler
from fastapi_events.scope import collect_events
from fastapi_events.testing import InlineWorker
from fastapi_events.typing import Event


def test_two_unlike_workers_handle_every_event_with_each_function() -> None:
    # Given two workers on one queue, of which one has imported a function for mail, the other one for bills,
    mail_worker, bill_worker = DramatiqHandler(StubBroker()), DramatiqHandler(StubBroker())

    @mail_worker.register(event_name="cat-*")
    def mail(event: Event) -> None: ...

    @bill_worker.register(event_name="cat-*")
    def bill(event: Event) -> None: ...

    # When events are published by either of them,
    with InlineWorker(mail_worker, bill_worker) as worker:
        for publisher in (mail_worker, bill_worker):
            with collect_events([publisher]):
                dispatch("cat-fed")
                dispatch("cat-woke-up")
        run = worker.run()

    # Then each function has handled every event.
    run.assert_ran(mail, times=4)
    run.assert_ran(bill, times=4)
