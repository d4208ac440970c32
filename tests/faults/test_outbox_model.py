"""A machine that adds, relays, fails, crashes and turns the clock, in any order: nothing accepted is lost."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from fastapi_events.envelope import read_batch, unseal
from fastapi_events.errors import NotPublished
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.messages import Message
from fastapi_events.storage.memory import MemoryOutbox
from fastapi_events.storage.outbox import Entry, Outbox
from fastapi_events.storage.sqlalchemy import SqlStore
from tests.faults.conftest import QUICK
from tests.handlers.task_queue.broker import ListEngine, ListHandler

LEASE = 30.0
BROKER_FAULTS = st.sampled_from([None, None, "refused", "unconfirmed", "crash"])


class Crash(BaseException):
    """The process has ended here."""


class FaultyEngine(ListEngine):
    """Does with the next message what the test says, and remembers which events have arrived."""

    def __init__(self) -> None:
        super().__init__()
        self.fault: str | None = None
        self.arrived: set[str] = set()

    def send(self, messages: Sequence[Message], *, timeout: float | None = None) -> None:
        fault, self.fault = self.fault, None
        if fault == "refused":
            raise ConnectionError("refused")
        for message in messages:
            self.arrived.update(unseal(each).id for each in read_batch(message.argument))
        if fault == "unconfirmed":
            raise TimeoutError("no answer")
        if fault == "crash":
            raise Crash


class _Taken:
    """An outbox that remembers what was claimed of it."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self.entries: list[Entry] = []

    def claim(self, *args: Any, **kwargs: Any) -> list[Entry]:
        claimed = self._outbox.claim(*args, **kwargs)
        self.entries += claimed
        return claimed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._outbox, name)


class OutboxMachine(RuleBasedStateMachine):
    """An outbox, a web process, two relays that are interrupted anywhere, and a broker."""

    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_800_000_000.0
        self.outbox = self.make_outbox()
        self.broker = FaultyEngine()
        self.handler = ListHandler(self.broker, outbox=self.outbox, relay=False, flush_deadline=60.0)
        self.accepted: set[str] = set()
        self.holder: dict[str, str] = {}
        self.owners = 0

    def make_outbox(self) -> Outbox:
        return MemoryOutbox(clock=lambda: self.now)

    # The web process

    @rule(count=st.integers(1, 3), fault=st.sampled_from([None, "refused", "unconfirmed"]))
    def flush(self, count: int, fault: str | None) -> None:
        self.broker.fault = fault
        events = [Event("cat-purred", {"number": number}) for number in range(count)]
        try:
            asyncio.run(self.handler.handle_many(events))
        except NotPublished:
            pass
        else:
            self.accepted |= {event.id for event in events}
        self.broker.fault = None

    @rule(count=st.integers(1, 3))
    def add(self, count: int) -> None:
        events = [Event("cat-purred", {"number": number}) for number in range(count)]
        self.handler._outlet.outbox_writer.write_now(events)  # type: ignore[union-attr]
        self.accepted |= {event.id for event in events}

    # Relays, step by step

    @rule(target=held, limit=st.integers(1, 4))
    def claim(self, limit: int) -> tuple[str, list[Entry]]:
        self.owners += 1
        token = f"relay-{self.owners}"
        entries = self.outbox.claim(token, destinations=[self.handler.name], limit=limit, lease=LEASE)
        self.holder.update(dict.fromkeys([entry.id for entry in entries], token))
        return token, entries

    @rule(claimed=held, fault=BROKER_FAULTS)
    def publish(self, claimed: tuple[str, list[Entry]], fault: str | None) -> None:
        self.broker.fault = fault
        try:
            if claimed[1]:
                self.handler._outlet.publisher.publish_entries(claimed[1])
        except (ConnectionError, TimeoutError, Crash):
            pass
        self.broker.fault = None

    @rule(claimed=consumes(held))
    def mark(self, claimed: tuple[str, list[Entry]]) -> None:
        """Only what has arrived is marked, as a relay does; a late token changes nothing."""
        token, entries = claimed
        arrived = [entry for entry in entries if entry.id in self.broker.arrived]
        there = {entry.id for entry in self.outbox.list()}
        ours = [entry for entry in arrived if entry.id in there and self.holder.get(entry.id) == token]
        assert self.outbox.published(token, arrived) == len(ours)
        assert {entry.id for entry in self.outbox.list()} == there - {entry.id for entry in ours}

    @rule(claimed=consumes(held))
    def release(self, claimed: tuple[str, list[Entry]]) -> None:
        token, entries = claimed
        there = {entry.id for entry in self.outbox.list()}
        ours = [each for each in entries if each.id in there and self.holder.get(each.id) == token]
        assert self.outbox.release(token, entries) == len(ours)
        for entry in ours:
            del self.holder[entry.id]

    # A whole relay, and the clock

    @rule(fault=BROKER_FAULTS)
    def step(self, fault: str | None) -> None:
        relaying = self.handler.relay_thread()
        relaying._outbox = taken = _Taken(self.outbox)  # type: ignore[assignment]
        self.broker.fault = fault
        with contextlib.suppress(ConnectionError, TimeoutError, Crash):
            relaying.step()
        for entry in taken.entries:  # whatever has become of them, whoever had them before has them no more
            self.holder.pop(entry.id, None)
        self.broker.fault = None

    @rule(seconds=st.sampled_from([1.0, LEASE - 1, LEASE + 1, 3_600.0, -3_600.0]))
    def turn_clock(self, seconds: float) -> None:
        self.now += seconds

    # What always holds

    @invariant()
    def nothing_accepted_is_lost(self) -> None:
        waiting = {entry.id for entry in self.outbox.list(limit=100_000)}
        assert self.accepted <= waiting | self.broker.arrived

    def teardown(self) -> None:
        self.now += 2 * 3_600 + LEASE
        relaying = self.handler.relay_thread()
        while relaying.step():
            pass
        assert self.accepted <= self.broker.arrived
        assert self.outbox.list() == []
        asyncio.run(self.handler.on_shutdown())


class SqlOutboxMachine(OutboxMachine):
    """The same in a SQLite file."""

    def make_outbox(self) -> Outbox:
        self.folder = Path(tempfile.mkdtemp())
        self.store = SqlStore.open(self.folder / "events.db", clock=lambda: self.now)
        return self.store.outbox

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            self.store.close()
            shutil.rmtree(self.folder)


@pytest.mark.parametrize(("machine", "examples"), [(OutboxMachine, 200), (SqlOutboxMachine, 40)])
def test_nothing_accepted_is_lost_whatever_happens_in_between(
    machine: type[OutboxMachine], examples: int
) -> None:
    test = machine.TestCase()
    test.settings = settings(
        max_examples=examples // 2 if QUICK else examples, stateful_step_count=30, deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    test.runTest()
