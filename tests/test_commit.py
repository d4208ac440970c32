"""Events that follow a transaction: they exist if and only if it was committed."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import pytest
import sqlalchemy as sa
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session, sessionmaker

from fastapi_events.commit import complete_in, dispatch_on_commit, events_follow
from fastapi_events.dispatcher import dispatch
from fastapi_events.errors import ConfigurationError, StorageError, StorageFull, UnserialisablePayload
from fastapi_events.handlers.task_queue.messages import message_id
from fastapi_events.handlers.task_queue.once import Claim, current_claim
from fastapi_events.middleware import EventHandlerASGIMiddleware
from fastapi_events.scope import collect_events
from fastapi_events.storage.base import DONE, NEW, Busy
from fastapi_events.storage.memory import MemoryInbox
from fastapi_events.storage.sqlalchemy import SqlStore
from fastapi_events.typing import Event
from tests.asgi import call
from tests.handlers.task_queue.broker import ListHandler
from tests.processes import until
from tests.recording import Diary, Recorder
from tests.storage.conftest import postgres_url, schema_of_its_own


class Base(DeclarativeBase):
    pass


class Cat(Base):
    __tablename__ = "cats"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Collar(Base):
    """Must belong to a cat by the time the transaction is committed."""

    __tablename__ = "collars"

    id: Mapped[int] = mapped_column(primary_key=True)
    cat: Mapped[int] = mapped_column(sa.ForeignKey("cats.id", deferrable=True, initially="DEFERRED"))


class World:
    """A database with cats and an outbox, a queue whose outbox that is, and a handler that has none."""

    def __init__(self, sync_engine: sa.Engine, engine: Any) -> None:
        self.sync_engine = sync_engine
        self.engine = engine
        Base.metadata.create_all(sync_engine)
        self.store = SqlStore(engine)
        self.store.setup()
        self.queue = ListHandler(outbox=self.store.outbox, relay=False)
        self.recorder = Recorder()
        self.handlers = [self.recorder, self.queue]

    def session(self) -> Session:
        return Session(self.sync_engine)

    def async_session(self) -> AsyncSession:
        return AsyncSession(self.engine)

    @property
    def sent(self) -> list[str]:
        """What the queue's broker has got."""
        return [each["type"] for message in self.queue.sent for each in json.loads(message.argument)]

    @property
    def kept(self) -> list[str]:
        """What is in the outbox."""
        return [json.loads(entry.envelope)["type"] for entry in self.store.outbox.list()]

    @property
    def cats(self) -> list[str]:
        with self.session() as session:
            return list(session.scalars(sa.select(Cat.name).order_by(Cat.id)))


