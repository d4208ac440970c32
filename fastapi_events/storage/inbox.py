"""The inbox: what subscriptions have completed, and who is at what."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, TypeAlias

from fastapi_events.storage.base import Answer, Busy, Store

Begun: TypeAlias = Literal[Answer.NEW, Answer.DONE] | Busy


class Inbox(Store, ABC):
    """What subscriptions have completed, and who is at what.

    A key names the work of one subscription on one event.
    """

    @abstractmethod
    def begin(self, key: str, *, token: str, lease: float) -> Begun:
        """Begin to work, unless it is done or somebody else is at it; the same token may begin again.

        Parameters:
            token: A token of this attempt's own.
            lease: Seconds after which another may begin.
        """

    @abstractmethod
    def extend(self, key: str, *, token: str, lease: float) -> bool:
        """Hold it for another `lease` seconds from now; False where somebody else has it."""

    @abstractmethod
    def complete(self, key: str, *, token: str, keep: float) -> bool:
        """Note that the subscription has completed the event. Repeating it is harmless.

        Parameters:
            keep: Seconds for which that is remembered.

        Returns:
            False where the lease had gone to another; nothing is changed then.
        """

    @abstractmethod
    def release(self, key: str, *, token: str) -> None:
        """Give the event back after a failure: any worker may begin it again at once."""

    @abstractmethod
    def expire(self) -> int:
        """Forget what need not be remembered any longer, and count it: 0 where the server does it unasked."""
