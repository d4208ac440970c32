"""What has to be done to plain data before pydantic may look at it, found out from annotations alone.

Bytes travel as URL-safe base64, and only a model's own configuration could tell pydantic so. A dumped model
holds its computed fields, which a model that forbids extra fields refuses. And it holds its fields by name,
where an older pydantic wants aliases.

It reads annotations and `model_fields`, which are pydantic's public interface. Rewriting the core schema
instead (`val_json_bytes="base64"` everywhere) fails silently: pydantic-core takes the finished validator of a
nested model, and ignores the schema that is given for it.
"""

from __future__ import annotations

import base64
import dataclasses
import sys
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from typing import (
    Annotated,
    Any,
    ClassVar,
    Final,
    NotRequired,
    Required,
    TypeAlias,
    Union,
    get_args,
    get_origin,
)

from pydantic import (
    BaseModel,
    PlainSerializer,
    RootModel,
    TypeAdapter,
    ValidationError,
    WrapSerializer,
)
from pydantic.dataclasses import is_pydantic_dataclass
from pydantic.errors import PydanticSchemaGenerationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticSerializationError, to_json
from typing_extensions import ReadOnly, get_type_hints, is_typeddict

from fastapi_events.model_dumps import BY_EITHER_NAME
from fastapi_events.subscriptions.field_names import aliases, have_crossed, is_read_by_path_only, read_as

Change: TypeAlias = Callable[[Any], Any]
"""Makes the data that pydantic expects, in a copy; what it does not understand stays as it is."""

_JSON_SCALARS: Final = (str, int, float, type(None))
_WRAPPERS: Final = (Required, NotRequired, ReadOnly, ClassVar, Final)
_NOT_BASE64: Final = object()
"""Stands for text that should have been base64. No type accepts it, so pydantic says where it is."""


class Restorer:
    """Finds the changes that a type needs.

    Parameters:
        from_json: Whether the data come from JSON, where bytes are text.
    """

    def __init__(self, *, from_json: bool) -> None:
        self.leaves_json: bool = False
        """Whether the changed data may hold what JSON does not know: bytes, or instances."""
        self.losses: list[str] = []
        """Why fields would not arrive, each as `Class.field …`."""
        self._from_json = from_json
        self._members: dict[type, Change | None] = {}
        self._names: dict[str, Any] = {}

    def change_for(self, annotation: Any) -> Change | None:
        """What to do with the data of such a value; None for nothing."""
        if isinstance(annotation, str):  # inside of list["Tree"]
            return self.change_for(self._names.get(annotation))
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin is Annotated:
            return self._annotated(arguments[0], arguments[1:])
        if origin in _WRAPPERS:
            return self.change_for(arguments[0])
        if origin in (Union, types.UnionType):
            return self._one_of(arguments)
        if isinstance(annotation, type) and origin is None:
            return self._of_class(annotation)
        if isinstance(origin, type):
            return self._of_generic(origin, arguments)
        # An alias made by `type X = …`, or a NewType; for anything else there is nothing to do.
        meant = getattr(annotation, "__value__", None) or getattr(annotation, "__supertype__", None)
        return self.change_for(meant) if meant else None

    def _annotated(self, annotation: Any, metadata: Iterable[Any]) -> Change | None:
        # A type with its own serialiser reads its values by itself.
        if any(isinstance(each, (PlainSerializer, WrapSerializer)) for each in metadata):
            return None
        return self.change_for(annotation)

    def _of_class(self, kind: type) -> Change | None:
        if issubclass(kind, Enum):
            return self._of_enum(kind)
        if issubclass(kind, bytes):
            self.leaves_json = self.leaves_json or self._from_json
            return _bytes_of if self._from_json else None
        if not (issubclass(kind, BaseModel) or dataclasses.is_dataclass(kind) or _has_typed_keys(kind)):
            return None
        if kind not in self._members:
            # A type may contain itself: while it is examined, inner uses get the result that is being made.
            self._members[kind] = lambda data: (self._members[kind] or _nothing)(data)
            self._members[kind] = self._validated(kind, self._of_members(kind))
        return self._members[kind]

    def _of_enum(self, kind: type[Enum]) -> Change | None:
        """Find the member by what its value has become, where JSON knows no such value."""
        if not self._from_json or all(isinstance(member.value, _JSON_SCALARS) for member in kind):
            return None
        self.leaves_json = True
        members = {_written(member.value): member for member in kind}
        return lambda data: members.get(_written(data), data)

    def _validated(self, kind: type, change: Change | None) -> Change | None:
        """The change for a class, which validates what pydantic would validate otherwise around it.

        That is a table of SQLModel, which its own method validates only, and a model one of whose fields has
        the name of another one for its alias: there, names count.
        """
        if not (self._from_json and issubclass(kind, BaseModel)):
            return change
        crossed = have_crossed(kind.model_fields)
        if crossed and not BY_EITHER_NAME:
            self.losses.append(
                f"{kind.__name__} has a field whose alias is another field's name: it takes pydantic 2.11"
            )
        if not (crossed and BY_EITHER_NAME) and not kind.model_config.get("table"):
            return change
        how: dict[str, Any] = {"by_alias": False, "by_name": True, "strict": False} if crossed else {}
        self.leaves_json = True
        return lambda data: kind.model_validate((change or _nothing)(data), **how)

    def _of_members(self, kind: type) -> Change | None:
        around, self._names = self._names, {**vars(sys.modules[kind.__module__]), kind.__name__: kind}
        try:
            return self._of_fields(kind, _fields(kind))
        finally:
            self._names = around

    def _of_fields(self, kind: type, fields: Mapping[str, Any]) -> Change | None:
        self.losses += [
            loss for name, field in fields.items() if (loss := _loss(kind, name, field)) is not None
        ]
        changes = {
            name: self._annotated(field.annotation, field.metadata)
            if isinstance(field, FieldInfo)
            else self.change_for(field)
            for name, field in fields.items()
        }
        if issubclass(kind, RootModel):
            return changes["root"]
        if issubclass(kind, tuple):
            return _positions(list(changes.values()))
        by_key = {
            key: change
            for name, change in changes.items()
            if change
            for key in (name, *aliases(fields[name]))
        }
        computed = (_computed(kind) - fields.keys()) | _made_by_itself(kind)
        renamed = read_as(kind, fields)
        if not by_key and not computed and not renamed:
            return None
        return lambda data: (
            {
                renamed.get(key, key): by_key.get(key, _nothing)(each)
                for key, each in data.items()
                if key not in computed
            }
            if isinstance(data, Mapping)
            else data
        )

    def _of_generic(self, origin: type, arguments: tuple[Any, ...]) -> Change | None:
        changes = [self.change_for(each) for each in arguments]
        if not any(changes):
            return self.change_for(origin) if dataclasses.is_dataclass(origin) else None
        if issubclass(origin, Mapping):
            first, last = changes[0] or _nothing, changes[-1] or _nothing
            return lambda data: (
                {first(key): last(each) for key, each in data.items()} if isinstance(data, Mapping) else data
            )
        if issubclass(origin, tuple) and arguments[-1] is not Ellipsis:
            return _positions(changes)
        return _elements(changes[0] or _nothing) if issubclass(origin, Iterable) else None

    def _one_of(self, choices: tuple[Any, ...]) -> Change | None:
        changes = [self.change_for(each) for each in choices]
        if not any(changes):
            return None
        if len(choices) == 2 and type(None) in choices:
            (change,) = filter(None, changes)
            return lambda data: None if data is None else change(data)
        # Which one it is shows when it validates; they are tried in the order in which they are written.
        tries = [
            (change, adapter)
            for change, choice in zip(changes, choices, strict=True)
            if (adapter := _adapter(choice)) is not None
        ]
        return lambda data: _first_that_validates(tries, data)


