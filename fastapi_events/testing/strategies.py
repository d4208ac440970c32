"""Hypothesis strategies for payloads and events, from models and registered schemas.

```python
from fastapi_events.testing.strategies import payloads

@given(payloads(OrderPlaced))
def test_any_order(order): ...
```
"""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import ValidationError

from fastapi_events import codec
from fastapi_events.errors import ConfigurationError, MissingDependencyError, UnserialisablePayload
from fastapi_events.event import wire_name
from fastapi_events.registry.payload_schema import registry
from fastapi_events.testing.dispatched import names_of

try:
    from hypothesis import strategies as st
except ImportError as _missing:
    raise MissingDependencyError("Hypothesis", "testing") from _missing

M = TypeVar("M")


def payloads(model: type[M], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[M]:
    """Instances of a model that can travel.

    Parameters:
        model: The class; a pydantic model, a dataclass, or whatever Hypothesis can build.
        fields: Strategies for fields that have rules of their own, such as a pattern.
    """

    @st.composite
    def build(draw: st.DrawFn) -> M | None:
        try:
            made = draw(st.builds(model, **fields))
            codec.encode(made, event_name="example")
        except (ValidationError, UnserialisablePayload):
            return None
        return made

    return build().filter(lambda made: made is not None)  # type: ignore[return-value]


def events(*models: type[Any]) -> st.SearchStrategy[tuple[str, Any]]:
    """Pairs of a name and a payload, of any event that has a schema.

    Parameters:
        models: Of which events; all that are registered if none are given.

    Raises:
        ConfigurationError: When none is registered, or a class names no event.
    """
    found: list[tuple[str, type[Any]]] = [(names_of(each)[0], each) for each in models]
    if not models:
        found = [(wire_name(name), schema) for name, schema in registry.items()]
    if not found:
        raise ConfigurationError("No schema is registered: import the module that does, or pass models.")
    return st.one_of([st.tuples(st.just(name), payloads(model)) for name, model in found])
