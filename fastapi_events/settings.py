"""The settings of workers and of the demo, read from the environment."""

from __future__ import annotations

import os
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, field_validator

from fastapi_events import checks
from fastapi_events.constants import BROKER_URL_ENV_VAR, DEFAULT_QUEUE, DEFAULT_SOURCE

_PREFIX = "FASTAPI_EVENTS_"
_BROKERS = ("redis", "rediss", "unix", "amqp", "amqps")


class Settings(BaseModel):
    """What `workers/` and the demo are configured by: the variables FASTAPI_EVENTS_….

    One that is empty counts as not set. What is given by name wins over the environment.

    Raises:
        pydantic.ValidationError: When a variable cannot be what it is; a `ValueError` that names it.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        hide_input_in_errors=True
    )  # a broker's URL holds its password

    broker_url: str = "redis://localhost:6379/0"
    """The broker of `workers/` and the demo: redis://, rediss://, unix://, amqp:// or amqps://."""
    handlers: tuple[str, ...] = ()
    """The modules with functions that `workers/` imports, separated by commas."""
    queue: str = DEFAULT_QUEUE
    """The queue of the handlers of `workers/` and the demo."""
    source: str = DEFAULT_SOURCE
    """The `source` of their events."""
    journal_url: str | None = None
    """The Redis that the demo writes its journal to; the broker if not given."""
    store_url: str | None = None
    """A database, for an outbox and all else that a store has, or a Redis; `workers/` make a store of it."""

    def __init__(self, **given: Any) -> None:
        checks.known_names(given, type(self).model_fields, asking="Settings")
        variables = {name: os.environ.get(f"{_PREFIX}{name.upper()}") for name in type(self).model_fields}
        super().__init__(**{name: value for name, value in variables.items() if value} | given)

    @field_validator("broker_url")
    @classmethod
    def _known_broker(cls, value: str) -> str:
        scheme, separator, _ = value.partition("://")
        if not separator or scheme not in _BROKERS:
            expected = ", ".join(f"{known}://" for known in _BROKERS)
            raise ValueError(f"{BROKER_URL_ENV_VAR} must begin with one of {expected}")
        return value

    @field_validator("handlers", mode="before")
    @classmethod
    def _comma_separated(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return tuple(name.strip() for name in value.split(",") if name.strip())
