"""The data of a model from which it can be rebuilt: all of its fields, by name.

What pydantic writes for other readers is not enough: an unset field may get another default, an alias may be
one that is only written, the value of a `Json` field is no longer JSON.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import pydantic
from pydantic import VERSION, BaseModel

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

BY_EITHER_NAME: Final[dict[str, Any]] = (
    {} if VERSION.startswith(("2.7.", "2.8.", "2.9.", "2.10.")) else {"by_alias": True, "by_name": True}
)
"""To validate data by names and aliases; before pydantic 2.11 a model needs `populate_by_name` for names."""

LISTS: Final = (list, tuple, set, frozenset, deque)

_LEAVES: Final = frozenset({str, int, float, bool, type(None), bytes, UUID, datetime, date})


def dump(model: BaseModel) -> Any:
    """A model's data, by field names: they hold whatever aliases the reader's version of it has.

    Dumped to Python and not to JSON, because then bytes are still bytes, NaN is not yet null and a secret not
    yet masked.
    """
    return model.model_dump(by_alias=False, round_trip=True, warnings=False)


def dump_dataclass(instance: Any) -> Any:
    """The data from which a pydantic dataclass can be rebuilt."""
    kind: Any = type(instance)
    return _adapter(kind).dump_python(instance, by_alias=False, round_trip=True, warnings=False)


def obstacle(model: BaseModel) -> str | None:
    """Why a model could not be rebuilt from its dump, whatever the models inside of it; None if it could."""
    model_type: Any = type(model)  # mypy does not see that a class is hashable
    names, excluded = _demands(model_type)
    has = vars(model)
    kind = model_type.__name__
    if not names <= has.keys():
        missing = ", ".join(sorted(names - has.keys()))
        return f"is a {kind} that lacks {missing}: its row has expired, or it never was complete"
    for name, field in excluded:
        if leaves_out(field, has[name]):
            return (
                f"is a {kind} whose required field {name!r} is excluded from what is written, so that nobody "
                "can rebuild it; give the field a default, or dispatch a dict"
            )
    return None


def is_whole(value: Any) -> bool:
    """Whether every model inside of a value could be rebuilt."""
    if type(value) in _LEAVES:
        return True
    if isinstance(value, BaseModel) and obstacle(value) is not None:
        return False
    return all(type(each) in _LEAVES or is_whole(each) for _, each in members_of(value))


def members_of(value: Any) -> Iterable[tuple[Any, Any]]:
    """What a model or a collection holds, each with its name or place."""
    if isinstance(value, BaseModel):
        return vars(value).items()
    if isinstance(value, Mapping):
        return value.items()
    if isinstance(value, LISTS):
        return enumerate(value)
    return ()


def leaves_out(field: FieldInfo, value: Any) -> bool:
    """Whether a model does not write a field that has this value."""
    decides = getattr(field, "exclude_if", None)  # of pydantic 2.12
    return bool(field.exclude) or (decides is not None and bool(decides(value)))


@lru_cache(maxsize=1_024)
def _demands(kind: type[BaseModel]) -> tuple[frozenset[str], tuple[tuple[str, FieldInfo], ...]]:
    """The names of a model's fields, and those of its required ones that it may not write."""
    fields = kind.model_fields
    return frozenset(fields), tuple(
        (name, field)
        for name, field in fields.items()
        if field.is_required() and (field.exclude or getattr(field, "exclude_if", None) is not None)
    )


@lru_cache(maxsize=1_024)
def _adapter(kind: type) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(kind)  # asked for here, since pydantic loads it when it is first asked for
