from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from app.database import Cat, engine
from app.events import events as handler
from app.events import store
from app.handlers import welcome
from app.web import app
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from fastapi_events.commit import events_follow
from fastapi_events.dispatcher import dispatch
from fastapi_events.scope import collect_events
from fastapi_events.testing import DispatchedEvents, InlineWorker

client = TestClient(app, raise_server_exceptions=False)


@pytest.fixture(autouse=True)
def _no_cats() -> Iterator[None]:
    yield
    with Session(engine) as session, session.begin():
        session.execute(sa.delete(Cat))


def welcomes() -> dict[str, int]:
    with Session(engine) as session:
        return {cat.name: cat.welcomes for cat in session.scalars(sa.select(Cat))}


def test_each_adopted_cat_is_welcomed_once(worker: InlineWorker) -> None:
    with worker.duplicate():
        assert client.post("/cats/tom").status_code == 200
        worker.run().assert_ran(welcome, times=1)
    assert welcomes() == {"tom": 1}


def test_who_is_refused_has_no_event(events: DispatchedEvents) -> None:
    assert client.post("/cats/spike").status_code == 422
    events.assert_not_dispatched()
    assert welcomes() == {}


def test_a_commit_that_fails_after_the_response_leaves_no_event(worker: InlineWorker) -> None:
    client.post("/cats/tom")
    client.post("/cats/tom")
    worker.run().assert_ran(welcome, times=1)


def test_what_is_committed_is_in_the_database_before_the_broker_has_it() -> None:
    """With the real handler: should the process die here, a relay finds the row."""
    with collect_events([handler]), Session(engine) as session, events_follow(session):
        session.add(Cat(name="butch"))
        dispatch("cat-adopted", {"name": "butch"})
        assert store.outbox.status().waiting == 0
        session.commit()
        assert store.outbox.status().waiting == 1
