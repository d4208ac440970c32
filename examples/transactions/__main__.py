"""Send requests, run a worker, and check what became of them."""

from __future__ import annotations

import sys
import time

import dramatiq
import sqlalchemy as sa
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from examples.transactions.database import Cat, engine
from examples.transactions.handlers import broker, store
from examples.transactions.web import app

PATIENCE_SECONDS = 30.0


def main() -> int:
    """The exit code: 0 if every cat was welcomed once, and nobody else was."""
    with Session(engine) as session, session.begin():
        session.execute(sa.delete(Cat))
    with TestClient(app, raise_server_exceptions=False) as client:
        for name in ("tom", "toots", "spike", "tom"):
            print(f"{name}: {client.post(f'/cats/{name}').status_code}")  # noqa: T201 - it is a script
        worker = dramatiq.Worker(broker, worker_threads=2)
        worker.start()
        try:
            found = _wait_for({"tom": 1, "toots": 1})
        finally:
            worker.stop()
    print("welcomes:", found, "left in the outbox:", store.outbox.status().waiting)  # noqa: T201
    broker.close()
    store.close()
    engine.dispose()
    return 0 if found == {"tom": 1, "toots": 1} else 1


def _wait_for(expected: dict[str, int]) -> dict[str, int]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        with Session(engine) as session:
            found = {cat.name: cat.welcomes for cat in session.scalars(sa.select(Cat))}
        if found == expected or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
