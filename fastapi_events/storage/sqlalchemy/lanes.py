"""Lanes in an SQL database."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import sqlalchemy as sa

from fastapi_events.storage.base import CLOCK_SLACK_SECONDS
from fastapi_events.storage.lanes import (
    LONGEST_UNHEARD_SECONDS,
    MAX_LANE_ITEMS,
    UNHEARD_SECONDS,
    Due,
    Finished,
    Head,
    Item,
    Lane,
    Lanes,
    Move,
    Outcome,
    Placed,
    Taken,
    Turn,
    Waiting,
)
from fastapi_events.storage.sqlalchemy.base import CHUNK, SqlPart, among
from fastapi_events.storage.sqlalchemy.database import Database
from fastapi_events.storage.sqlalchemy.schema import lane_items, lanes

T = TypeVar("T")

_TURN = [each.name for each in fields(Turn)]


@dataclass(slots=True)
class _Locked:
    """Lanes that no other transaction changes until this one ends.

    Parameters:
        connection: That of the transaction.
        now: The server's time.
        turns: Each lane's; those that are not there yet have no items.
    """

    connection: sa.Connection
    now: float
    turns: Mapping[Lane, Turn]


class SqlLanes(SqlPart, Lanes):
    """Lanes in an SQL database.

    Parameters:
        database: Where they are; `SqlStore` makes one.
        max_items: How many items wait in one lane at most.
    """

    def __init__(self, database: Database, *, max_items: int = MAX_LANE_ITEMS) -> None:
        SqlPart.__init__(self, database)
        Lanes.__init__(self, max_items=max_items)

    def put(self, items: Mapping[Lane, Sequence[Item]]) -> Placed:
        def append(locked: _Locked) -> Placed:
            new = _not_there(locked, items)
            full = [lane for lane in items if not self._has_room(locked, lane, new[lane])]
            placed = {lane: each for lane, each in new.items() if lane not in full}
            return Placed(_put(locked, placed), full)

        return self._in_lanes(items, append, grows=True)

    def take(self, lanes: Sequence[Lane], *, token: str, lease: float, limit: int) -> Sequence[Taken]:
        return self._in_lanes(lanes, lambda locked: _take(locked, lanes, token, lease, limit))

    def find(self, destination: str, prefix: str, *, limit: int = 20) -> Sequence[Waiting]:
        before = lane_items.alias()
        ahead = (
            sa.select(sa.func.count())
            .where(before.c.lane == lane_items.c.lane, before.c.seq < lane_items.c.seq)
            .scalar_subquery()
        )
        query = (
            sa.select(lane_items, ahead.label("ahead"))
            .join(lanes, lanes.c.name == lane_items.c.lane)
            .where(lanes.c.destination == destination)
            .where(sa.func.substr(lane_items.c.id, 1, len(prefix)) == prefix)
            .order_by(lane_items.c.seq)
            .limit(limit)
        )
        rows = self._database.read(lambda connection: connection.execute(query).all())
        found = [Waiting(_lane(row.lane), Item(row.id, row.text, row.queue), int(row.ahead)) for row in rows]
        return sorted(found)

    def heads(self, destination: str, *, limit: int = 100) -> Sequence[Head]:
        some = (
            sa.select(lanes).where(_has_items(destination)).order_by(lanes.c.look_at).limit(limit).subquery()
        )
        each = lane_items.alias()
        first = (
            sa.select(sa.func.min(each.c.seq))
            .where(each.c.lane == some.c.name)
            .correlate(some)
            .scalar_subquery()
        )
        query = (
            sa.select(
                lane_items, some.c.size, some.c.token, some.c.held_until, some.c.not_before, some.c.note,
                self._database.now().label("now"),
            )
            .select_from(some.join(lane_items, lane_items.c.seq == first))
            .order_by(lane_items.c.seq)
        )  # fmt: skip
        return [
            Head(
                _lane(row.lane), Item(row.id, row.text, row.queue), row.size,
                row.token is not None and row.now < row.held_until, row.not_before, row.note,
            )
            for row in self._database.read(lambda connection: connection.execute(query).all())
        ]  # fmt: skip

    def count(self, destination: str) -> int:
        query = sa.select(sa.func.count()).select_from(lanes).where(_has_items(destination))
        return self._database.read(lambda connection: connection.scalar(query) or 0)

    def extend(self, lanes: Sequence[Lane], *, token: str, lease: float) -> bool:
        def again(locked: _Locked) -> bool:
            held = [lane for lane in lanes if locked.turns[lane].token == token]
            for lane in held:
                locked.turns[lane].extend(locked.now, lease)
            return len(held) == len(lanes)

        return self._in_lanes(lanes, again)

    def started(self, lane: Lane, *, token: str) -> int:
        def count(locked: _Locked) -> int:
            turn = locked.turns[lane]
            if turn.token != token:
                return 0
            turn.starts += 1
            return turn.starts

        return self._in_lanes([lane], count)

    def finish(self, moves: Sequence[Move], *, token: str) -> Sequence[Finished]:
        named = [lane for move in moves for lane in (move.lane, *move.into)]
        grows = any(move.into for move in moves)
        return self._in_lanes(
            named, lambda locked: [self._finish(locked, move, token) for move in moves], grows=grows
        )

    def finish_and_take(
        self, move: Move, lanes: Sequence[Lane], *, token: str, lease: float, limit: int
    ) -> tuple[Finished, Sequence[Taken]]:
        def both(locked: _Locked) -> tuple[Finished, Sequence[Taken]]:
            return self._finish(locked, move, token), _take(locked, lanes, token, lease, limit)

        return self._in_lanes([move.lane, *move.into, *lanes], both, grows=bool(move.into))

    def release(self, lane: Lane, *, token: str, after: float = 0.0, note: str | None = None) -> Due | None:
        def let_go(locked: _Locked) -> Due | None:
            turn = locked.turns[lane]
            if turn.token != token:
                return None
            turn.release(locked.now, after, note)
            return Due(lane, _first(locked, lane, 1)[0].queue)

        return self._in_lanes([lane], let_go)

    def due(self, destination: str, *, limit: int = 100, unheard: bool = False) -> Sequence[Due]:
        found = self._database.read(lambda connection: self._due(connection, destination, limit, unheard))

        def ring(locked: _Locked) -> list[Due]:
            due = []
            for lane, turn in locked.turns.items():
                if turn.size and turn.is_due(locked.now, unheard=unheard):
                    turn.rung(locked.now)
                    due.append(Due(lane, _first(locked, lane, 1)[0].queue))
            return due

        return self._in_lanes(found, ring, skip_locked=True) if found else []

    def missed(self, lanes: Sequence[Lane]) -> None:
        def take_back(locked: _Locked) -> None:
            for turn in locked.turns.values():
                turn.missed(locked.now)

        self._in_lanes(lanes, take_back)

    def _due(self, connection: sa.Connection, destination: str, limit: int, unheard: bool) -> list[Lane]:
        now = self._database.now()
        looks = sa.or_(
            lanes.c.look_at <= now,
            # Only after the clock has been set back; another attempt may be due as late, and is looked at.
            sa.and_(
                lanes.c.look_at > now + LONGEST_UNHEARD_SECONDS, lanes.c.changed > now + CLOCK_SLACK_SECONDS
            ),
        )
        early = sa.and_(lanes.c.token.is_(None), lanes.c.changed <= now - UNHEARD_SECONDS)
        query = (
            sa.select(lanes.c.name)
            .where(lanes.c.destination == destination, sa.or_(looks, early) if unheard else looks)
            .order_by(lanes.c.look_at)
            .limit(limit)
        )
        return [_lane(name) for name in connection.scalars(query)]

    def _finish(self, locked: _Locked, move: Move, token: str) -> Finished:
        turn = locked.turns[move.lane]
        if turn.token != token:
            return Finished(Outcome.LOST)
        new = _not_there(locked, move.into)
        if not all(self._has_room(locked, lane, new[lane]) for lane in move.into):
            return Finished(Outcome.FULL, turn.size)
        due = _put(locked, new)
        for ids in _chunks(move.ids):
            turn.size -= locked.connection.execute(
                sa.delete(lane_items).where(
                    lane_items.c.lane == _name(move.lane), among(locked.connection, lane_items.c.id, ids)
                )
            ).rowcount
        turn.note, turn.starts = "", 0
        if not turn.size:
            turn.token = None
        return Finished(Outcome.DONE, turn.size, due)

    def _has_room(self, locked: _Locked, lane: Lane, new: Sequence[Item]) -> bool:
        return not new or locked.turns[lane].size + len(new) <= self.max_items

    def _in_lanes(
        self,
        named: Collection[Lane],
        work: Callable[[_Locked], T],
        *,
        grows: bool = False,
        skip_locked: bool = False,
    ) -> T:
        """Run a transaction that nobody else runs for these lanes."""
        # Sorted, so that two processes which lock the same lanes do so in the same order.
        lanes_named = sorted(set(named))

        def alone(connection: sa.Connection) -> T:
            rows = self._lock(connection, lanes_named, grows=grows, skip_locked=skip_locked)
            there = {_lane(row.name): Turn(*(getattr(row, name) for name in _TURN)) for row in rows}
            now = rows[0].now if rows else 0.0
            before = {lane: _values(turn) for lane, turn in there.items()}
            others = {} if skip_locked else {lane: Turn() for lane in lanes_named if lane not in there}
            result = work(_Locked(connection, now, {**there, **others}))
            _save(connection, there, before)
            return result

        return self._database.write(alone, grows=grows)

    def _lock(
        self, connection: sa.Connection, named: Sequence[Lane], *, grows: bool, skip_locked: bool
    ) -> list[sa.Row[tuple[object, ...]]]:
        now = self._database.now().label("now")
        rows: list[sa.Row[tuple[object, ...]]] = []
        if grows:  # lanes that are not there are made, and locked as if they had been
            insert = self._database.insert(lanes)
            insert = insert.on_conflict_do_update(
                index_elements=[lanes.c.name], set_={"destination": insert.excluded.destination}
            ).returning(*lanes.c, now)
            new = {name: value for name, value in _values(Turn()).items() if name != "token"}
            values = [{"name": _name(lane), "destination": lane.destination, **new} for lane in named]
            return list(connection.execute(insert, values)) if values else []
        for some in _chunks(named):
            query = (
                sa.select(*lanes.c, now)
                .where(among(connection, lanes.c.name, [_name(lane) for lane in some]))
                .order_by(lanes.c.name)
                .with_for_update(skip_locked=skip_locked)
            )
            rows += connection.execute(query)
        return rows


def _not_there(locked: _Locked, items: Mapping[Lane, Sequence[Item]]) -> dict[Lane, list[Item]]:
    """Which of the items do not wait yet, each once."""
    new = {}
    for lane, given in items.items():
        there: set[str] = set()
        if locked.turns[lane].size:
            for ids in _chunks([each.id for each in given]):
                there.update(
                    locked.connection.scalars(
                        sa.select(lane_items.c.id).where(
                            lane_items.c.lane == _name(lane), among(locked.connection, lane_items.c.id, ids)
                        )
                    )
                )
        first = {each.id: each for each in reversed(given)}
        new[lane] = [each for id_, each in reversed(first.items()) if id_ not in there]
    return new


def _put(locked: _Locked, new: Mapping[Lane, Sequence[Item]]) -> list[Due]:
    rows = [
        {"lane": _name(lane), "id": each.id, "text": each.text, "queue": each.queue}
        for lane, items in new.items()
        for each in items
    ]
    if rows:
        locked.connection.execute(sa.insert(lane_items), rows)
    due = []
    for lane, items in new.items():
        turn = locked.turns[lane]
        queue = items[0].queue if items and not turn.size else None
        turn.size += len(items)
        if turn.size and turn.is_due(locked.now):
            turn.rung(locked.now)
            due.append(Due(lane, queue or _first(locked, lane, 1)[0].queue))
    return due


def _take(locked: _Locked, named: Sequence[Lane], token: str, lease: float, limit: int) -> list[Taken]:
    taken = []
    for lane in named:
        turn = locked.turns[lane]
        if turn.may_take(token, locked.now):
            is_suspect = turn.take(token, locked.now, lease)
            taken.append(Taken(lane, _first(locked, lane, limit), turn.note, is_suspect))
    return taken


def _first(locked: _Locked, lane: Lane, limit: int) -> list[Item]:
    query = (
        sa.select(lane_items.c.id, lane_items.c.text, lane_items.c.queue)
        .where(lane_items.c.lane == _name(lane))
        .order_by(lane_items.c.seq)
        .limit(limit)
    )
    return [Item(*row) for row in locked.connection.execute(query)]


def _save(
    connection: sa.Connection, turns: Mapping[Lane, Turn], before: Mapping[Lane, Mapping[str, object]]
) -> None:
    empty = [_name(lane) for lane, turn in turns.items() if not turn.size]
    for names in _chunks(empty):
        connection.execute(sa.delete(lanes).where(among(connection, lanes.c.name, names)))
    changed = [
        {"of": _name(lane), **_values(turn)}
        for lane, turn in turns.items()
        if turn.size and _values(turn) != before[lane]
    ]
    if changed:
        update = sa.update(lanes).where(lanes.c.name == sa.bindparam("of"))
        connection.execute(update.values({name: sa.bindparam(name) for name in _TURN}), changed)


def _values(turn: Turn) -> dict[str, object]:
    return {name: getattr(turn, name) for name in _TURN}


def _chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    return (values[begin : begin + CHUNK] for begin in range(0, len(values), CHUNK))


def _name(lane: Lane) -> str:
    return "\n".join(lane)


def _lane(name: str) -> Lane:
    return Lane(*name.split("\n", 2))


def _has_items(destination: str) -> sa.ColumnElement[bool]:
    return sa.and_(lanes.c.destination == destination, lanes.c.size > 0)
