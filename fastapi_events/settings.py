"""The settings of workers and of the demo, read from the environment."""

from __future__ import annotations

import os
import re
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from fastapi_events import checks
from fastapi_events.constants import DEFAULT_QUEUE, DEFAULT_SOURCE

_PREFIX = "FASTAPI_EVENTS_"
_REDIS = ("redis", "rediss", "unix")
_BROKERS = (*_REDIS, "amqp", "amqps")


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

    @field_validator("broker_url", "journal_url")
    @classmethod
    def _known_server(cls, value: str | None, info: ValidationInfo) -> str | None:
        known = _BROKERS if info.field_name == "broker_url" else _REDIS
        if value is not None and not value.startswith(tuple(f"{each}://" for each in known)):
            raise ValueError(
                f"{_variable(info)} must begin with one of {', '.join(f'{each}://' for each in known)}"
            )
        return value

    @field_validator("store_url")
    @classmethod
    def _url(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and not re.match(r"[a-z][a-z0-9+]*://", value):
            raise ValueError(
                f"{_variable(info)} must be the URL of a database or a Redis, such as sqlite:///events.db, "
                "postgresql://localhost/events or redis://localhost:6379/0"
            )
        return value

    @field_validator("queue", "source", mode="before")
    @classmethod
    def _some_text(cls, value: Any, info: ValidationInfo) -> str:
        return checks.text(
            _variable(info), value, such_as=str(cls.model_fields[str(info.field_name)].default)
        )

    @field_validator("handlers", mode="before")
    @classmethod
    def _comma_separated(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return tuple(name.strip() for name in value.split(",") if name.strip())


def _variable(info: ValidationInfo) -> str:
    """The variable of a field, which is what most people have written."""
    return f"{_PREFIX}{str(info.field_name).upper()}"
