"""An engine on a table of SQLite: messages survive the processes, and every process may work at them."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from fastapi_events.handlers.task_queue import Actor, Engine, Message
from fastapi_events.handlers.task_queue.engine import unknown_actor
from fastapi_events.handlers.task_queue.worker.outcome import Attempt, GiveUp, TryAgain, decide
from fastapi_events.storage.dead_letters import DeadLetter

_TABLES = """
create table if not exists messages (
    number integer primary key, queue text, task text, argument text, id text, due real, failed integer,
    taken_until real not null default 0
);
create table if not exists dead (id text primary key, subscription text, argument text, reason text);
"""

_TAKE = """
update messages set taken_until = :until
where number = (
    select number from messages where due <= :now and taken_until <= :now order by due, number limit 1
)
returning number, task, queue, argument, id, failed
"""


@dataclass(frozen=True)
class Taken:
    """A message in the hands of a worker, and its row."""

    number: int
    message: Message


class TableEngine(Engine):
    """Messages are rows; a worker takes one, runs its actor, and deletes it when all that follows is done.

    Parameters:
        path: The database's file.
        lease: Seconds after which the message of a worker that has died is given to another.
    """

    name = "table"

    def __init__(self, path: Path, *, lease: float = 60.0) -> None:
        self._path = path
        self._lease = lease
        self._actors: dict[str, Actor] = {}
        with self._transaction() as database:
            database.executescript(_TABLES)

    @property
    def longest_delay(self) -> float:
        return 365 * 86_400.0  # a row can wait

    # In the process that publishes, and in workers

    def send(self, messages: Sequence[Message], *, timeout: float | None = None) -> None:
        with self._transaction(timeout) as database:
            self._insert(database, messages)

    def keep(self, letter: DeadLetter) -> None:
        with self._transaction() as database:
            database.execute(
                "insert or replace into dead values (?, ?, ?, ?)",
                (letter.id, letter.subscription, letter.argument, letter.reason),
            )

    def declare(self, actor: Actor) -> None:
        self._actors[actor.name] = actor

    # In workers

    def work_once(self) -> bool:
        """Handle one message; whether there was one."""
        taken = self._take()
        if taken is None:
            return False
        message = taken.message
        actor = self._actors.get(message.task) or self._unknown(message)
        try:
            actor.run(message.argument)
        except BaseException as error:  # of the function; whatever it raises is the failure of its event
            attempt = Attempt(
                handler=actor.worker.name, subscription=actor.name, queue=message.queue,
                message_id=message.id, policy=actor.policy, arguments=(message.argument,),
                failed_before=message.failed,
            )  # fmt: skip
            outcome = decide(attempt, error)
            if isinstance(outcome, GiveUp):
                actor.worker.dead_letters.give_up(outcome.letter)
                self._replace(taken)
            elif isinstance(outcome, TryAgain):
                self._replace(taken, replace(message, delay=outcome.after, failed=outcome.failed))
            else:  # a bell, which is rung again by others
                self._replace(taken)
        else:
            self._replace(taken)
        return True

    def waiting(self) -> int:
        """How many messages there are."""
        with self._transaction() as database:
            return int(database.execute("select count(*) from messages").fetchone()[0])

    def kept(self) -> list[tuple[str, str]]:
        """Whom the dead letters were for, and why they were given up."""
        with self._transaction() as database:
            return database.execute("select subscription, reason from dead order by rowid").fetchall()

    def _unknown(self, message: Message) -> Actor:
        """What takes a message that names no actor of this process: it waits for a process that has it."""
        anyone = next(iter(self._actors.values()))
        return unknown_actor(anyone.worker, message.task, message.queue)

    def _take(self) -> Taken | None:
        now = time.time()
        with self._transaction() as database:
            row = database.execute(_TAKE, {"now": now, "until": now + self._lease}).fetchone()
        if row is None:
            return None
        number, task, queue, argument, identity, failed = row
        return Taken(number, Message(task, queue, argument, identity, failed=failed))

    def _replace(self, taken: Taken, *successor: Message) -> None:
        """Acknowledge a message, and enqueue what follows it: both or neither."""
        with self._transaction() as database:
            self._insert(database, successor)
            database.execute("delete from messages where number = ?", (taken.number,))

    @staticmethod
    def _insert(database: sqlite3.Connection, messages: Sequence[Message]) -> None:
        now = time.time()
        database.executemany(
            "insert into messages (queue, task, argument, id, due, failed) values (?, ?, ?, ?, ?, ?)",
            [
                (each.queue, each.task, each.argument, each.id, now + each.delay, each.failed)
                for each in messages
            ],
        )

    @contextmanager
    def _transaction(self, timeout: float | None = None) -> Iterator[sqlite3.Connection]:
        # A connection each: SQLite's are not to be shared among threads, and opening a file is quick.
        with closing(sqlite3.connect(self._path, timeout=timeout or 5.0)) as database, database:
            yield database
