"""The database: cats, and the dependency that commits when the response is out."""

import os
from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from fastapi_events.commit import events_follow

engine = sa.create_engine(os.environ.get("DATABASE_URL", "sqlite:///cats.db"))  # postgresql://… in production


class Base(DeclarativeBase):
    pass


class Cat(Base):
    __tablename__ = "cats"

    name: Mapped[str] = mapped_column(primary_key=True)
    welcomes: Mapped[int] = mapped_column(default=0)


def get_session() -> Iterator[Session]:
    """A session whose events exist once it is committed."""
    with Session(engine) as session, events_follow(session):
        yield session
        session.commit()


Base.metadata.create_all(engine)
