"""A queue handler whose broker is a list, which a test can take away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fastapi_events.handlers.task_queue import Actor, Engine, Message, TaskQueueHandler
from fastapi_events.handlers.task_queue.worker.outcome import Attempt
from fastapi_events.storage.dead_letters import DeadLetter


class ListEngine(Engine):
    """Sends into `sent`, unless `refusing` holds an error."""

    name = "list"

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.kept: list[DeadLetter] = []
        self.tried = 0
        self.refusing: Exception | None = None
        self.actors: dict[str, Actor] = {}

    def declare(self, actor: Actor) -> None:
        self.actors[actor.name] = actor

    def send(self, messages: Sequence[Message], *, timeout: float | None = None) -> None:
        self.tried += 1
        if self.refusing is not None:
            raise self.refusing
        self.sent.extend(messages)

    def described(self, attempt: Attempt, options: Mapping[str, Any], error: BaseException) -> Attempt | None:
        return replace(attempt, wait=0.0)  # a list does not wait

    def keep(self, letter: DeadLetter) -> None:
        self.kept.append(letter)


class ListHandler(TaskQueueHandler):
    """Publishes by a `ListEngine`, or what a test has made of one."""

    engine: ListEngine

    def __init__(self, engine: ListEngine | None = None, **settings: Any) -> None:
        super().__init__(engine or ListEngine(), **settings)

    @property
    def sent(self) -> list[Message]:
        return self.engine.sent

    @property
    def tried(self) -> int:
        return self.engine.tried

    @property
    def refusing(self) -> Exception | None:
        return self.engine.refusing

    @refusing.setter
    def refusing(self, error: Exception | None) -> None:
        self.engine.refusing = error

    def run(self, limit: int = 10_000) -> None:
        """Do what workers would: take message after message, until there are none left."""
        for _ in range(limit):
            if not self.sent:
                return
            message = self.sent.pop(0)
            self.engine.actors[message.task].run(message.argument)
        raise AssertionError("there is always another message")
