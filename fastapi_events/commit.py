"""Events that follow a transaction: they exist once it is committed, and if it is not, they never did.

```python
def get_session() -> Iterator[Session]:
    with Session(engine) as session, events_follow(session):
        yield session
        session.commit()
```

Where a handler has its outbox in the session's own database, the event is written there in the same
transaction; elsewhere it waits in memory for the commit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from fastapi_events import clock, under_test
from fastapi_events.context import event_store, in_req_res_cycle
from fastapi_events.delivery import call_dispatch_hooks, handlers_of
from fastapi_events.dispatcher import dispatch
from fastapi_events.errors import ConfigurationError, MissingDependencyError, StorageError
from fastapi_events.event import Event, EventName
from fastapi_events.failpoints import crash_point
from fastapi_events.handlers.task_queue.handler import TaskQueueHandler
from fastapi_events.handlers.task_queue.once import KEEP_SECONDS, Claim, current_claim
from fastapi_events.lifecycle import Lifecycle, tell
from fastapi_events.scope import Backlog
from fastapi_events.storage.memory import MemoryInbox

try:
    import sqlalchemy as sa
    from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session
    from sqlalchemy.orm import Session, SessionTransaction, scoped_session
except ImportError as _missing:
    raise MissingDependencyError("SQLAlchemy", "sql") from _missing

from fastapi_events.storage.sqlalchemy import SqlInbox, SqlOutbox

__all__ = ["complete_in", "dispatch_on_commit", "events_follow"]

AnySession: TypeAlias = "Session | AsyncSession | scoped_session[Any] | async_scoped_session[Any]"


def dispatch_on_commit(
    session: AnySession,
    event_name_or_model: EventName | Any = None,
    payload: Any = None,
    **arguments: Any,
) -> None:
    """Dispatch an event when the session's transaction has been committed, and only then.

    It belongs to the transaction, or savepoint, that is open now; none being open, one begins, as with
    `session.add()`. A bad payload is refused here, and later changes to it change nothing.

        dispatch_on_commit(session, "cat-fed", payload={"cat_id": 7})

    Parameters:
        session: Whose transaction decides; an `AsyncSession` does, too, and this is not awaited.
        event_name_or_model: As for `dispatch()`.
        payload: As for `dispatch()`.
        arguments: The others of `dispatch()`.

    Raises:
        LookupError: Where no scope is open.
    """
    backlog = _backlog()
    if backlog is None:
        raise LookupError("dispatch_on_commit() was called where no scope is open to take the event.")
    token = event_store.set(_Following(_synchronous(session), backlog))
    try:
        dispatch(event_name_or_model, payload, **arguments)
    finally:
        event_store.reset(token)


class events_follow:  # noqa: N801 - used like a function
    """Let what the surrounding scope dispatches in a `with` block follow a session's transactions.

    Each event belongs to the transaction or savepoint that is open when it is dispatched, so the block may
    hold several, and a commit after its end counts as well. It holds for the whole scope: a dependency that
    opens the block lets the endpoint's events follow. In a nested block, the inner session counts. Where no
    scope is open, it does nothing.

    Parameters:
        session: Whose transactions decide; the block is a plain `with` for an `AsyncSession`, too.
    """

    def __init__(self, session: AnySession) -> None:
        self._session = _synchronous(session)
        self._entered: list[tuple[Backlog, Any]] = []

    def __enter__(self) -> None:
        backlog = _backlog()
        if backlog is None:
            return
        # In the backlog rather than in a variable of the context: FastAPI runs a sync dependency in a thread
        # with a copy of the context, and what it sets there does not reach the endpoint.
        self._entered.append((backlog, backlog.follows))
        follower, session = _Follower.of(self._session), self._session
        backlog.follows = lambda into, event: follower.take(session, into, event)

    def __exit__(self, *_: object) -> None:
        if self._entered:
            backlog, before = self._entered.pop()
            backlog.follows = before


def complete_in(session: AnySession) -> None:
    """Record in the session's transaction that this subscription has completed its event.

    Called by a subscription with `once=True` whose inbox is in the session's database: what it has written
    and the mark that it has done so are committed together, so that no crash in between can repeat it.

    Raises:
        LookupError: Outside of a subscription with `once=True`, and in one with `batch=`.
        ConfigurationError: When its inbox is not in the session's database.
    """
    claim = current_claim.get()
    if claim is None:
        raise LookupError(
            "complete_in() was called outside of a subscription with once=True, or in one with batch=."
        )
    if under_test.stand_ins is not None and isinstance(claim.inbox, MemoryInbox):
        return  # of a test's worker, which records the completion when the function has returned
    synchronous = _synchronous(session)
    if not _shares_database(synchronous, claim.inbox):
        raise ConfigurationError(
            "complete_in() needs the inbox in the session's own database: make it of the same engine, "
            "inbox=SqlStore(engine).inbox."
        )
    _Follower.of(synchronous).frame(synchronous).claims.append(claim)


class _Following(deque[Event]):
    """Stands in for a scope's backlog while an event is dispatched that is to wait for a commit."""

    def __init__(self, session: Session, backlog: Backlog) -> None:
        super().__init__()
        self._session = session
        self._backlog = backlog

    def append(self, event: Event) -> None:
        _Follower.of(self._session).take(self._session, self._backlog, event)


@dataclass(slots=True)
class _Frame:
    """What waits for the end of one transaction or savepoint."""

    events: list[tuple[Backlog, Event]] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    written: list[tuple[TaskQueueHandler, list[Event], float]] = field(default_factory=list)
    events_written: int = 0
    claims_written: int = 0

    def absorb(self, inner: _Frame) -> None:
        """Take over what a savepoint leaves when it is released."""
        self.events += inner.events
        self.claims += inner.claims


