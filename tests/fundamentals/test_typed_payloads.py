"""Fundamentals: models name events, validate payloads, and are rebuilt where they are asked for."""

import datetime

from pydantic import BaseModel

from fastapi_events.handlers.local import LocalHandler
from fastapi_events.testing import InlineWorker
from fastapi_events.typing import Event


class CatWokeUp(BaseModel):
    __event_name__ = "cat-woke-up"

    cat_id: int
    at: datetime.datetime


def test_a_model_is_dispatched_and_arrives_as_one() -> None:
    # Given two functions that listen to the model's event, of which one asks for the model,
    handler = LocalHandler()
    heard: list[object] = []

    @handler.register(CatWokeUp)
    def greet(woke: CatWokeUp) -> None:
        heard.append(woke)

    @handler.register(event_name="cat-woke-up")
    def note(event: Event) -> None:
        heard.append(event.payload)

    # When it is dispatched by itself,
    woke = CatWokeUp(cat_id=7, at=datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC))
    with InlineWorker(handler) as worker:
        worker.emit(woke)

    # Then one gets the model and the other plain data.
    assert heard == [woke, {"cat_id": 7, "at": woke.at}]
