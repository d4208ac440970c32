"""What may travel to a queue, and how: a payload as strict JSON text, and back.

Without type tags: whoever reads the text needs no Python. Models and dataclasses travel as objects with all
their fields, by name, `bytes` as URL-safe base64, sets and tuples as arrays, an Enum member as its value, and
a `datetime`, `UUID`, `Decimal` or `Path` as text. `PayloadType` in `subscriptions.payload` gives the types
back.
"""

from __future__ import annotations

import dataclasses
import re
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, Final, NoReturn
from uuid import UUID

from pydantic import BaseModel, Secret, SecretBytes, SecretStr
from pydantic.dataclasses import is_pydantic_dataclass
from pydantic_core import from_json, to_json, to_jsonable_python

from fastapi_events import redaction
from fastapi_events.constants import MAX_PAYLOAD_BYTES
from fastapi_events.errors import UnserialisablePayload
from fastapi_events.model_dumps import LISTS, dump, dump_dataclass, is_whole, members_of, obstacle

MAX_DEPTH: Final = 190
"""How deep a payload may nest. Some readers stop at 200, and what is put around it needs a few levels."""

_MOST_DIGITS: Final = 4300
_TOO_BIG: Final = 10**_MOST_DIGITS  # Python refuses to read such an integer back
_LONG_NUMBER: Final = re.compile(rb"(?<![0-9])[0-9]{%d}" % (_MOST_DIGITS + 1))

# What is written as it stands. Exact types only: a subclass may have a serialiser of its own.
_PLAIN: Final = frozenset({str, int, bool, type(None), bytes, UUID, datetime, date})
_TEXTS: Final = (bytes, bytearray, UUID, date, time, timedelta)
_SECRETS: Final = (SecretStr, SecretBytes, Secret)


def encode(
    payload: Any,
    *,
    event_name: str,
    max_bytes: int = MAX_PAYLOAD_BYTES,
    sensitive: list[redaction.Place] | None = None,
) -> str:
    """Write a payload as JSON text, and leave the payload itself as it is.

    Parameters:
        payload: Any combination of what JSON knows and the types named at the top of this module.
        event_name: For the error.
        max_bytes: The largest text, in bytes of UTF-8.
        sensitive: Gets the places of what nobody may see, by the types of what the payload holds. Without it
            a `SecretStr` cannot travel.

    Raises:
        UnserialisablePayload: When a part of it cannot travel, or all of it is too large.
    """
    is_model = type(payload) is not dict and isinstance(payload, BaseModel)
    encoded = _write_model(payload) if is_model else _write_plain(payload)
    if sensitive is not None and (encoded is None or is_model):
        sensitive += redaction.places_of(payload)
    if encoded is None:
        # Something other than plain data, or something wrong: go through it value by value.
        way = _Way(event_name, sensitive or ())
        try:
            encoded = to_json(way.plain(payload))
        except UnserialisablePayload:
            raise
        except RecursionError:
            way.refuse("is nested too deep for the stack")
        except Exception as error:
            way.refuse(f"cannot be turned into JSON ({type(error).__name__}: {error})", error)
    if len(encoded) > max_bytes:
        raise UnserialisablePayload(
            event_name,
            "payload",
            f"takes {len(encoded):,} bytes as JSON, more than the {max_bytes:,} allowed",
        )
    return encoded.decode()


def decode(text: str | bytes) -> Any:
    """Read JSON text, strictly: no `NaN`, no `Infinity`, no lone surrogate.

    Raises:
        ValueError: When it is not JSON.
    """
    try:
        # Values differ from event to event: to remember them would take memory, and twice the time.
        return from_json(text, allow_inf_nan=False, cache_strings="keys")
    except TypeError as error:  # what pydantic raises of a text with a lone surrogate in it
        raise ValueError(str(error)) from error


def _write_plain(payload: Any) -> bytes | None:
    """The payload as JSON by the fast way; None where that might be wrong."""
    if not _is_plain(payload, MAX_DEPTH):
        return None
    try:
        encoded = to_json(payload, bytes_mode="base64")
    except Exception:
        return None
    # A match may be inside a string; the slow check decides.
    if len(encoded) > _MOST_DIGITS and _LONG_NUMBER.search(encoded):
        return None
    return encoded


def _write_model(model: BaseModel) -> bytes | None:
    """A model as JSON by the fast way; None where that might be wrong."""
    try:
        return _write_plain(dump(model)) if is_whole(model) else None
    except Exception:
        return None


def _is_plain(value: Any, depth: int) -> bool:
    """Whether a value can be left to pydantic's serialiser, and nests no deeper than `depth`.

    A model inside the payload cannot: its own configuration says how it writes bytes, and a reader would have
    to know it. Nor can keys other than strings: two of them may become one.
    """
    kind = type(value)
    if kind in _PLAIN:
        return True
    if kind is float:
        return bool(value - value == 0)  # neither NaN nor infinite
    if depth == 0:
        return False
    if kind is dict:
        for key, each in value.items():
            if type(key) is not str or not (type(each) in _PLAIN or _is_plain(each, depth - 1)):
                return False
        return True
    if kind is list or kind is tuple:
        for each in value:  # noqa: SIM110 - this is the fast way, and a generator is not
            if not (type(each) in _PLAIN or _is_plain(each, depth - 1)):
                return False
        return True
    return False


