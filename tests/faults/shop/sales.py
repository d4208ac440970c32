"""A table of the shop's own, in the database of the outbox."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from fastapi_events.commit import events_follow
from tests.faults.shop.notes import FOLDER

engine = sa.create_engine(f"sqlite:///{FOLDER / 'events.db'}", connect_args={"timeout": 30})


class Base(DeclarativeBase):
    pass


class Sale(Base):
    """An order that was paid for."""

    __tablename__ = "sales"

    number: Mapped[int] = mapped_column(primary_key=True)


def get_session() -> Iterator[Session]:
    """A session whose events exist once it is committed, after the response."""
    with Session(engine) as session, events_follow(session):
        yield session
        session.commit()
