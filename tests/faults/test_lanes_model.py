"""A machine that dispatches, loses, doubles and reorders bells, and kills processes at any step.

Whatever it does: a lane has one holder at most, each function gets the events of a key in their order, those
whose lanes were lost write nothing, and in the end every event was handled.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fastapi_events import leases
from fastapi_events.errors import NotPublished, StorageError
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.messages import FAN_OUT_TURN, Message
from fastapi_events.handlers.task_queue.worker import turn
from fastapi_events.handlers.task_queue.worker.outcome import Attempt
from fastapi_events.handlers.task_queue.worker.waiting_lanes import Handover
from fastapi_events.leases import LEASE_SECONDS
from fastapi_events.retry import RetryPolicy
from fastapi_events.storage.lanes import (
    LONGEST_UNHEARD_SECONDS,
    UNHEARD_AGAIN_SECONDS,
    Due,
    Finished,
    Lane,
    Lanes,
    Move,
    Outcome,
    Taken,
)
from fastapi_events.storage.memory import MemoryLanes, MemoryOutbox
from fastapi_events.storage.outbox import Outbox
from fastapi_events.storage.sqlalchemy import SqlStore
from tests.faults.conftest import QUICK
from tests.handlers.task_queue.broker import ListEngine, ListHandler

KEYS = ("x", "y")
LANE_STEPS = ("put", "take", "started", "finish", "finish_and_take", "release", "extend", "missed")
STEPS = (*LANE_STEPS, "send", "function")
FATES = st.sampled_from(["well", "well", "before", "after", "away"])


class Crash(BaseException):
    """The process has ended here."""


class Fate:
    """What happens at one step of a process: it dies before it or after it, or what it asks is away."""

    def __init__(self) -> None:
        self.step = ""
        self.kind = "well"
        self.is_dead = False

    @contextlib.contextmanager
    def at(self, step: str, kind: str) -> Iterator[None]:
        """A process that may end within the block."""
        self.step, self.kind = step, kind
        try:
            yield
        except Crash:
            pass
        finally:
            self.kind, self.is_dead = "well", False

    def meets(self, step: str, call: Callable[[], Any]) -> Any:
        if self.is_dead:
            raise Crash
        if step != self.step or self.kind == "well":
            return call()
        kind, self.kind = self.kind, "well"
        if kind == "away":
            raise ConnectionError("away") if step == "send" else StorageError("away")
        self.is_dead = True
        if kind == "after":
            call()
        raise Crash


def watched(lanes: Lanes, fate: Fate) -> Lanes:
    """Lanes whose calls meet the fate of their process."""
    for step in LANE_STEPS:
        setattr(lanes, step, partial(_meets, getattr(lanes, step), step, fate))
    return lanes


def _meets(call: Callable[..., Any], step: str, fate: Fate, *args: Any, **kwargs: Any) -> Any:
    return fate.meets(step, partial(call, *args, **kwargs))


class FaultyEngine(ListEngine):
    def __init__(self, fate: Fate) -> None:
        super().__init__()
        self.fate = fate

    def send(self, messages: Sequence[Message], *, timeout: float | None = None) -> None:
        self.fate.meets("send", lambda: super(FaultyEngine, self).send(messages))

    def described(self, attempt: Attempt, options: Mapping[str, Any], error: BaseException) -> Attempt | None:
        return None if isinstance(error, Crash) else super().described(attempt, options, error)


class LanesMachine(RuleBasedStateMachine):
    """A web process with an outbox, workers, and a broker that does what it likes with bells."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_800_000_000.0
        self.fate = Fate()
        self.lanes = watched(self.make_lanes(), self.fate)
        self.outbox: Outbox = MemoryOutbox(clock=lambda: self.now)
        self.handler = ListHandler(
            FaultyEngine(self.fate), lanes=self.lanes, outbox=self.outbox, relay=False,
            flush_deadline=60.0, retry=RetryPolicy(max_retries=10_000), max_crashes=10_000,
        )  # fmt: skip
        self.next = dict.fromkeys(KEYS, 0)
        self.accepted: dict[str, list[int]] = {key: [] for key in KEYS}
        self.results: dict[tuple[str, str], list[int]] = defaultdict(list)
        for name in ("one", "two"):
            self.handler.register(self.function(name), name=name)

    def make_lanes(self) -> Lanes:
        return MemoryLanes(clock=lambda: self.now)

    def function(self, name: str) -> Callable[[Event], None]:
        def run(event: Event) -> None:
            self.fate.meets("function", lambda: None)
            self.results[name, str(event.ordering_key)].append(event.payload)

        return run

    # The web process

    @rule(keys=st.lists(st.sampled_from(KEYS), min_size=1, max_size=3),
          step=st.sampled_from(["put", "send"]), kind=st.sampled_from(["well", "well", "away"]))  # fmt: skip
    def flush(self, keys: list[str], step: str, kind: str) -> None:
        events = []
        for key in keys:
            event = Event("cat-purred", self.next[key])
            event.ordering_key = key
            self.next[key] += 1
            events.append(event)
        with self.fate.at(step, kind), contextlib.suppress(NotPublished):
            asyncio.run(self.handler.handle_many(events))
            for event in events:
                self.accepted[str(event.ordering_key)].append(event.payload)
        if kind == "away" and step == "put":
            self.handler._outlet.lane_writer._breaker.succeeded()  # type: ignore[union-attr]

    # Bells

    @rule(at=st.integers(0, 100), step=st.sampled_from(STEPS), kind=FATES, is_slow=st.booleans())
    def hear(self, at: int, step: str, kind: str, is_slow: bool) -> None:
        turn._SLOW_SECONDS = -1.0 if is_slow else 3_600.0
        if self.handler.sent:
            self.deliver(self.handler.sent.pop(at % len(self.handler.sent)), step, kind)

    @rule(at=st.integers(0, 100), step=st.sampled_from(STEPS), kind=FATES)
    def hear_twice(self, at: int, step: str, kind: str) -> None:
        if self.handler.sent:
            self.deliver(self.handler.sent[at % len(self.handler.sent)], step, kind)

    @rule(at=st.integers(0, 100))
    def lose(self, at: int) -> None:
        if self.handler.sent:
            self.handler.sent.pop(at % len(self.handler.sent))

    @rule()
    def lose_all(self) -> None:
        self.handler.sent.clear()

    def deliver(self, message: Message, step: str, kind: str) -> None:
        with self.fate.at(step, kind), contextlib.suppress(StorageError, ConnectionError):
            self.handler.engine.actors[message.task].run(message.argument)

    # A worker that is frozen while it runs, and wakes when another has its lane

    @rule(key=st.sampled_from(KEYS), name=st.sampled_from(["one", "two"]))
    def freeze(self, key: str, name: str) -> None:
        lane = Lane(self.handler.name, name, key)
        taken = self.lanes.take([lane], token="frozen", lease=LEASE_SECONDS, limit=1)
        if not taken:
            return
        self.now += LEASE_SECONDS + 1
        others = self.lanes.take([lane], token="another", lease=LEASE_SECONDS, limit=1)
        assert [each.lane for each in others] == [lane]
        # at most one holder: the late one can do nothing any more
        assert self.lanes.take([lane], token="frozen", lease=LEASE_SECONDS, limit=1) == []
        late = Move(lane, [taken[0].items[0].id])
        [finished] = self.lanes.finish([late], token="frozen")
        assert finished.outcome is Outcome.LOST
        assert self.lanes.release(lane, token="frozen") is None
        self.lanes.release(lane, token="another")

    # A relay, and time

    @rule(step=st.sampled_from(["put", "send"]), kind=FATES)
    def relay(self, step: str, kind: str) -> None:
        with self.fate.at(step, kind), contextlib.suppress(StorageError, ConnectionError):
            self.handler.relay_thread().step()
        self.handler._outlet.lane_writer._breaker.succeeded()  # type: ignore[union-attr]

    @rule(step=st.just("send"), kind=FATES)
    def look(self, step: str, kind: str) -> None:
        with self.fate.at(step, kind), contextlib.suppress(StorageError, ConnectionError):
            self.handler.look_after_lanes()

    @rule(seconds=st.sampled_from([0.5, 4.0, UNHEARD_AGAIN_SECONDS, LEASE_SECONDS + 1]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    # What always holds

    @invariant()
    def results_are_in_order(self) -> None:
        for (_, key), got in self.results.items():
            first: list[int] = list(dict.fromkeys(got))
            assert first == sorted(first), got
            assert first == [each for each in range(self.next[key]) if each in first]

    @invariant()
    def nobody_overtakes(self) -> None:
        """An event is handled only when all accepted before it have been."""
        for (_, key), got in self.results.items():
            if got:
                done = set(got)
                assert [each for each in self.accepted[key] if each < max(got) and each not in done] == []

    def teardown(self) -> None:
        for _ in range(500):
            self.now += LONGEST_UNHEARD_SECONDS + LEASE_SECONDS + 1
            with contextlib.suppress(StorageError):
                self.handler.relay_thread().step()
            self.handler._outlet.lane_writer._breaker.succeeded()  # type: ignore[union-attr]
            rung = self.handler.look_after_lanes()
            if not rung and not self.handler.sent and not self.outbox.list():
                break
            self.handler.run()
        for key in KEYS:
            for name in ("one", "two"):
                assert set(self.accepted[key]) <= set(self.results[name, key])
        asyncio.run(self.handler.on_shutdown())


class SqlLanesMachine(LanesMachine):
    """The same in a SQLite file."""

    def make_lanes(self) -> Lanes:
        self.folder = Path(tempfile.mkdtemp())
        self.store = SqlStore.open(self.folder / "events.db", clock=lambda: self.now)
        return self.store.lanes

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            self.store.close()
            shutil.rmtree(self.folder)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be written is written again without a pause, and no thread does anything by itself."""
    monkeypatch.setattr(leases, "_FIRST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(turn, "TURN_SECONDS", 3_600.0)
    monkeypatch.setattr(turn, "_SLOW_SECONDS", 3_600.0)  # which the machine changes
    monkeypatch.setattr(turn, "Handover", partial(Handover, patience=3_600.0))


@pytest.mark.parametrize(("machine", "examples"), [(LanesMachine, 80), (SqlLanesMachine, 15)])
def test_order_holds_whatever_happens_in_between(machine: type[LanesMachine], examples: int) -> None:
    test = machine.TestCase()
    test.settings = settings(
        max_examples=examples // 2 if QUICK else examples, stateful_step_count=40, deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    test.runTest()


# Lanes that break the protocol, which the machine has to notice


class OfWhoeverComes(MemoryLanes):
    """Whoever has lost a lane writes its result all the same."""

    def finish(self, moves: Sequence[Move], *, token: str) -> Sequence[Finished]:
        holders = [self._lanes[move.lane].turn.token for move in moves if move.lane in self._lanes]
        return super().finish(moves, token=next((each for each in holders if each), token))


class HeldByMany(MemoryLanes):
    """A lane is given to whoever asks."""

    def take(self, lanes: Sequence[Lane], *, token: str, lease: float, limit: int) -> Sequence[Taken]:
        for lane in lanes:
            if (kept := self._lanes.get(lane)) is not None and kept.turn.token is not None:
                super().release(lane, token=kept.turn.token)
        return super().take(lanes, token=token, lease=lease, limit=limit)


class NewestFirst(MemoryLanes):
    """What came last to a function is handled first."""

    def take(self, lanes: Sequence[Lane], *, token: str, lease: float, limit: int) -> Sequence[Taken]:
        if any(lane.target == FAN_OUT_TURN for lane in lanes):  # turned round twice, nobody would see it
            return super().take(lanes, token=token, lease=lease, limit=limit)
        taken = super().take(lanes, token=token, lease=lease, limit=100)
        return [replace(each, items=tuple(reversed(each.items))[:limit]) for each in taken]


class NeverDue(MemoryLanes):
    """A bell that was lost is never rung again."""

    def due(self, destination: str, *, limit: int = 100, unheard: bool = False) -> Sequence[Due]:
        return []


@pytest.mark.parametrize("lanes", [OfWhoeverComes, HeldByMany, NewestFirst, NeverDue])
def test_the_machine_notices_lanes_that_break_the_protocol(lanes: type[MemoryLanes]) -> None:
    class Broken(LanesMachine):
        def make_lanes(self) -> Lanes:
            return lanes(clock=lambda: self.now)

    test = Broken.TestCase()
    test.settings = settings(
        max_examples=300, stateful_step_count=40, deadline=None, database=None, derandomize=True,
        phases=[Phase.generate], report_multiple_bugs=False, suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    with pytest.raises(AssertionError):
        test.runTest()
