"""What no library can beat, beside what we need: bytes into Redis, and pydantic-core alone."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.rows import Row
from benchmarks.words import VALKEY, Comparison, Kind, Scale, Services, Variant


class Limits(Row):
    number = 26
    name = "limits"
    group = "limits"
    what = "what no library can beat, on this machine"
    peer = "raw redis-py, pydantic-core"
    needs = (VALKEY,)

    def variants(self, services: Services, scale: Scale) -> Sequence[Variant]:
        hundred = {"url": services.near, "size": 100}
        return (
            Variant(name="flush", target="publishing:ours", options={**hundred, "engine": "dramatiq"}),
            Variant(
                name="fan-out", target="publishing:our_fan_out", options={**hundred, "engine": "dramatiq"}
            ),
            Variant(name="pipelined", target="publishing:pipelined_rpush", options=hundred),
            Variant(name="one element", target="publishing:one_rpush", options=hundred),
            Variant(name="schema", target="in_process:cost_of_event", options={"events": 10}),
            Variant(name="pydantic-core", target="publishing:pydantic_alone"),
            Variant(name="ping", target="publishing:ping", options={"url": services.near}),
            Variant(name="ping 1 ms", target="publishing:ping", options={"url": services.at_1_ms}),
            Variant(name="ping 5 ms", target="publishing:ping", options={"url": services.at_5_ms}),
        )

    def comparisons(self, scale: Scale) -> Sequence[Comparison]:
        cost, milliseconds = Kind.COST, Kind.MILLISECONDS
        return (
            Comparison(
                what="fan-out of 100, against 100 pipelined `RPUSH` of ready bytes",
                ours="fan-out",
                peer="pipelined",
                kind=cost,
            ),
            Comparison(
                what="flush of 100, against one `RPUSH` of all their bytes",
                ours="flush",
                peer="one element",
                kind=cost,
            ),
            Comparison(
                what="event with a schema, against pydantic-core's validation and JSON",
                ours="schema",
                peer="pydantic-core",
                kind=cost,
            ),
            Comparison(what="round trip to Redis", ours="ping", kind=milliseconds),
            Comparison(what="through the proxy of 1 ms", ours="ping 1 ms", kind=milliseconds),
            Comparison(what="through the proxy of 5 ms", ours="ping 5 ms", kind=milliseconds),
        )


ROWS: tuple[Row, ...] = (Limits(),)
