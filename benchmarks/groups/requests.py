"""What events cost a request: the middleware alone, ten events, ten events with a schema."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.rows import Row
from benchmarks.words import PREDECESSOR, Comparison, Goal, Kind, Scale, Services, Variant

_EVENTS = 10


class Request(Row):
    group = "requests"
    peer = "what nobody can leave out, and bare Starlette"
    needs = (PREDECESSOR,)
    events: int
    goal: Goal
    least: str
    """What nobody can leave out who keeps the names that the world's code uses."""

    def variants(self, services: Services, scale: Scale) -> Sequence[Variant]:
        target, options = "in_process:through_middleware", {"events": self.events}
        return (
            Variant(name="ours", target=target, options=options),
            Variant(name="bare", target="in_process:bare"),
            Variant(name="fastapi-events", target=target, options=options, environment=PREDECESSOR),
            Variant(name="least", target="in_process:the_least", options=options),
        )

    def comparisons(self, scale: Scale) -> Sequence[Comparison]:
        return (
            Comparison(
                what=f"against {self.least}", ours="ours", peer="least", kind=Kind.COST, goal=self.goal
            ),
            Comparison(what="against bare Starlette", ours="ours", peer="bare", kind=Kind.COST),
            Comparison(what=f"{self.least} alone, so", ours="least", peer="bare", kind=Kind.COST),
            Comparison(what="fastapi-events 0.12.2, so", ours="fastapi-events", peer="bare", kind=Kind.COST),
        )


class RequestWithoutEvents(Request):
    number = 1
    name = "request"
    what = "a request without events, through the middleware"
    events = 0
    goal = Goal(at_most=1.03, stretch=1.01)
    least = "three context variables set and reset"


class RequestWithEvents(Request):
    number = 2
    name = "request-events"
    what = f"a request with {_EVENTS} events and a handler that does nothing"
    events = _EVENTS
    goal = Goal(at_most=1.4, stretch=1.2)
    least = f"the variables, and {_EVENTS} events through functions that do nothing else"

    def variants(self, services: Services, scale: Scale) -> Sequence[Variant]:
        own = Variant(
            name="own", target="in_process:through_middleware", options={"events": self.events, "own": True}
        )
        return [*super().variants(services, scale), own]

    def comparisons(self, scale: Scale) -> Sequence[Comparison]:
        own = Comparison(what="with a handler of one's own", ours="own", peer="bare", kind=Kind.COST)
        return [*super().comparisons(scale), own]


class EventWithSchema(Row):
    number = 3
    name = "schema"
    group = "requests"
    what = f"one of {_EVENTS} events of a request, with a pydantic schema"
    peer = "fastapi-events 0.12.2"
    needs = (PREDECESSOR,)

    def variants(self, services: Services, scale: Scale) -> Sequence[Variant]:
        target, options = "in_process:cost_of_event", {"events": _EVENTS}
        return (
            Variant(name="ours", target=target, options=options),
            Variant(name="fastapi-events", target=target, options=options, environment=PREDECESSOR),
            Variant(name="pydantic-core", target="publishing:pydantic_alone"),
        )

    def comparisons(self, scale: Scale) -> Sequence[Comparison]:
        against, cost = "fastapi-events", Kind.COST
        return (
            Comparison(
                what="cost of an event",
                ours="ours",
                peer=against,
                kind=cost,
                goal=Goal(at_most=0.28, stretch=0.25),
            ),
            Comparison(
                what="pydantic-core's validation and JSON alone, so",
                ours="pydantic-core",
                peer=against,
                kind=cost,
            ),
        )


ROWS: tuple[Row, ...] = (RequestWithoutEvents(), RequestWithEvents(), EventWithSchema())
