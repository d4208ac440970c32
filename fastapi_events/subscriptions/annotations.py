"""What the annotation of a parameter asks for: the event, its payload as some type, or neither."""

from __future__ import annotations

import collections.abc
import dataclasses
import inspect
import types
from collections.abc import Iterator
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel
from typing_extensions import is_typeddict

_COLLECTIONS = (collections.abc.Mapping, collections.abc.Iterable)


def asks_for_event(annotation: Any) -> bool:
    """Whether it is `Event` or another tuple, or may be one: `Event | None`."""
    return any(_is_event(each) for each in _choices(annotation))


def says_nothing(annotation: Any) -> bool:
    """Whether it is missing, or allows anything."""
    return any(
        each in (inspect.Parameter.empty, Any, object) or isinstance(each, TypeVar)
        for each in _choices(annotation)
    )


def is_payload_type(annotation: Any) -> bool:
    """Whether it is a class with fields: a model, a dataclass, a `TypedDict` or a `NamedTuple`."""
    kind = class_of(annotation)
    return isinstance(kind, type) and (
        issubclass(kind, BaseModel)
        or dataclasses.is_dataclass(kind)
        or is_typeddict(kind)
        or is_named_tuple(kind)
    )


def is_structured(annotation: Any) -> bool:
    """Whether it can only be a whole payload: a class with fields, a collection, or a choice of them."""
    for each in _choices(annotation):
        kind = class_of(each)
        if is_payload_type(each):
            return True
        if isinstance(kind, type) and issubclass(kind, _COLLECTIONS):
            return not issubclass(kind, (str, bytes, bytearray))
    return False


def spelled(annotation: Any) -> str:
    """The annotation as people write it, for messages."""
    return annotation.__qualname__ if isinstance(annotation, type) else str(annotation)


def is_named_tuple(kind: Any) -> bool:
    """Whether it is a class made by `NamedTuple`."""
    return isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields")


def class_of(annotation: Any) -> Any:
    """The class itself, without its metadata and type arguments."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return get_origin(annotation) or annotation


def _is_event(annotation: Any) -> bool:
    kind = class_of(annotation)
    return isinstance(kind, type) and issubclass(kind, tuple) and not is_named_tuple(kind)


def _choices(annotation: Any) -> Iterator[Any]:
    """The members of a union, however deep; else the annotation, without the names that it goes by."""
    origin = get_origin(annotation)
    # An alias made by `type X = …`, or a NewType.
    meant = getattr(annotation, "__value__", None) or getattr(annotation, "__supertype__", None)
    if origin is Annotated or origin in (Union, types.UnionType):
        members = get_args(annotation)
        for each in members[:1] if origin is Annotated else members:
            yield from _choices(each)
    elif meant is not None:
        yield from _choices(meant)
    else:
        yield annotation
