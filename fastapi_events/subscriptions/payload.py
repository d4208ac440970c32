"""The type of payload that a subscription asks for, and how plain data becomes an instance of it again."""

from __future__ import annotations

import dataclasses
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import to_json

from fastapi_events.errors import InvalidPayload
from fastapi_events.subscriptions.annotations import class_of, spelled
from fastapi_events.subscriptions.restorer import Restorer

_ERRORS_SHOWN = 3

_QUOTING = frozenset({"value_error", "assertion_error", "union_tag_invalid"})
"""Errors of pydantic whose text may hold the input."""


class PayloadType:
    """A type that pydantic knows, ready to build instances of itself. Made once, at registration.

    Parameters:
        annotation: The type, with its forward references resolved.
    """

    def __init__(self, annotation: Any) -> None:
        self.annotation = annotation
        kind = class_of(annotation)
        self._class = kind if isinstance(kind, type) and _is_checkable(kind) else None
        self._adapter: TypeAdapter[Any] = TypeAdapter(annotation)
        from_json = Restorer(with_bytes=True)
        self._restore = from_json.change_for(annotation)
        self._has_bytes = from_json.found_bytes
        self._tidy = Restorer(with_bytes=False).change_for(annotation)

    def from_json(self, data: Any) -> Any:
        """Build an instance from what a message held, in which every field has its type again.

        Raises:
            InvalidPayload: When the data do not fit.
        """
        if self._restore is not None:
            data = self._restore(data)
        try:
            if self._has_bytes:
                # With bytes in them the data are JSON no longer. What only JSON mode would convert in a
                # strict model, such as the text of a date, is converted because strictness is off.
                return self._adapter.validate_python(data, strict=False, by_alias=True, by_name=True)
            return self._adapter.validate_json(to_json(data), by_alias=True, by_name=True)
        except ValidationError as error:
            # Not `from` it: a traceback in a log would then show the payload's values.
            raise self._invalid(error) from None

    def from_python(self, payload: Any) -> Any:
        """Build an instance from what was dispatched in this process; one that is there already passes.

        Raises:
            InvalidPayload: When the payload does not fit.
        """
        if self._class is not None and isinstance(payload, self._class):
            return payload
        if isinstance(payload, BaseModel):
            payload = payload.model_dump(by_alias=False, warnings=False)
        elif dataclasses.is_dataclass(payload) and not isinstance(payload, type):
            payload = dataclasses.asdict(payload)
        if self._tidy is not None:
            payload = self._tidy(payload)
        try:
            return self._adapter.validate_python(payload, by_alias=True, by_name=True)
        except ValidationError as error:
            # Not `from` it: a traceback in a log would then show the payload's values.
            raise self._invalid(error) from None

    def _invalid(self, error: ValidationError) -> InvalidPayload:
        """Say where the payload is wrong, without any of its values: the message goes to logs."""
        found = error.errors(include_url=False, include_context=False, include_input=False)
        shown = [
            f"{'.'.join(map(str, each['loc'])) or 'payload'}: "
            + (each["type"] if each["type"] in _QUOTING else each["msg"])
            for each in found[:_ERRORS_SHOWN]
        ]
        if more := len(found) - len(shown):
            shown.append(f"and {more} more")
        return InvalidPayload(f"The payload is no {spelled(self.annotation)}: {'; '.join(shown)}.")


def _is_checkable(kind: type) -> bool:
    """Whether an instance of the class needs no look at what is inside."""
    return issubclass(kind, BaseModel) or dataclasses.is_dataclass(kind)
