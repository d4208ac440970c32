"""The type of payload that a subscription asks for, and how plain data becomes an instance of it again."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, PydanticUndefinedAnnotation, PydanticUserError, ValidationError
from pydantic_core import to_json

from fastapi_events.errors import ConfigurationError, InvalidPayload
from fastapi_events.model_dumps import BY_EITHER_NAME, dump
from fastapi_events.subscriptions.annotations import class_of, spelled

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_ERRORS_SHOWN = 3

_QUOTING = frozenset({"value_error", "assertion_error", "union_tag_invalid"})
"""Errors of pydantic whose text may hold the input."""


class PayloadType:
    """A type that pydantic knows, ready to build instances of itself. Made once, at registration.

    Parameters:
        annotation: The type, with its forward references resolved.
    """

    def __init__(self, annotation: Any) -> None:
        # These load most of pydantic, as much again as the core: only who asks for a type waits for them.
        from pydantic import TypeAdapter

        from fastapi_events.subscriptions.restorer import Restorer

        self.annotation = annotation
        kind = class_of(annotation)
        self._class = kind if isinstance(kind, type) and _is_checkable(kind) else None
        self._adapter: TypeAdapter[Any] = TypeAdapter(annotation)
        from_json = Restorer(from_json=True)
        self._restore = from_json.change_for(annotation)
        self._leaves_json = from_json.leaves_json
        self.losses: tuple[str, ...] = tuple(from_json.losses)
        """Why nothing can be rebuilt from JSON: what does not travel, or not as it is read."""
        self._tidy = Restorer(from_json=False).change_for(annotation)

    def from_json(self, data: Any) -> Any:
        """Build an instance from what a message held, in which every field has its type again.

        Raises:
            InvalidPayload: When the data do not fit.
        """
        try:
            if self._restore is not None:
                data = self._restore(data)
            if self._leaves_json:
                # With bytes in them the data are JSON no longer. What only JSON mode would convert in a
                # strict model, such as the text of a date, is converted because strictness is off.
                return self._adapter.validate_python(data, strict=False, **BY_EITHER_NAME)
            return self._adapter.validate_json(to_json(data), **BY_EITHER_NAME)
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
            payload = dump(payload)
        elif dataclasses.is_dataclass(payload) and not isinstance(payload, type):
            payload = dataclasses.asdict(payload)
        if self._tidy is not None:
            payload = self._tidy(payload)
        try:
            return self._adapter.validate_python(payload, **BY_EITHER_NAME)
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


def payload_type(annotation: Any, *, asking: str, travels: bool) -> PayloadType:
    """The type that a function asks for.

    Parameters:
        asking: The subscription's name, for messages.
        travels: Whether the payload comes out of a message, and has to be rebuilt.

    Raises:
        ConfigurationError: When pydantic cannot make such a thing of a payload.
    """
    try:
        found = PayloadType(annotation)
    except (PydanticUserError, PydanticUndefinedAnnotation) as error:
        raise ConfigurationError(
            f"{asking} asks for its payload as {spelled(annotation)}, which pydantic cannot make of data; "
            f"annotate the parameter as Event, or as the payload's type: {error.message}"
        ) from error
    if travels and found.losses:
        raise ConfigurationError(
            f"{asking} asks for its payload as {spelled(annotation)}, which cannot be rebuilt in a worker: "
            f"{'; '.join(found.losses)}. Give it a default, or annotate the parameter as Event."
        )
    return found


def _is_checkable(kind: type) -> bool:
    """Whether an instance of the class needs no look at what is inside."""
    return issubclass(kind, BaseModel) or dataclasses.is_dataclass(kind)
