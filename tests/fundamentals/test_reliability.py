"""Fundamentals: a broker that is away, a message that comes twice, events that come in another order."""

from dramatiq.brokers.stub import StubBroker

from fastapi_events.dispatcher import dispatch
from fastapi_events.handlers.dramatiq import DramatiqHandler
from fastapi_events.scope import collect_events
from fastapi_events.storage.memory import MemoryStore
from fastapi_events.testing import InlineWorker
from fastapi_events.typing import Event


def test_nothing_is_lost_done_twice_or_out_of_order() -> None:
    # Given a queue with a store, a function that must not run twice, and one that changes nothing by it,
    events = DramatiqHandler(StubBroker(), store=MemoryStore())

    @events.register(event_name="order-*", once=True)
    def bill(event: Event) -> None: ...

    @events.register(event_name="order-*")
    def log(event: Event) -> None: ...

    with InlineWorker(events) as worker:
        # When the broker is away while events of one order are dispatched,
        with worker.broker_down(), collect_events([events]):
            for step in range(3):
                dispatch("order-changed", {"step": step}, ordering_key="order 7")

        # and when it is back delivers each message twice, in any order,
        with worker.duplicate(), worker.reorder(seed=7):
            run = worker.run()

    # Then each event was kept and handled, in its order,
    steps = [event.payload["step"] for event in run.of(log).succeeded]
    assert list(dict.fromkeys(steps)) == [0, 1, 2]

    # and once where that was asked for.
    run.assert_ran(bill, times=3)
    run.assert_nothing_dead()


def test_a_delayed_event_waits_for_its_time() -> None:
    # Given a function that reminds,
    events = DramatiqHandler(StubBroker())

    @events.register(event_name="order-forgotten")
    def remind(event: Event) -> None: ...

    # When the event is to come after ten minutes,
    with InlineWorker(events) as worker:
        run = worker.emit("order-forgotten", delay=600)

        # Then it is there after them, and not before.
        run.assert_not_ran(remind)
        worker.advance(minutes=9).assert_not_ran(remind)
        worker.advance(minutes=1).assert_ran(remind, times=1)