def _nothing(data: Any) -> Any:
    return data


def _bytes_of(data: Any) -> Any:
    if not isinstance(data, str):
        return data
    try:
        return base64.b64decode(data.encode("ascii"), altchars=b"-_", validate=True)
    except ValueError:
        return _NOT_BASE64


def _written(value: Any) -> bytes:
    """A value as JSON, for comparison."""
    try:
        return to_json(value, bytes_mode="base64")
    except PydanticSerializationError:  # such a member cannot travel either
        return repr(value).encode()


def _positions(changes: Sequence[Change | None]) -> Change | None:
    """Change each element in its own way."""
    if not any(changes):
        return None
    return lambda data: (
        [(change or _nothing)(each) for change, each in zip(changes, data, strict=True)]
        if isinstance(data, (list, tuple)) and len(data) == len(changes)
        else data
    )


def _elements(change: Change) -> Change:
    """Change each element in the same way."""
    return lambda data: [change(each) for each in data] if isinstance(data, (list, tuple)) else data


def _first_that_validates(tries: Iterable[tuple[Change | None, TypeAdapter[Any]]], data: Any) -> Any:
    for change, adapter in tries:
        with suppress(ValidationError):
            if change is None:
                # Strictly: the text of some bytes may look like a number.
                adapter.validate_json(to_json(data), strict=True, **BY_EITHER_NAME)
                return data
            changed = change(data)
            adapter.validate_python(changed, strict=False, **BY_EITHER_NAME)
            return changed
    return data


def _adapter(choice: Any) -> TypeAdapter[Any] | None:
    try:
        return TypeAdapter(choice)
    except PydanticSchemaGenerationError:
        return None


def _has_typed_keys(kind: type) -> bool:
    """Whether it is a TypedDict or a NamedTuple."""
    return is_typeddict(kind) or (issubclass(kind, tuple) and hasattr(kind, "_fields"))


def _fields(kind: type) -> Mapping[str, Any]:
    """The fields of a model or a dataclass of pydantic, the annotations of any other class."""
    if issubclass(kind, BaseModel):
        return kind.model_fields
    if is_pydantic_dataclass(kind):
        return kind.__pydantic_fields__
    return get_type_hints(kind, include_extras=True)


def _loss(kind: type, name: str, field: Any) -> str | None:
    """Why the value of a field would not arrive where an instance is built; None if it would."""
    place = f"{kind.__name__}.{name}"
    if isinstance(field, FieldInfo) and is_read_by_path_only(kind, field):
        return (
            f"{place} travels by its name, and is read by an AliasPath only: it takes pydantic 2.11, or a "
            "model with populate_by_name"
        )
    if (
        field.exclude and field.is_required()
        if isinstance(field, FieldInfo)
        else isinstance(field, dataclasses.InitVar) and not hasattr(kind, name)
    ):
        return f"{place} must be given, and is excluded from what travels"
    return None


def _made_by_itself(kind: type) -> set[str]:
    """The fields that a dataclass does not take, and sets when it is made."""
    return (
        {each.name for each in dataclasses.fields(kind) if not each.init}
        if dataclasses.is_dataclass(kind)
        else set()
    )


def _computed(kind: type) -> set[str]:
    if not issubclass(kind, BaseModel):
        return set()
    return set(kind.model_computed_fields)
