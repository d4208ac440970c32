"""The options of `dispatch()`: headers, delay and ordering key."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from fastapi_events import clock
from fastapi_events.errors import ConfigurationError
from fastapi_events.event import Event

ATTRIBUTES: Final = frozenset(
    ("specversion", "id", "source", "type", "time", "datacontenttype", "data", "data_base64")
)  # fmt: skip
"""What CloudEvents itself names, so that no header can be called so."""

_LONGEST_KEY = 255


class DispatchOptions(NamedTuple):
    """What an event is given beside its name and payload.

    Parameters:
        headers: Travel beside the payload.
        due: When the event is to be handled, at the earliest.
        ordering_key: Whose events are handled one after the other.
    """

    headers: Mapping[str, Any] | None = None
    due: datetime | None = None
    ordering_key: str | None = None

    def put_on(self, event: Event) -> None:
        """Give an event what it shall have."""
        if self.headers:
            event.headers.update(self.headers)
        if self.due is not None:
            event.due = self.due
        if self.ordering_key is not None:
            event.ordering_key = self.ordering_key

    @classmethod
    def of(
        cls,
        headers: Mapping[str, str] | None,
        delay: float | timedelta | None,
        eta: datetime | None,
        ordering_key: str | None,
    ) -> DispatchOptions:
        """Check the options that `dispatch()` was given.

        Raises:
            ConfigurationError: When something cannot be what it is, or does not go with something else.
        """
        if headers is not None:
            check_header_names(headers)
        due = _due(delay, eta)
        if ordering_key is not None:
            if not isinstance(ordering_key, str) or not 0 < len(ordering_key) <= _LONGEST_KEY:
                raise ConfigurationError(
                    f"ordering_key={ordering_key!r}: expected a string of 1 to {_LONGEST_KEY} characters."
                )
            if due is not None:
                raise ConfigurationError(
                    "An event with an ordering key cannot be delayed: those behind it would wait, too."
                )
        return cls(headers, due, ordering_key)


def check_header_names(headers: Mapping[str, str]) -> Mapping[str, str]:
    """The headers, if CloudEvents allows them as extension attributes.

    Raises:
        ConfigurationError: When a name is taken or has other characters than a-z and 0-9, or a value is no
            string, number or boolean; or when they are no mapping.
    """
    if not isinstance(headers, Mapping):
        raise ConfigurationError(f"headers={headers!r}: expected a mapping, such as {{'tenantid': 'shop'}}.")
    for name, value in headers.items():
        if name in ATTRIBUTES or not (name.isascii() and name.isalnum() and name == name.lower()):
            raise ConfigurationError(
                f"header {name!r}: names are lower-case letters and digits, and none of {sorted(ATTRIBUTES)}."
            )
        if not isinstance(value, (str, int, bool)):
            raise ConfigurationError(f"header {name!r}: a {type(value).__name__} cannot be a header.")
    return headers


def _due(delay: float | timedelta | None, eta: datetime | None) -> datetime | None:
    if delay is None:
        if eta is not None and (not isinstance(eta, datetime) or eta.tzinfo is None):
            raise ConfigurationError(f"eta={eta!r}: expected a datetime with a time zone.")
        return eta
    if eta is not None:
        raise ConfigurationError("dispatch() was given delay= and eta=: one of them says when.")
    try:
        waiting = delay if isinstance(delay, timedelta) else timedelta(seconds=delay)
        if waiting < timedelta(0):
            raise ValueError
        return clock.now() + waiting
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigurationError(
            f"delay={delay!r}: expected a timedelta or a number of seconds, 0 or more."
        ) from error
