"""A worker's turn at lanes: it hears a bell, holds the lanes, and handles what waits there in its order.

Nothing of it needs the bell's message any more: what came of each item is written into the lane, and whoever
holds the lane no longer writes nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

from fastapi_events.errors import DeliveredTooOften
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.lookout import Lookout
from fastapi_events.handlers.task_queue.messages import FAN_OUT_TURN, Bell, message_id
from fastapi_events.handlers.task_queue.ordering import Order, no_room
from fastapi_events.handlers.task_queue.sender import Sender
from fastapi_events.handlers.task_queue.worker.dead_letters import DeadLetterKeeper
from fastapi_events.handlers.task_queue.worker.lane_hold import LaneHold
from fastapi_events.handlers.task_queue.worker.outcome import (
    NO_RETRY,
    Attempt,
    GiveUp,
    TryAgain,
    decide,
)
from fastapi_events.handlers.task_queue.worker.waiting_lanes import Handover, WaitingLanes
from fastapi_events.per_process import PerProcess
from fastapi_events.retry import RetryPolicy
from fastapi_events.storage.lanes import Finished, Item, Lane, Move, Outcome, Taken

logger: logging.Logger = logging.getLogger(__name__)

TURN_ITEMS = 25
"""How many items of a lane a worker handles until others have their turn."""

TURN_SECONDS = 1.0
"""How long a worker begins further items of a lane, until others have their turn."""

_SLOW_SECONDS = 0.01
"""A function whose last call took longer has each of its lanes by whoever is free."""

_LONGEST_GATE_SECONDS = 30.0
_NOT_EARLY_SECONDS = 0.05


class Performer(Protocol):
    """What handles the items of a lane: an actor."""

    @property
    def name(self) -> str:
        """What messages for it are called."""

    @property
    def policy(self) -> RetryPolicy:
        """When an item is tried again."""

    @property
    def options(self) -> Mapping[str, Any]:
        """The engine's own."""

    @property
    def counts_as(self) -> str:
        """Whose attempts are counted: those of one kind say nothing about those of another."""

    def handle(self, argument: Any) -> None:
        """Handle an item; what it raises is its failure."""


class FansOut(Protocol):
    """Finds out who listens to an item."""

    def follows(self, item: Item) -> tuple[Event, Mapping[Lane, Sequence[Item]]]:
        """The event of an item, and in which other lanes it waits next; what it raises is its failure."""

    def followed(self, event: Event, names: Sequence[str]) -> None:
        """Note that the event waits in the lanes of these subscriptions."""


@dataclass(slots=True)
class _Turn:
    """Somebody's turn at the lanes of a bell.

    Parameters:
        performer: Who handles the items.
        bell: What was heard.
        hold: The lanes that are held.
        waiting: Which of the lanes have still to be held.
    """

    performer: Performer
    bell: Bell
    hold: LaneHold
    waiting: WaitingLanes | None = None


@dataclass(frozen=True, slots=True)
class _Failure:
    """An item that could not be handled, the note of the attempt before, and why."""

    item: Item
    note: str
    error: BaseException


@dataclass(frozen=True, slots=True)
class _Gathered:
    """What comes of the items of one lane of fan-out."""

    taken: Taken
    move: Move
    names: Sequence[tuple[Event, Sequence[str]]]
    failure: _Failure | None


class _Refused(Exception):
    """The engine would have dropped the event; the cause says why."""


