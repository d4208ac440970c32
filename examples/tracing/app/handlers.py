"""What the workers run. A span of your own inside a function is a child of the one that we make."""

from dramatiq import Broker, Middleware, Worker
from opentelemetry import trace

from fastapi_events.typing import Event

from .events import broker, events
from .telemetry import set_up


class Telemetry(Middleware):
    """Sets the SDK up in each process of the worker, after its fork."""

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        set_up("workers")


broker.add_middleware(Telemetry())


@events.register(event_name="order-placed")
async def cook(event: Event) -> None:
    with trace.get_tracer(__name__).start_as_current_span("heat the oven"):
        pass
