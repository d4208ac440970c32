"""What it costs to have the events of a request in an outbox before its response goes out."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.rows import Row
from benchmarks.words import POSTGRES, VALKEY, Comparison, Goal, Kind, Scale, Services, Variant


class Durable(Row):
    number = 21
    name = "durable-sqlite"
    group = "web"
    what = 'a request with an event, `durability="response"`, the outbox in SQLite, Dramatiq on Valkey'
    peer = "the same with the events in memory until their flush"
    needs: tuple[str, ...] = (VALKEY,)

    def variants(self, services: Services, scale: Scale) -> Sequence[Variant]:
        options = {"url": services.near, "database": self._database(services)}
        return [
            Variant(name="alone", target="durable:alone", options=options),
            *(
                Variant(
                    name=name,
                    target="durable:at_once",
                    options={**options, "durable": name == "durable", "with_rows": name == "and rows"},
                    operations=640 if scale.quick else 2_560,
                )
                for name in ("durable", "in memory", "and rows")
            ),
        ]

    def comparisons(self, scale: Scale) -> Sequence[Comparison]:
        milliseconds = Kind.MILLISECONDS
        return (
            Comparison(
                what="added until the response has gone out, median",
                ours="alone",
                figure="added",
                kind=milliseconds,
                goal=Goal(at_most=0.5),
            ),
            Comparison(
                what="INSERT and COMMIT of the row by the driver alone, so",
                ours="alone",
                figure="floor",
                kind=milliseconds,
            ),
            Comparison(
                what="64 requests at a time, events published",
                ours="durable",
                peer="in memory",
                kind=Kind.COST,
                goal=Goal(at_most=2),
            ),
            Comparison(
                what="in memory, and their rows kept and removed by the driver alone, 64 at a time, so",
                ours="and rows",
                peer="in memory",
                kind=Kind.COST,
            ),
        )

    def _database(self, services: Services) -> str:
        return ""


class DurableOnPostgres(Durable):
    name = "durable-postgres"
    what = "the same, the outbox in PostgreSQL"
    needs = (VALKEY, POSTGRES)

    def _database(self, services: Services) -> str:
        return services.postgres


ROWS: tuple[Row, ...] = (Durable(), DurableOnPostgres())
