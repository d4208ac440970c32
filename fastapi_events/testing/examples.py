"""Payloads made of a schema: every field, the required ones alone, and each alternative once.

A schema does not say all: some may not fit, such as a text where a number is written as one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

Schema: TypeAlias = Mapping[str, Any]

_MOST_EXAMPLES = 50
_DEEPEST = 8

_TEXTS = {
    "uuid": "6f1c3a0e-5d0b-4f3c-9b1a-2f4f3f0a7c11",
    "date-time": "2026-07-01T12:00:00Z",
    "date": "2026-07-01",
    "time": "12:00:00Z",
    "duration": "PT1H",
    "email": "cook@example.com",
    "uri": "https://example.com/",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "binary": "ZmlzaA==",
    "base64url": "ZmlzaA==",
    "path": "shop/kitchen",
    "json-string": "1",
}


class Examples:
    """Makes payloads of a JSON schema, always the same ones.

    Parameters:
        schema: Of an object, as pydantic writes it.
    """

    def __init__(self, schema: Schema) -> None:
        self._root = schema
        self._definitions: Schema = schema.get("$defs", {})

    def all(self) -> list[Any]:
        """The payloads, each once."""
        found: list[Any] = []
        for each in self._of(self._root, 0):
            if each not in found:
                found.append(each)
            if len(found) == _MOST_EXAMPLES:
                break
        return found

    def _of(self, schema: Schema, depth: int) -> Iterator[Any]:
        """Examples of a schema, the plainest first."""
        if "$ref" in schema:
            schema = {**self._definitions[schema["$ref"].rpartition("/")[2]], **_without(schema, "$ref")}
        if schema.get("examples"):
            yield from schema["examples"]
        elif "const" in schema:
            yield schema["const"]
        elif "enum" in schema:
            yield from schema["enum"]
        elif alternatives := schema.get("anyOf") or schema.get("oneOf"):
            # No text can be made that fits a pattern; a number does as well as the text of one.
            for each in [one for one in alternatives if "pattern" not in one] or alternatives:
                yield from self._of(each, depth)
        elif len(schema.get("allOf", ())) == 1:
            yield from self._of(schema["allOf"][0], depth)
        else:
            yield from self._of_type(schema, depth)

    def _of_type(self, schema: Schema, depth: int) -> Iterator[Any]:
        kind = schema.get("type")
        if kind == "object":
            yield from self._objects(schema, depth)
        elif kind == "array":
            yield from self._arrays(schema, depth)
        elif kind in ("integer", "number"):
            yield _number(schema, whole=kind == "integer")
        elif kind == "boolean":
            yield True
        elif kind == "null":
            yield None
        elif kind == "string":
            yield _text(schema)
        else:
            yield "anything"

    def _objects(self, schema: Schema, depth: int) -> Iterator[Any]:
        properties: Schema = schema.get("properties", {})
        required: Sequence[str] = schema.get("required", ())
        if depth >= _DEEPEST:  # a model that holds itself
            properties = {name: each for name, each in properties.items() if name in required}
        values = {name: list(self._of(each, depth + 1)) for name, each in properties.items()}
        extra = schema.get("additionalProperties")
        others = {"key": next(self._of(extra, depth + 1))} if isinstance(extra, Mapping) else {}
        full = {name: found[0] for name, found in values.items() if found} | others
        yield full
        # Which member of a union it is has a default, and still has to be said.
        needed = {*required, *(name for name, each in properties.items() if "const" in each)}
        yield {name: value for name, value in full.items() if name in needed}
        for name, found in values.items():
            for value in found[1:]:
                yield full | {name: value}

    def _arrays(self, schema: Schema, depth: int) -> Iterator[Any]:
        if "prefixItems" in schema:
            yield [next(self._of(each, depth + 1)) for each in schema["prefixItems"]]
            return
        items = list(self._of(schema.get("items", {}), depth + 1)) if depth < _DEEPEST else []
        count = max(schema.get("minItems", 0), 1)
        if items:
            yield (items * count)[: max(count, len(items) if schema.get("uniqueItems") else count)]
        else:
            yield []


def _text(schema: Schema) -> str:
    text = _TEXTS.get(schema.get("format", ""), "text")
    return text.ljust(schema.get("minLength", 0), "x")[: schema.get("maxLength")]


def _number(schema: Schema, *, whole: bool) -> float:
    least = schema.get("minimum", schema.get("exclusiveMinimum"))
    most = schema.get("maximum", schema.get("exclusiveMaximum"))
    step = schema.get("multipleOf", 1 if whole else 0.5)
    if least is not None:
        number = least + (step if "exclusiveMinimum" in schema else 0)
    elif most is not None:
        number = most - (step if "exclusiveMaximum" in schema else 0)
    else:
        number = step
    if "multipleOf" in schema:
        number = -(-number // step) * step
    return int(number) if whole else float(number)


def _without(schema: Schema, name: str) -> Schema:
    return {key: value for key, value in schema.items() if key != name}
