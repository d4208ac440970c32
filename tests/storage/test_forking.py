"""What a process forks with: no transaction under way, no lock of SQLite's taken."""

from __future__ import annotations

import threading
from typing import Any

from fastapi_events.storage.sqlalchemy import SqlStore
from fastapi_events.storage.sqlalchemy.forking import gate


def test_a_fork_waits_for_transactions_and_they_for_it(file: SqlStore) -> None:
    # Given a thread in the middle of a transaction
    happened: list[str] = []
    begun, may_end = threading.Event(), threading.Event()
    database = file.outbox._database

    def work(_: Any) -> None:
        begun.set()
        may_end.wait(60)
        happened.append("transaction")

    def fork() -> None:
        gate.close()
        happened.append("fork")
        gate.open()

    threads = [threading.Thread(target=database.write, args=(work,)), threading.Thread(target=fork)]
    threads[0].start()
    assert begun.wait(60)

    # When another forks
    threads[1].start()
    may_end.set()
    for thread in threads:
        thread.join(60)

    # Then it has done so afterwards, and the database is open again
    assert happened == ["transaction", "fork"]
    assert file.outbox.list() == []
