"""What the worker runs."""

from sqlalchemy.orm import Session

from fastapi_events.commit import complete_in
from fastapi_events.typing import Event

from .database import Cat, engine
from .events import broker, events

__all__ = ["broker", "welcome"]  # `dramatiq` looks for the broker here


@events.register(event_name="cat-adopted", once=True)
def welcome(event: Event) -> None:
    """Welcome a cat: what is written and that it has been done are committed together."""
    with Session(engine) as session, session.begin():
        session.get_one(Cat, event.payload["name"]).welcomes += 1
        complete_in(session)
