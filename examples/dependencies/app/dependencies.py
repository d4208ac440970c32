"""What endpoints and functions ask for."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated

from fastapi import Depends

from fastapi_events.typing import Event


@dataclass(frozen=True)
class Settings:
    sender: str = "shop@example.com"


@cache
def get_settings() -> Settings:
    return Settings()


@dataclass
class Mailer:
    """A connection to a mail server, for the time of an event."""

    sender: str
    sent: list[str] = field(default_factory=list)
    is_open: bool = True

    async def send(self, text: str) -> None:
        self.sent.append(f"{self.sender}: {text}")


async def get_mailer(settings: Annotated[Settings, Depends(get_settings)]) -> AsyncIterator[Mailer]:
    mailer = Mailer(settings.sender)
    try:
        yield mailer
    finally:
        mailer.is_open = False


def get_number(event: Event) -> int:
    """A dependency may look at the event, too."""
    number: int = event.payload["number"]
    return number
