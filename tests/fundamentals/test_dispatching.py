"""Fundamentals: a request dispatches events; they are handled after its response."""

from fastapi import FastAPI
from fastapi.testclient import TestClient

from fastapi_events.dispatcher import dispatch
from fastapi_events.handlers.local import LocalHandler
from fastapi_events.middleware import EventHandlerASGIMiddleware
from fastapi_events.testing import InlineWorker
from fastapi_events.typing import Event


def test_a_request_causes_work_after_its_response() -> None:
    # Given an application whose middleware has a handler,
    handler = LocalHandler()
    app = FastAPI()
    app.add_middleware(EventHandlerASGIMiddleware, handlers=[handler])
    fed: list[int] = []

    # a function that listens to events by a shell-style pattern,
    @handler.register(event_name="cat-*")
    async def feed(event: Event) -> None:
        _name, payload = event
        fed.append(payload["cat_id"])

    # and an endpoint that dispatches one and does not wait for it,
    @app.post("/cats/{cat_id}/fish", status_code=202)
    def request_fish(cat_id: int) -> None:
        dispatch("cat-requested-a-fish", payload={"cat_id": cat_id})
        assert fed == []

    # When a client asks,
    with InlineWorker(handler) as worker:
        response = TestClient(app).post("/cats/7/fish")
        run = worker.run()

    # Then it has its answer, and the cat its fish.
    assert response.status_code == 202
    assert fed == [7]
    run.assert_ran(feed, times=1)
    run.assert_dispatched_once("cat-requested-a-fish", cat_id=7)
