"""What of a payload nobody may see: which parts of it, and how they are masked in texts and data.

A field is sensitive whose annotation says so, `Annotated[str, Sensitive]`, and so is a `SecretStr`. The
places of sensitive values travel with the event, in the attribute `sensitive` of its envelope, so that every
tool masks them without knowing the model. Beside that a handler may have a function of its own, `redact=`.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import re
import types
import typing
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias, Union
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from fastapi_events.event import Event

logger: logging.Logger = logging.getLogger(__name__)

MASK: Final = "***"
"""What stands in place of a value that nobody may see."""

SENSITIVE: Final = "sensitive"
"""The attribute of an envelope that names the places of sensitive values."""

ENCRYPTED: Final = "encrypted"
"""The attribute that names the places of those that travel encrypted."""

_ANY: Final = "*"

_DEEPEST: Final = 190

Place: TypeAlias = tuple[str, ...]
"""Where a value stands in a payload: names of fields, and `*` for each item of a list or a mapping."""

Places: TypeAlias = tuple[Place, ...]
Redact: TypeAlias = Callable[[str, Any], Any]
Decrypt: TypeAlias = Callable[[bytes], bytes]


class Sensitive:
    """Marks a field that nobody may see but the functions that get it: `Annotated[str, Sensitive]`."""


@lru_cache(maxsize=1_024)
def places_in(kind: Any) -> Places:
    """Where a type of payload has sensitive values."""
    return tuple(dict.fromkeys(_walk(kind, ())))


def places_of(payload: Any, depth: int = 0) -> Places:
    """Where a payload has sensitive values, by the types of what is in it."""
    if isinstance(payload, Mapping) and depth < _DEEPEST:
        return tuple(
            (str(name), *each) for name, value in payload.items() for each in places_of(value, depth + 1)
        )
    if isinstance(payload, (list, tuple, set, frozenset)) and depth < _DEEPEST:
        return tuple(
            dict.fromkeys((_ANY, *each) for value in payload for each in places_of(value, depth + 1))
        )
    kind: Any = type(payload)
    return places_in(kind)


def are_among(steps: Iterable[Any], places: Iterable[Place]) -> bool:
    """Whether what stands somewhere in a payload is sensitive, or inside of what is."""
    way = [str(each) for each in steps]
    return any(
        len(place) <= len(way) and all(want in (_ANY, step) for want, step in zip(place, way, strict=False))
        for place in places
    )


def written(places: Iterable[Place]) -> str:
    """Places as the text of an attribute."""
    return " ".join(
        "/".join(step if step == _ANY else quote(step, safe="") for step in place) or "." for place in places
    )


def read(text: object) -> Places:
    """The places that an attribute names; the whole payload where it cannot be read."""
    if not isinstance(text, str):
        return ((),)
    return tuple(
        () if place == "." else tuple(step if step == _ANY else unquote(step) for step in place.split("/"))
        for place in text.split()
    )


def replaced(payload: Any, places: Iterable[Place], replace: Callable[[Any], Any]) -> Any:
    """A copy of JSON-shaped data in which the values at some places are others."""
    for place in places:
        payload = _replaced(payload, place, replace)
    return payload


# What a handler adds

_redactors: list[Redact] = []
_decryptors: list[Decrypt] = []


def use(owner: object, redact: Redact | None, decrypt: Decrypt | None) -> None:
    """Mask what a handler's functions declare as secret, for as long as the handler lives."""
    if redact is not None:
        _redactors.append(redact)
        weakref.finalize(owner, _redactors.remove, redact).atexit = False
    if decrypt is not None:
        _decryptors.append(decrypt)
        weakref.finalize(owner, _decryptors.remove, decrypt).atexit = False


def decrypted(payload: Any, places: Iterable[Place], decrypt: Decrypt) -> Any:
    """JSON-shaped data in which the values at some places are what they were before they were encrypted."""
    return replaced(payload, places, lambda value: json.loads(decrypt(str(value).encode())))


# What may be shown


def hides(event: Event) -> bool:
    """Whether an event has something that nobody may see, or may have."""
    return bool(_redactors) or bool(_places(event))


def shown_of(event: Event, payload: Any) -> Any:
    """An event's payload, or the JSON-shaped data of it, as people may see it."""
    return shown(_name(event), payload, _places(event))


def shown(name: str, payload: Any, places: Places) -> Any:
    """JSON-shaped data as people may see it."""
    payload = replaced(payload, places, lambda _: MASK)
    for redact in tuple(_redactors):
        try:
            payload = redact(name, payload)
        except Exception:
            logger.exception("redact= has failed for an event %r, of which nothing is shown.", name)
            return MASK
    return payload


def shown_text(text: str) -> str:
    """An envelope, or a list of them, as people may see it; what is none stays as it is."""
    if not _redactors and f'"{SENSITIVE}"' not in text:
        return text
    try:
        value = json.loads(text)
    except ValueError:
        return MASK
    return json.dumps(_shown_envelopes(value), ensure_ascii=False, separators=(",", ":"))