def on_sqlite(engine: sa.Engine) -> sa.Engine:
    """Let SQLite begin its transactions when SQLAlchemy does, and check foreign keys."""

    @sa.event.listens_for(engine, "connect")
    def configure(connection: Any, _: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


POSTGRES = pytest.param("postgresql+psycopg", marks=pytest.mark.postgres)
ASYNCPG = pytest.param("postgresql+asyncpg", marks=pytest.mark.postgres)


@pytest.fixture(params=["sqlite", POSTGRES])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        if request.param == "sqlite":
            # A COMMIT that fails leaves SQLite in the transaction: the connection must not go back to a pool.
            url = f"sqlite:///{tmp_path / 'cats.db'}"
            engine = on_sqlite(sa.create_engine(url, poolclass=sa.NullPool))
        else:
            schema = stack.enter_context(schema_of_its_own())
            engine = sa.create_engine(f"{postgres_url()}?options=-csearch_path%3D{schema}")
        stack.callback(engine.dispose)
        world = World(engine, engine)
        stack.callback(world.store.close)
        yield world


@pytest.fixture(params=["sqlite+aiosqlite", POSTGRES, ASYNCPG])
def async_world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        if request.param == "sqlite+aiosqlite":
            engine = sa.create_engine(f"sqlite:///{tmp_path / 'cats.db'}")
            asynchronous = create_async_engine(
                f"sqlite+aiosqlite:///{tmp_path / 'cats.db'}", poolclass=sa.NullPool
            )
        else:
            schema = stack.enter_context(schema_of_its_own())
            url = f"{postgres_url()}?options=-csearch_path%3D{schema}"
            engine = sa.create_engine(url)
            if request.param == "postgresql+asyncpg":
                asynchronous = create_async_engine(
                    postgres_url("asyncpg"), poolclass=sa.NullPool,
                    connect_args={"server_settings": {"search_path": schema}},
                )  # fmt: skip
            else:
                asynchronous = create_async_engine(url, poolclass=sa.NullPool)
        stack.callback(engine.dispose)
        world = World(engine, asynchronous)
        stack.callback(world.store.close)
        yield world


def adopt(session: Session | AsyncSession, name: str) -> None:
    """Add a cat, and say so."""
    session.add(Cat(name=name))
    dispatch_on_commit(session, f"{name}-adopted", payload={"name": name})


# The end of a transaction


def test_what_is_committed_is_dispatched(world: World, diary: Diary) -> None:
    with collect_events(world.handlers):
        with world.session() as session:
            adopt(session, "tom")
            assert world.kept == []
            session.commit()
        assert world.recorder.events == []  # handlers wait for the end of the scope, as ever

    assert world.recorder.names == world.sent == ["tom-adopted"]
    assert world.kept == []  # the broker has confirmed it
    assert [name for name, _ in diary.of("dispatched")] == ["tom-adopted"]


@pytest.mark.parametrize("end", ["rollback", "close"])
def test_what_is_not_committed_never_was(world: World, diary: Diary, end: str) -> None:
    world.queue.refusing = ConnectionError("so that what exists would be kept")

    with collect_events(world.handlers), world.session() as session:
        adopt(session, "tom")
        session.flush()
        getattr(session, end)()

    assert world.recorder.events == []
    assert world.kept == world.cats == []
    assert [name for name, _ in diary.of("discarded")] == ["tom-adopted"]


def test_the_event_is_written_in_the_transaction_itself(world: World) -> None:
    seen: list[list[str]] = []
    with collect_events(world.handlers), world.session() as session:
        sa.event.listen(session, "after_commit", lambda _: seen.append(world.kept))
        adopt(session, "tom")
        session.commit()

    assert seen == [["tom-adopted"]]  # before anything else could happen


def test_a_commit_that_fails_leaves_no_event(world: World) -> None:
    world.queue.refusing = ConnectionError("so that what exists would be kept")
    with collect_events(world.handlers), world.session() as session:
        adopt(session, "tom")
        session.add(Collar(cat=99))
        session.flush()  # the constraint is deferred

        with pytest.raises(sa.exc.IntegrityError):
            session.commit()
        session.rollback()

    assert world.recorder.events == []
    assert world.kept == world.cats == []


def test_a_flush_that_fails_leaves_no_event(world: World) -> None:
    with collect_events(world.handlers), world.session() as session:
        adopt(session, "tom")
        session.add(Cat(id=7, name="one"))
        session.flush()
        session.expunge_all()
        session.add(Cat(id=7, name="another one"))
        with pytest.raises(sa.exc.IntegrityError):
            session.commit()
        session.rollback()
        dispatch_on_commit(session, "nothing-adopted")
        session.commit()

    assert world.recorder.names == ["nothing-adopted"]


def test_an_event_needs_no_statement_beside_it(world: World) -> None:
    with collect_events(world.handlers), world.session() as session:
        dispatch_on_commit(session, "nothing-happened")
        session.commit()

    assert world.recorder.names == world.sent == ["nothing-happened"]


def test_each_transaction_of_a_session_has_its_own_events(world: World) -> None:
    with collect_events(world.handlers), world.session() as session:
        adopt(session, "tom")
        session.commit()
        adopt(session, "jerry")
        session.rollback()
        with session.begin():
            adopt(session, "spike")

    assert world.recorder.names == ["tom-adopted", "spike-adopted"]
    assert world.cats == ["tom", "spike"]


def test_two_sessions_at_once_decide_each_for_itself(world: World) -> None:
    with collect_events(world.handlers), world.session() as one, world.session() as other:
        adopt(one, "tom")
        dispatch_on_commit(other, "other-session")
        one.commit()
        other.rollback()

    assert world.recorder.names == ["tom-adopted"]


def test_scoped_sessions_are_sessions_too(world: World) -> None:
    local = scoped_session(sessionmaker(world.sync_engine))
    with collect_events(world.handlers):
        dispatch_on_commit(local, "cat-seen")
        local.commit()
    local.remove()

    assert world.recorder.names == ["cat-seen"]


def test_sessions_in_threads(world: World) -> None:
    def work(number: int) -> None:
        with collect_events(world.handlers), world.session() as session:
            adopt(session, f"cat-{number}")
            session.commit() if number % 2 else session.rollback()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    names = [f"cat-{number}-adopted" for number in (1, 3, 5, 7)]
    assert sorted(world.recorder.names) == sorted(world.sent) == names


# Savepoints


def test_a_savepoint_that_is_released_hands_its_events_on(world: World) -> None:
    with collect_events(world.handlers), world.session() as session:
        adopt(session, "tom")
        with session.begin_nested():
            adopt(session, "jerry")
            with session.begin_nested():
                adopt(session, "tuffy")
        adopt(session, "spike")
        session.commit()

    names = ["tom", "jerry", "tuffy", "spike"]
    assert world.cats == names
    assert world.recorder.names == world.sent == [f"{name}-adopted" for name in names]


@pytest.mark.parametrize("how", ["session", "transaction"])
def test_a_commit_releases_the_savepoints_that_are_open(world: World, how: str) -> None:
    with collect_events(world.handlers), world.session() as session:
        outer = session.begin()
        adopt(session, "tom")
        session.begin_nested()
        adopt(session, "jerry")
        (session if how == "session" else outer).commit()

    assert world.cats == ["tom", "jerry"]
    assert world.recorder.names == world.sent == ["tom-adopted", "jerry-adopted"]


def test_a_savepoint_that_is_rolled_back_forgets_only_its_own(world: World) -> None:
    with collect_events(world.handlers), world.session() as session:
        adopt(session, "tom")
        with session.begin_nested():
            adopt(session, "jerry")
            inner = session.begin_nested()
            adopt(session, "tuffy")
            inner.rollback()
        session.commit()

    assert world.cats == ["tom", "jerry"]
    assert world.recorder.names == world.sent == ["tom-adopted", "jerry-adopted"]


def test_a_released_savepoint_inside_of_one_that_is_rolled_back(world: World) -> None:
    with collect_events(world.handlers), world.session() as session:
        outer = session.begin_nested()
        with session.begin_nested():
            adopt(session, "tuffy")
        outer.rollback()
        adopt(session, "tom")
        session.commit()

    assert world.recorder.names == world.sent == ["tom-adopted"]


def test_a_transaction_that_is_rolled_back_takes_its_released_savepoints_along(world: World) -> None:
    with collect_events(world.handlers), world.session() as session:
        with session.begin_nested():
            adopt(session, "tom")
        session.rollback()
        session.commit()

    assert world.recorder.events == []


# dispatch() that follows


def test_dispatch_follows_the_session_in_its_block(world: World) -> None:
    with collect_events(world.handlers), world.session() as session:
        with events_follow(session):
            dispatch("cat-forgotten")
            session.rollback()
            dispatch("cat-kept")
        dispatch("cat-passing")  # the block is over
        session.commit()

    assert sorted(world.recorder.names) == ["cat-kept", "cat-passing"]
    assert world.recorder.names == world.sent


def test_in_nested_blocks_the_inner_session_counts(world: World) -> None:
    with collect_events(world.handlers), world.session() as outer, world.session() as inner:
        with events_follow(outer):
            with events_follow(inner):
                dispatch("inner")
            dispatch("outer")
        outer.commit()
        inner.rollback()

    assert world.recorder.names == ["outer"]


def test_what_hooks_of_the_last_flush_dispatch_is_in_the_transaction_too(world: World) -> None:
    seen: list[list[str]] = []

    def on_insert(mapper: Any, connection: Any, cat: Cat) -> None:
        dispatch("cat-inserted")

    sa.event.listen(Cat, "after_insert", on_insert)
    try:
        with collect_events(world.handlers), world.session() as session, events_follow(session):
            sa.event.listen(session, "after_commit", lambda _: seen.append(world.kept))
            session.add(Cat(name="tom"))
            session.commit()
    finally:
        sa.event.remove(Cat, "after_insert", on_insert)

    assert seen == [["cat-inserted"]]
    assert world.sent == ["cat-inserted"]


def test_what_is_dispatched_by_a_hook_of_the_commit_exists_as_well(world: World) -> None:
    with collect_events(world.handlers), world.session() as session, events_follow(session):
        sa.event.listen(session, "after_commit", lambda _: dispatch("cats-committed"))
        dispatch("cat-fed")
        session.commit()
        session.rollback()

    assert world.recorder.names == world.sent == ["cat-fed", "cats-committed"]


def test_outside_of_a_scope_there_is_nothing_to_follow(world: World) -> None:
    with world.session() as session:
        with pytest.raises(LookupError, match="no scope is open"):
            dispatch_on_commit(session, "cat-fed")
        with events_follow(session), pytest.raises(LookupError):
            dispatch("cat-fed")


def test_a_bad_payload_is_refused_at_its_line(world: World) -> None:
    with collect_events(world.handlers), world.session() as session:
        with pytest.raises(UnserialisablePayload):
            dispatch_on_commit(session, "cat-fed", payload={"fish": object()})
        session.commit()

    assert world.recorder.events == []


def test_later_changes_to_a_payload_change_nothing(world: World) -> None:
    with collect_events([world.queue]), world.session() as session:
        payload = {"fish": 1}
        dispatch_on_commit(session, "cat-fed", payload=payload)
        payload["fish"] = 2
        session.commit()

    assert json.loads(world.queue.sent[0].argument)[0]["data"] == {"fish": 1}


# Committed means that it exists


def test_no_flush_policy_refuses_what_is_committed(world: World, diary: Diary) -> None:
    with pytest.raises(RuntimeError), collect_events(world.handlers), world.session() as session:
        adopt(session, "tom")
        session.commit()
        dispatch("cat-lost")
        adopt(session, "jerry")
        raise RuntimeError("after the commit")

    assert world.recorder.names == world.sent == ["tom-adopted"]
    assert {name for name, _ in diary.of("discarded")} == {"cat-lost", "jerry-adopted"}


def test_a_broker_that_is_away_leaves_the_event_to_the_relay(world: World, diary: Diary) -> None:
    world.queue.refusing = ConnectionError("away")
    with collect_events(world.handlers), world.session() as session:
        adopt(session, "tom")
        session.commit()

    assert world.recorder.names == world.kept == ["tom-adopted"]  # siblings are independent of one another
    assert diary.of("lost") == []


def test_what_the_outbox_has_no_room_for_is_not_committed(world: World) -> None:
    small = SqlStore(world.engine, max_entries=1)
    queue = ListHandler(outbox=small.outbox, relay=False)
    with collect_events([world.recorder, queue]), world.session() as session:
        adopt(session, "tom")
        adopt(session, "jerry")
        with pytest.raises(StorageFull):
            session.commit()
    small.close()

    assert world.cats == world.recorder.events == queue.sent == []


def test_an_event_that_is_not_due_is_left_to_the_relay(world: World, diary: Diary) -> None:
    with collect_events([world.queue]), world.session() as session:
        dispatch_on_commit(session, "cat-woke", delay=3_600)
        session.commit()

    assert world.sent == []
    assert world.kept == ["cat-woke"]
    assert [name for name, _ in diary.of("stored")] == ["cat-woke"]


def test_an_outbox_in_another_database_gets_nothing_in_the_transaction(world: World, tmp_path: Path) -> None:
    elsewhere = SqlStore(f"sqlite:///{tmp_path / 'elsewhere.db'}")
    elsewhere.setup()
    queue = ListHandler(outbox=elsewhere.outbox, relay=False)
    with collect_events([queue]), world.session() as session:
        adopt(session, "tom")
        session.commit()
        assert elsewhere.outbox.list() == []
    elsewhere.close()

    assert len(queue.sent) == 1


def test_a_commit_after_the_end_of_the_scope_is_not_too_late(world: World) -> None:
    with collect_events(world.handlers):
        session = world.session()
        adopt(session, "tom")

    session.commit()

    until(lambda: world.sent == world.recorder.names == ["tom-adopted"], "the late event's flush")
    until(lambda: world.kept == [], "its removal from the outbox")
    session.close()


# AsyncSession


def test_async_sessions(async_world: World) -> None:
    seen: list[list[str]] = []

    async def scope() -> None:
        async with collect_events(async_world.handlers), async_world.async_session() as session:
            sa.event.listen(session.sync_session, "after_commit", lambda _: seen.append(async_world.kept))
            adopt(session, "tom")
            await session.commit()
            adopt(session, "jerry")
            await session.rollback()
            adopt(session, "spike")
            async with session.begin_nested():
                adopt(session, "tyke")
            nested = await session.begin_nested()
            adopt(session, "tuffy")
            await nested.rollback()
            with events_follow(session):
                dispatch("all-adopted")
            await session.commit()

    asyncio.run(scope())

    names = ["tom-adopted", "spike-adopted", "tyke-adopted", "all-adopted"]
    assert async_world.recorder.names == async_world.sent == names
    assert ["tom-adopted"] in seen
    assert async_world.cats == ["tom", "spike", "tyke"]
    assert async_world.kept == []


def test_a_scoped_async_session(async_world: World) -> None:
    async def scope() -> None:
        make = async_sessionmaker(async_world.engine)
        session = async_scoped_session(make, scopefunc=asyncio.current_task)
        async with collect_events(async_world.handlers):
            dispatch_on_commit(session, "cat-seen")
            await session.commit()
            await session.remove()

    asyncio.run(scope())

    assert async_world.sent == ["cat-seen"]


# FastAPI


def application(
    world: World, commit: Literal["request", "function"] = "request", **middleware: Any
) -> FastAPI:
    """A dependency commits when the response is out, as FastAPI runs its exit code then, or before."""
    app = FastAPI()
    app.add_middleware(EventHandlerASGIMiddleware, handlers=world.handlers, **middleware)

    def get_session() -> Iterator[Session]:
        with world.session() as session, events_follow(session):
            yield session
            session.commit()

    @app.post("/cats/{name}")
    def post(name: str, session: Session = Depends(get_session, scope=commit)) -> str:
        session.add(Cat(name=name))
        dispatch(f"{name}-adopted")
        if name == "spike":
            raise RuntimeError("dogs are no cats")
        if name == "tuffy":
            session.add(Collar(cat=99))
            session.flush()
        return "adopted"

    return app


@pytest.mark.parametrize("policy", ["always", "success"])
@pytest.mark.parametrize("commit", ["request", "function"])
def test_a_dependency_that_commits(world: World, policy: str, commit: Any) -> None:
    client = TestClient(application(world, commit, flush_when=policy))

    assert client.post("/cats/tom").json() == "adopted"

    assert world.recorder.names == world.sent == ["tom-adopted"]
    assert world.cats == ["tom"]
    assert world.kept == []


@pytest.mark.parametrize(
    ("name", "error"), [("spike", RuntimeError), ("tuffy", sa.exc.IntegrityError)], ids=["endpoint", "commit"]
)
def test_an_error_leaves_neither_cat_nor_event(world: World, name: str, error: type[Exception]) -> None:
    world.queue.refusing = ConnectionError("so that what exists would be kept")
    client = TestClient(application(world))

    with pytest.raises(error):
        client.post(f"/cats/{name}")

    assert world.recorder.events == []
    assert world.cats == world.kept == []


def test_the_response_is_out_before_the_commit_that_fails(world: World) -> None:
    app = application(world)

    async def request() -> list[Any]:
        scope = {
            "type": "http", "method": "POST", "path": "/cats/tuffy", "raw_path": b"/cats/tuffy",
            "query_string": b"", "headers": [], "http_version": "1.1", "scheme": "http",
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "asgi": {"version": "3.0"},
            "root_path": "",
        }  # fmt: skip
        out: list[Any] = []

        async def watched(scope: Any, receive: Any, send: Any) -> None:
            async def keep(message: Any) -> None:
                out.append(message["type"])
                await send(message)

            await app(scope, receive, keep)

        with pytest.raises(sa.exc.IntegrityError):
            await call(watched, scope)
        return out

    assert asyncio.run(request()) == ["http.response.start", "http.response.body"]
    assert world.recorder.events == world.sent == []


def test_an_async_dependency_that_commits_after_the_response(async_world: World) -> None:
    app = FastAPI()
    app.add_middleware(EventHandlerASGIMiddleware, handlers=async_world.handlers)

    async def get_session() -> AsyncIterator[AsyncSession]:
        async with async_world.async_session() as session:
            with events_follow(session):
                yield session
                await session.commit()

    @app.post("/cats/{name}")
    async def post(name: str, session: AsyncSession = Depends(get_session)) -> str:
        session.add(Cat(name=name))
        dispatch(f"{name}-adopted")
        return "adopted"

    assert TestClient(app).post("/cats/tom").json() == "adopted"

    assert async_world.recorder.names == async_world.sent == ["tom-adopted"]
    assert async_world.cats == ["tom"]


# A process that dies


@pytest.mark.parametrize(
    ("point", "committed"), [("commit.before_commit", False), ("commit.after_commit", True)]
)
def test_a_killed_process_leaves_both_or_neither(world: World, point: str, committed: bool) -> None:
    url = world.sync_engine.url.render_as_string(hide_password=False)
    code = f"""
        import sqlalchemy as sa
        from sqlalchemy.orm import Session
        from fastapi_events.commit import dispatch_on_commit
        from fastapi_events.scope import collect_events
        from fastapi_events.storage.sqlalchemy import SqlStore
        from tests.handlers.task_queue.broker import ListHandler

        engine = sa.create_engine({url!r})
        queue = ListHandler(outbox=SqlStore(engine).outbox, relay=False)
        with collect_events([queue]), Session(engine) as session:
            session.execute(sa.text("INSERT INTO cats (name) VALUES ('tom')"))
            dispatch_on_commit(session, "tom-adopted")
            session.commit()
    """
    died = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "FASTAPI_EVENTS_CRASH_AT": point, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert died.returncode == 137, died.stderr
    assert world.cats == (["tom"] if committed else [])
    assert world.kept == (["tom-adopted"] if committed else [])
    if committed:
        # A minute later, to the relay: what the process held for itself is free by then.
        later = SqlStore(world.engine, clock=lambda: time.time() + 60)
        heir = ListHandler(outbox=later.outbox, relay=False)
        assert heir.relay_thread().step() == 1
        assert [json.loads(each.argument)[0]["type"] for each in heir.sent] == ["tom-adopted"]
        later.close()


# Completions in the function's own transaction


@pytest.fixture
def kitchen(world: World) -> ListHandler:
    return ListHandler(inbox=world.store.inbox, outbox=world.store.outbox, relay=False)


def test_a_completion_is_committed_with_what_the_function_wrote(world: World, kitchen: ListHandler) -> None:
    tokens: list[str] = []

    @kitchen.register(event_name="cat-fed", name="feed", once=True)
    def feed(event: Event) -> None:
        with world.session() as session:
            claim = current_claim.get()
            assert claim is not None
            tokens.append(claim.token)
            complete_in(session)
            session.add(Cat(name="tom"))
            session.commit()
        # The process could die here without the function running again.
        assert world.store.inbox.begin(claim.key, token="another", lease=1) is DONE

    with collect_events([kitchen]):
        dispatch("cat-fed")
    message = kitchen.sent[0]
    for _ in range(2):
        kitchen.sent.append(message)
    kitchen.run()

    assert len(tokens) == 1
    assert world.cats == ["tom"]


def test_a_completion_that_is_rolled_back_never_was(world: World, kitchen: ListHandler) -> None:
    @kitchen.register(event_name="cat-fed", name="feed", once=True)
    def feed(event: Event) -> None:
        with world.session() as session:
            complete_in(session)
            session.add(Cat(name="tom"))
            session.rollback()
        raise RuntimeError("no fish")

    event = Event("cat-fed")
    asyncio.run(kitchen.handle(event))

    with pytest.raises(RuntimeError, match="no fish"):
        kitchen.run()

    assert world.store.inbox.begin(message_id(event.id, "feed"), token="next", lease=1) is NEW


def test_who_has_lost_the_event_to_another_does_not_commit(world: World) -> None:
    inbox = world.store.inbox
    assert inbox.begin("key", token="other", lease=60) is NEW
    token = current_claim.set(Claim(inbox, "key", "me"))
    try:
        with world.session() as session:
            complete_in(session)
            session.add(Cat(name="tom"))
            with pytest.raises(StorageError, match="taken this event over"):
                session.commit()
    finally:
        current_claim.reset(token)

    assert world.cats == []
    assert isinstance(inbox.begin("key", token="me", lease=1), Busy)


def test_what_a_subscription_dispatches_and_commits_outlives_its_failure(
    world: World, kitchen: ListHandler
) -> None:
    @kitchen.register(event_name="cat-fed", name="feed")
    def feed(event: Event) -> None:
        with world.session() as session:
            adopt(session, "tom")
            session.commit()
        raise RuntimeError("after the commit")

    asyncio.run(kitchen.handle(Event("cat-fed")))
    with pytest.raises(RuntimeError, match="after the commit"):
        kitchen.run()

    assert [json.loads(each.argument)[0]["type"] for each in kitchen.sent] == ["tom-adopted"]
    assert world.kept == []


def test_a_batch_cannot_complete_in_a_transaction(world: World, kitchen: ListHandler) -> None:
    refused: list[str] = []

    @kitchen.register(event_name="cat-fed", name="feed", once=True, batch=10, batch_window=0.0)
    def feed(events: list[Event]) -> None:
        with world.session() as session:
            try:
                complete_in(session)
            except LookupError as error:
                refused.append(str(error))

    asyncio.run(kitchen.handle(Event("cat-fed")))
    kitchen.run()

    assert len(refused) == 1


def test_a_completion_needs_a_claim_and_its_inbox_in_the_same_database(world: World) -> None:
    with world.session() as session:
        with pytest.raises(LookupError, match="once=True"):
            complete_in(session)
        token = current_claim.set(Claim(MemoryInbox(), "key", "me"))
        try:
            with pytest.raises(ConfigurationError, match="same engine"):
                complete_in(session)
        finally:
            current_claim.reset(token)
