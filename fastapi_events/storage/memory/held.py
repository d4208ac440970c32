"""Something that one token at a time may hold."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi_events.storage.base import Busy, Hold


@dataclass(slots=True)
class Held:
    """Something that is held under one token at a time."""

    token: str | None = None
    hold: Hold | None = None

    def is_held(self, now: float) -> bool:
        return self.hold is not None and self.hold.lasts(now)

    def is_held_by_another(self, token: str, now: float) -> bool:
        return self.token not in (None, token) and self.is_held(now)

    def take(self, token: str | None, now: float, seconds: float) -> None:
        self.token, self.hold = token, Hold(now, now + seconds)

    def let_go(self) -> None:
        self.token = self.hold = None

    def busy(self, now: float) -> Busy:
        return Busy(self.hold.until - now if self.hold is not None else 0.0)