def scrubbed(text: str, events: Iterable[Event]) -> str:
    """A text about events, such as an error's, without the values that nobody may see."""
    secrets: set[str] = set()
    for event in events:
        if hides(event):
            secrets |= _secrets_of(event)
    for secret in sorted(secrets, key=len, reverse=True):
        text = re.sub(
            rf"(?<!\w){re.escape(secret)}(?!\w)" if len(secret) < 4 else re.escape(secret), MASK, text
        )
    return text


def _secrets_of(event: Event) -> set[str]:
    """The texts of an event's values that are not shown."""
    payload = event.full_payload if event.encoded is None else json.loads(event.encoded)
    if hasattr(payload, "model_dump"):
        payload = payload.model_dump(round_trip=True, warnings=False)
    encrypted = (event._headers or {}).get(ENCRYPTED)  # noqa: SLF001 - our own, not made for this
    if encrypted is not None:
        for decrypt in tuple(_decryptors):
            try:
                payload = decrypted(payload, read(encrypted), decrypt)
            except Exception:  # another handler's: an unreadable value has no text
                logger.debug("A value of event %s cannot be decrypted to be masked.", event.id)
            else:
                break
    found: set[str] = set()
    _differences(payload, shown_of(event, payload), found)
    return found


def _places(event: Event) -> Places:
    headers = event._headers  # noqa: SLF001 - our own, not made for this
    if headers is not None and SENSITIVE in headers:
        return read(headers[SENSITIVE])
    kind: Any = type(event.model)  # mypy does not see that a class is hashable
    return () if event.model is None else places_in(kind)


def _name(event: Event) -> str:
    return event[0] if isinstance(event[0], str) else str(getattr(event[0], "value", event[0]))


def _shown_envelopes(value: Any) -> Any:
    if isinstance(value, list):
        return [_shown_envelopes(each) for each in value]
    if isinstance(value, dict) and "data" in value:
        places = read(value[SENSITIVE]) if SENSITIVE in value else ()
        return {**value, "data": shown(str(value.get("type")), value["data"], places)}
    return value


def _differences(value: Any, seen: Any, found: set[str]) -> None:
    if value == seen and type(value) is type(seen):
        return
    if isinstance(value, dict):
        for name, each in value.items():
            _differences(each, seen.get(name, MASK) if isinstance(seen, dict) else MASK, found)
    elif isinstance(value, (list, tuple)):
        same = isinstance(seen, (list, tuple)) and len(seen) == len(value)
        for at, each in enumerate(value):
            _differences(each, seen[at] if same else MASK, found)
    elif value is not None and not isinstance(value, bool):
        text = str(value.get_secret_value() if hasattr(value, "get_secret_value") else value)
        # As it stands, and as it stands inside of the `repr` or the JSON of something.
        found.update(each for each in (text, repr(text)[1:-1], json.dumps(text)[1:-1]) if each)


def _replaced(value: Any, place: Sequence[str], replace: Callable[[Any], Any]) -> Any:
    if not place:
        return None if value is None else replace(value)
    step, rest = place[0], place[1:]
    if isinstance(value, (list, tuple)):
        return [_replaced(each, rest, replace) for each in value] if step == _ANY else value
    if isinstance(value, Mapping):
        names = set(value) if step == _ANY else {step}
        return {
            name: _replaced(each, rest, replace) if name in names else each for name, each in value.items()
        }
    return value


# Which places a type has


def _walk(kind: Any, around: tuple[Any, ...]) -> list[Place]:
    parts = _parts(kind)
    if parts is None:
        return [()]
    if kind in around:  # a tree, whose branches are hidden as a whole where its leaves have anything to hide
        return [()] if _hides(kind, ()) else []
    return [(*steps, *place) for steps, each in parts for place in _walk(each, (*around, kind))]


def _hides(kind: Any, around: tuple[Any, ...]) -> bool:
    parts = _parts(kind)
    return parts is None or (kind not in around and any(_hides(each, (*around, kind)) for _, each in parts))


def _parts(kind: Any) -> list[tuple[Place, Any]] | None:
    """The types that a type is made of, and where; None where it is sensitive itself."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        marked = any(each is Sensitive or isinstance(each, Sensitive) for each in arguments[1:])
        return None if marked else [((), arguments[0])]
    if origin in (Union, types.UnionType):
        return [((), each) for each in arguments]
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return [((_ANY,), each) for each in arguments[1:]]
    if isinstance(origin, type) and issubclass(origin, (list, tuple, set, frozenset, Sequence)):
        return [((_ANY,), each) for each in arguments if each is not ...]
    return _members(kind) if isinstance(kind, type) else []


def _members(kind: type) -> list[tuple[Place, Any]] | None:
    from pydantic import BaseModel, RootModel, Secret, SecretBytes, SecretStr  # not before it is needed

    if issubclass(kind, (SecretStr, SecretBytes, Secret)):
        return None
    if issubclass(kind, BaseModel):
        hints = {
            name: Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
            for name, field in kind.model_fields.items()
        }
        return [((), hints["root"])] if issubclass(kind, RootModel) else _named(hints)
    if dataclasses.is_dataclass(kind) or typing.is_typeddict(kind):
        try:
            return _named(typing.get_type_hints(kind, include_extras=True))
        except NameError:  # of what cannot be told nothing is shown
            return None
    return []


def _named(hints: Mapping[str, Any]) -> list[tuple[Place, Any]]:
    return [((name,), hint) for name, hint in hints.items()]