class _Way:
    """The slow way through a payload, which always knows where it is."""

    def __init__(self, event_name: str, sensitive: Iterable[redaction.Place]) -> None:
        self.event_name = event_name
        self.sensitive = list(sensitive)
        self.steps: list[Any] = []
        self.inside: set[int] = set()
        self.model: tuple[BaseModel, int] | None = None

    def plain(self, value: Any) -> Any:
        """The value as what JSON knows: dict, list, str, int, float, bool, None."""
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, Enum):
            return self.plain(value.value)
        if isinstance(value, str):
            return self.text(str.__str__(value))
        if isinstance(value, PurePath):
            return self.text(str(value))
        if isinstance(value, (int, float, Decimal)):
            return self.number(value)
        if isinstance(value, (BaseModel, Mapping, *LISTS)) or _is_dataclass(value):
            return self.container(value)
        return self.leaf(value)

    def text(self, value: str) -> str:
        try:
            value.encode()
        except UnicodeEncodeError:
            self.refuse("holds a lone surrogate, which UTF-8 cannot express")
        return value

    def number(self, value: int | float | Decimal) -> int | float | str:
        if isinstance(value, int):
            if not -_TOO_BIG < value < _TOO_BIG:
                self.refuse(
                    f"is an integer of more than {_MOST_DIGITS} digits, which Python does not read back"
                )
            return int.__int__(value)
        if isinstance(value, float):
            if value - value != 0:
                self.refuse(f"is {float.__repr__(value)}, which JSON does not know")
            return float.__float__(value)
        if not value.is_finite():
            self.refuse(f"is Decimal('{value}'), which is no number to a reader")
        return str(value)

    def container(self, value: Any) -> Any:
        if id(value) in self.inside:
            self.refuse("contains itself")
        if len(self.inside) >= MAX_DEPTH:
            self.refuse(f"is nested more than {MAX_DEPTH} levels deep")
        self.inside.add(id(value))
        if isinstance(value, BaseModel):
            written = self.dumped(value)
        elif isinstance(value, Mapping):
            written = self.members(value.items())
        elif isinstance(value, LISTS):
            written = []
            for index, each in enumerate(value):
                self.steps.append(index)
                written.append(self.plain(each))
                self.steps.pop()
        elif is_pydantic_dataclass(type(value)):
            written = self.plain(dump_dataclass(value))
        else:
            written = self.members((name, getattr(value, name)) for name in _field_names(value))
        self.inside.discard(id(value))
        return written

    def dumped(self, model: BaseModel) -> Any:
        self.check(model)
        around, self.model = self.model, (model, len(self.steps))
        written = self.plain(dump(model))
        self.model = around
        return written

    def check(self, value: Any) -> None:
        """Refuse a model, or one anywhere inside, that could not be rebuilt."""
        if isinstance(value, BaseModel):
            missing = obstacle(value)
            if missing is not None:
                self.refuse(missing)
        for step, each in members_of(value):
            if not is_whole(each):
                self.steps.append(step)
                self.check(each)

    def members(self, pairs: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
        written: dict[str, Any] = {}
        for key, each in pairs:
            name = self.key(key)
            if name in written:
                self.refuse(f"has two keys that both become {reprlib.repr(name)}")
            self.steps.append(key)
            written[name] = self.plain(each)
            self.steps.pop()
        return written

    def key(self, key: Any) -> str:
        """A key as JSON has it: text, or what a number, True or null look like."""
        self.steps.append(key)
        written = self.plain(key)
        self.steps.pop()
        if isinstance(written, str):
            return written
        if isinstance(written, (dict, list)):
            self.refuse(f"has the key {reprlib.repr(key)}, and {type(key).__name__} cannot be one in JSON")
        return to_json(written).decode()

    def leaf(self, value: Any) -> Any:
        """Anything else that pydantic, or the model around it, can write."""
        kind = type(value).__name__
        if isinstance(value, Iterator):
            self.refuse(f"is an iterator ({kind}), which sending would use up")
        written = None if isinstance(value, _TEXTS) else self.from_model()
        if written is None and isinstance(value, _SECRETS):
            written = "*" if value.get_secret_value() else ""  # older pydantics cannot write one alone
        elif written is None:
            try:
                written = to_jsonable_python(value, bytes_mode="base64", timedelta_mode="iso8601")
            except Exception as error:
                self.refuse(f"is of type {kind}, which has no form in JSON", error)
        if isinstance(value, _SECRETS) and isinstance(written, str) and set(written) == {"*"}:
            secret = value.get_secret_value()
            if isinstance(secret, bytes) or not redaction.are_among(self.steps, self.sensitive):
                self.refuse(f"is a {kind}, which would travel masked")
            return self.plain(secret)
        return self.text(written) if isinstance(written, str) else self.plain(written)

    def from_model(self) -> Any:
        """What the surrounding model writes here, if it can: it may have a serialiser for JSON only."""
        if self.model is None:
            return None
        model, start = self.model
        only: Any = True
        for step in reversed(self.steps[start:]):
            only = {step: only}
        try:
            written = model.model_dump(mode="json", by_alias=False, round_trip=True, include=only)
            for _ in self.steps[start:]:
                # Nothing but our value was included, so each level holds one thing.
                (written,) = written.values() if isinstance(written, dict) else written
        except Exception:
            return None
        return written

    def refuse(self, reason: str, cause: BaseException | None = None) -> NoReturn:
        raise UnserialisablePayload(self.event_name, "payload" + _spelled(self.steps), reason) from cause


def _field_names(value: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(value)]


def _is_dataclass(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _spelled(steps: Iterable[Any]) -> str:
    return "".join(
        f".{step}" if isinstance(step, str) and step.isidentifier() else f"[{reprlib.repr(step)}]"
        for step in steps
    )