_KEY = "fastapi_events"


class _Follower:
    """Keeps what belongs to the transactions of one session, which holds it in its `info`."""

    def __init__(self, session: Session) -> None:
        self._frames: dict[SessionTransaction, _Frame] = {}
        self._committing = False
        self._committed = False
        # On this session rather than on the class: others pay nothing, and our hooks come after the
        # application's, which may dispatch.
        sa.event.listen(session, "before_commit", self._before_commit)
        sa.event.listen(session, "after_flush_postexec", self._after_flush)
        sa.event.listen(session, "after_commit", self._after_commit)
        sa.event.listen(session, "after_transaction_end", self._after_end)

    @classmethod
    def of(cls, session: Session) -> _Follower:
        """The session's follower, which begins with the first question."""
        follower = session.info.get(_KEY)
        if not isinstance(follower, cls):
            follower = session.info[_KEY] = cls(session)
        return follower

    def take(self, session: Session, backlog: Backlog, event: Event) -> None:
        """Let an event wait for the transaction that is open now."""
        call_dispatch_hooks(handlers_of(backlog.middleware_id), event)
        tell(Lifecycle.dispatched, event)
        if self._committed:  # another after_commit hook, called after this one, has begun it
            backlog.append_committed(event)
        else:
            self.frame(session).events.append((backlog, event))

    def frame(self, session: Session) -> _Frame:
        """The frame of the innermost savepoint, or of the transaction, which begins if there is none."""
        return self._frames.setdefault(_innermost(session) or session.begin(), _Frame())

    def _before_commit(self, session: Session) -> None:
        if session.get_nested_transaction() is not None:  # a savepoint's release decides nothing yet
            return
        # The application's rows go first: they take SQLite's write lock, which what begins by reading may be
        # refused at once, and hooks of the flush may dispatch.
        session.flush()
        self._committing = True
        self._write(session)

    def _after_flush(self, session: Session, _: Any) -> None:
        if self._committing:  # another hook has changed something, and may have dispatched
            self._write(session)

    def _write(self, session: Session) -> None:
        """Write into the transaction itself what has its table there."""
        transaction = session.get_transaction()
        frame = None if transaction is None else self._frames.get(transaction)
        if frame is None:
            return
        for claim in frame.claims[frame.claims_written :]:
            assert isinstance(claim.inbox, SqlInbox)  # noqa: S101 - complete_in has looked
            connection = session.connection()
            if not claim.inbox.complete_in(connection, claim.key, token=claim.token, keep=KEEP_SECONDS):
                raise StorageError(
                    "Another worker has taken this event over, so that the transaction must not be committed."
                )
            frame.claims_written += 1
        waiting = frame.events[frame.events_written :]
        for handler, outbox, events in _transactional(session, waiting):
            since = clock.monotonic()
            outbox.add_in(session.connection(), handler.entries(events))
            frame.written.append((handler, events, since))
        frame.events_written += len(waiting)
        crash_point("commit.before_commit")

    def _after_commit(self, session: Session) -> None:
        transaction = _innermost(session)
        if transaction is None:
            return
        frame = self._frames.pop(transaction, None)
        if transaction.nested:
            if frame is not None:
                self._frames.setdefault(_around(transaction), _Frame()).absorb(frame)
            return
        self._committed = True
        if frame is None:
            return
        crash_point("commit.after_commit")
        for claim in frame.claims:
            claim.recorded = True
        for handler, events, since in frame.written:
            handler.committed(events, since)
        for backlog, event in frame.events:
            backlog.append_committed(event)

    def _after_end(self, _: Session, transaction: SessionTransaction) -> None:
        if transaction.parent is None:
            self._committing = self._committed = False
        frame = self._frames.pop(transaction, None)
        if frame is not None:  # it was not committed
            for _backlog, event in frame.events:
                tell(Lifecycle.discarded, event)


def _backlog() -> Backlog | None:
    """The backlog of the surrounding scope, if one is open."""
    store = event_store.get(None)
    return store if isinstance(store, Backlog) and in_req_res_cycle.get() else None


def _synchronous(session: AnySession) -> Session:
    if isinstance(session, (scoped_session, async_scoped_session)):
        one: Session | AsyncSession = session()  # this thread's, or this task's
    else:
        one = session
    return one.sync_session if isinstance(one, AsyncSession) else one


def _innermost(session: Session) -> SessionTransaction | None:
    return session.get_nested_transaction() or session.get_transaction()


def _around(savepoint: SessionTransaction) -> SessionTransaction:
    """The savepoint or transaction in which a savepoint is; a flush in between is neither."""
    around = savepoint.parent
    while around is not None and around.parent is not None and not around.nested:
        around = around.parent
    assert around is not None  # noqa: S101 - a savepoint is in a transaction
    return around


def _transactional(
    session: Session, waiting: list[tuple[Backlog, Event]]
) -> Iterator[tuple[TaskQueueHandler, SqlOutbox, list[Event]]]:
    """The handlers that have their outbox in the session's database, each with its events."""
    found: dict[int, tuple[TaskQueueHandler, SqlOutbox, list[Event]]] = {}
    for backlog, event in waiting:
        for handler in handlers_of(backlog.middleware_id):
            if not isinstance(handler, TaskQueueHandler):
                continue
            outbox = handler.outbox
            if isinstance(outbox, SqlOutbox) and _shares_database(session, outbox):
                found.setdefault(id(handler), (handler, outbox, []))[2].append(event)
    return iter(found.values())


def _shares_database(session: Session, store: object) -> bool:
    if not isinstance(store, (SqlOutbox, SqlInbox)):
        return False
    try:
        bind = session.get_bind()
    except sa.exc.UnboundExecutionError:  # it has several, and none for what belongs to no model
        return False
    return store.shares_database(bind.engine.url)
