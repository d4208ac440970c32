"""The web process: what it dispatches follows the session of the request."""

from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from sqlalchemy.orm import Session

from fastapi_events.dispatcher import dispatch
from fastapi_events.middleware import EventHandlerASGIMiddleware

from .database import Cat, get_session
from .events import events

app = FastAPI(title="Adoptions")
app.add_middleware(EventHandlerASGIMiddleware, handlers=[events])


@app.post("/cats/{name}")
def adopt(name: str, session: Annotated[Session, Depends(get_session)]) -> str:
    """Adopt a cat. That its name is taken shows when it is committed, after the response."""
    session.add(Cat(name=name))
    dispatch("cat-adopted", {"name": name})
    if name == "spike":
        raise HTTPException(422, "spike is a dog")
    return "adopted"