class Turns:
    """Takes turns at the lanes of a handler.

    Parameters:
        order: The lanes.
        sender: The engine.
        dead_letters: Keep what is given up.
        max_crashes: How many workers may die of an item before it is given up.
        lookout: Told of each turn.
    """

    def __init__(
        self,
        order: Order,
        sender: Sender,
        dead_letters: DeadLetterKeeper,
        *,
        max_crashes: int,
        lookout: Lookout,
    ) -> None:
        self._order = order
        self._lanes = order.lanes
        self._sender = sender
        self._dead_letters = dead_letters
        self._max_crashes = max_crashes
        self._lookout = lookout
        self._handover = Handover(order.bells)
        self._took: dict[str, float] = {}
        """How long the last call of each function took."""
        self._gate = PerProcess(threading.Lock)  # after a fork, the thread that held it does not exist

    def perform(self, performer: Performer, bell: Bell) -> None:
        """Handle the items of a subscription's lanes, one after the other.

        Raises:
            StorageError: When the lanes cannot be reached.
            BaseException: What ends the worker; others go on.
        """
        self._lookout.traffic()
        one_only = any(option in performer.options for option in ("time_limit", "soft_time_limit"))
        waiting = WaitingLanes([self._order.lane(performer.name, key) for key in bell.keys], bell.queue)
        hold = LaneHold(self._order, limit=1 if one_only else TURN_ITEMS)
        turn = _Turn(performer, bell, hold, waiting)
        lane = waiting.next()
        if waiting and (one_only or self._took.get(performer.name, 0.0) > _SLOW_SECONDS):
            self._handover.hand_over(waiting)
        with self._handover.watch(waiting):
            # A call: Python 3.13 leaves what is raised at a loop's last step out of the block around it.
            self._lane_by_lane(turn, waiting, lane)
        hold.ring()

    def _lane_by_lane(self, turn: _Turn, waiting: WaitingLanes, lane: Lane | None) -> None:
        while lane is not None:
            taken = turn.hold.take([lane])
            each = taken[0] if taken else None
            while each is not None:
                with turn.hold.kept([each.lane]):
                    self._one_by_one(turn, each)
                each = turn.hold.take_following()
            lane = waiting.next()

    def fan_out(self, performer: Performer, bell: Bell, finds: FansOut) -> None:
        """Find out who listens to the items of lanes, and put these into theirs.

        Parameters:
            finds: Does so.

        Raises:
            StorageError: When the lanes cannot be reached.
        """
        lanes = [self._order.lane(FAN_OUT_TURN, key) for key in bell.keys]
        self._lookout.traffic()
        hold = LaneHold(self._order, limit=TURN_ITEMS)
        turn = _Turn(performer, bell, hold)
        taken = hold.take(lanes)
        with hold.kept([each.lane for each in taken]):
            for each in taken:
                if each.is_suspect:
                    with self._alone(hold, each.lane) as crashes:
                        one = replace(each, items=each.items[:1])
                        self._together(turn, [one], finds, crashes)
            others = [each for each in taken if not each.is_suspect]
            self._together(turn, others, finds, 0)
        hold.ring()

    @contextmanager
    def _alone(self, hold: LaneHold, lane: Lane) -> Iterator[int]:
        """Run the first item of a lane, which may have ended a process, beside no other such.

        Returns:
            How many processes it has ended, as far as is known.
        """
        gate = self._gate.get()
        # One that runs long need not hold up the others for ever: few of them are poisonous.
        inside = gate.acquire(timeout=_LONGEST_GATE_SECONDS)
        try:
            yield hold.started(lane)
        finally:
            if inside:
                gate.release()

    # Subscriptions

    def _one_by_one(self, turn: _Turn, taken: Taken) -> None:
        ends = time.monotonic() + TURN_SECONDS
        left = last = len(taken.items)
        for number, item in enumerate(taken.items):
            if item.queue != turn.bell.queue or (number and time.monotonic() > ends):
                break
            note = taken.note if number == 0 else ""
            if taken.is_suspect and number == 0:
                with self._alone(turn.hold, taken.lane) as crashes:
                    finished = self._attempt(turn, taken.lane, item, note, crashes)
            else:
                finished = self._attempt(turn, taken.lane, item, note, 0, is_last=number + 1 == last)
            if finished is None:
                return
            left = finished.left
        if left:
            turn.hold.release(taken.lane)

    def _attempt(
        self, turn: _Turn, lane: Lane, item: Item, note: str, crashes: int, *, is_last: bool = False
    ) -> Finished | None:
        """Handle an item; None where another worker holds the lane by now."""
        try:
            self._check(turn.performer, item, crashes)
            began = time.monotonic()
            turn.performer.handle(item.text)
            self._took[turn.performer.name] = time.monotonic() - began
        except BaseException as error:
            return self._after_failure(turn, lane, _Failure(item, note, error))
        return self._finish(turn, lane, item, goes_on=is_last)

    def _check(self, performer: Performer, item: Item, crashes: int) -> None:
        if crashes >= self._max_crashes:
            raise DeliveredTooOften(crashes)
        refusal = self._sender.refusal(performer.options, item.text)
        if refusal is not None:
            raise _Refused from refusal

    # Fan-out

    def _together(self, turn: _Turn, taken: Sequence[Taken], finds: FansOut, crashes: int) -> None:
        """Fan out the first items of several lanes in one step; each lane fails alone."""
        gathered = [self._gathered(turn, each, finds, crashes) for each in taken]
        failed = {each.taken.lane: each.failure for each in gathered if each.failure is not None}
        stopped = [each.taken.lane for each in gathered if not each.move.ids and each.failure is None]
        moving = [each for each in gathered if each.move.ids]
        outcomes = turn.hold.finish([each.move for each in moving])
        for each, finished in zip(moving, outcomes, strict=True):
            lane = each.taken.lane
            turn.hold.due.extend((due, 0.0) for due in finished.due)
            if finished.outcome is Outcome.FULL:
                full = no_room(next(iter(each.move.into)), self._lanes)
                failed[lane] = _Failure(each.taken.items[0], each.taken.note, full)
            elif finished.outcome is Outcome.LOST:
                failed.pop(lane, None)
            else:
                for event, names in each.names:
                    finds.followed(event, names)
                if finished.left and lane not in failed:
                    stopped.append(lane)
        for lane in stopped:
            turn.hold.release(lane)
        for lane, failure in failed.items():
            self._after_failure(turn, lane, failure)

    def _gathered(self, turn: _Turn, taken: Taken, finds: FansOut, crashes: int) -> _Gathered:
        """The items of a lane that can be fanned out now, and the one that cannot."""
        ids: list[str] = []
        into: dict[Lane, list[Item]] = {}
        names: list[tuple[Event, Sequence[str]]] = []
        failure = None
        for number, item in enumerate(taken.items):
            if item.queue != turn.bell.queue:
                break
            try:
                self._check(turn.performer, item, crashes)
                event, following = finds.follows(item)
            except Exception as error:
                failure = _Failure(item, taken.note if number == 0 else "", error)
                break
            ids.append(item.id)
            names.append((event, [lane.target for lane in following]))
            for lane, items in following.items():
                into.setdefault(lane, []).extend(items)
        return _Gathered(taken, Move(taken.lane, ids, into), names, failure)

    # What follows

    def _finish(self, turn: _Turn, lane: Lane, item: Item, *, goes_on: bool = False) -> Finished | None:
        """Write that an item is done; and hold the next lane in the same step, where one waits."""
        move = Move(lane, [item.id])
        following = turn.waiting.next() if goes_on and turn.waiting is not None else None
        if following is None:
            [finished] = turn.hold.finish([move])
        else:
            finished = turn.hold.finish_and_take(move, following)
        if finished.outcome is Outcome.LOST:
            logger.warning(
                "The lane of %r for %s has gone to another worker, which may handle event %s again.",
                lane.key, lane.target, item.id,
            )  # fmt: skip
            return None
        return finished

    def _after_failure(self, turn: _Turn, lane: Lane, failure: _Failure) -> Finished | None:
        """Let the lane wait for another attempt, or give the item up."""
        performer, item, error = turn.performer, failure.item, failure.error
        is_refused = isinstance(error, _Refused)
        if is_refused and error.__cause__ is not None:
            error = error.__cause__
        is_fan_out = lane.target == FAN_OUT_TURN
        identity = (performer.name, item.id) if is_fan_out else (item.id, performer.name)
        attempt = self._sender.described(
            Attempt(
                handler=self._order.destination,
                subscription=performer.name,
                queue=item.queue,
                message_id=message_id(*identity),
                policy=NO_RETRY if is_refused else performer.policy,
                arguments=[f"[{item.text}]" if is_fan_out else item.text],
                failed_before=_read(failure.note, performer.counts_as),
                was_run=not is_refused,
            ),
            performer.options,
            error,
        )
        if attempt is None:
            raise error
        outcome = decide(attempt, error)
        if not isinstance(outcome, GiveUp):
            assert isinstance(outcome, TryAgain)  # noqa: S101 - only a bell is dropped
            counted = _written(outcome.failed, performer.counts_as) if outcome.counts else None
            turn.hold.release(lane, after=outcome.after, note=counted)
            return None
        # A holder that has lost its lane writes no result, and a dead letter is one.
        if not turn.hold.is_held(lane):
            return None
        self._dead_letters.give_up(outcome.letter)
        finished = self._finish(turn, lane, item)
        self._sender.gave_up(attempt, performer.options, error)
        if is_fan_out and finished is not None and finished.left:
            turn.hold.release(lane)
        return finished


def _read(note: str, kind: str) -> int:
    """How many attempts of a kind a note counts."""
    name, _, number = note.partition(" ")
    return int(number) if name == kind and number.isdigit() else 0


def _written(number: int, kind: str) -> str:
    return f"{kind} {number}"
