"""The names under which a field's value may come. What travels has the names of fields.

Before pydantic 2.11 a model is read by aliases only, unless it asks for names as well: there, names are made
aliases.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from fastapi_events.model_dumps import BY_EITHER_NAME


def aliases(field: Any) -> Iterator[str]:
    """The other names of a field, paths into deeper data left out."""
    if isinstance(field, FieldInfo):
        given = field.validation_alias
        for alias in (field.alias, *(given.choices if isinstance(given, AliasChoices) else [given])):
            if isinstance(alias, str):
                yield alias


def have_crossed(fields: Mapping[str, Any]) -> bool:
    """Whether a field has an alias that is the name of another one, so that data of both are ambiguous."""
    return any(
        alias != name and alias in fields for name, field in fields.items() for alias in aliases(field)
    )


def read_as(kind: type, fields: Mapping[str, Any]) -> dict[str, str]:
    """For each field that pydantic does not read by its name, an alias by which it does."""
    if _reads_names(kind):
        return {}
    found = {name: next(aliases(field), name) for name, field in fields.items()}
    return {name: alias for name, alias in found.items() if alias != name}


def is_read_by_path_only(kind: type, field: FieldInfo) -> bool:
    """Whether pydantic looks for a value deeper in the data, and nowhere else."""
    return field.validation_alias is not None and not any(aliases(field)) and not _reads_names(kind)


def _reads_names(kind: type) -> bool:
    config = getattr(kind, "model_config", None) or getattr(kind, "__pydantic_config__", None) or {}
    return bool(BY_EITHER_NAME or config.get("populate_by_name"))
