"""`check_wire`: a change of a payload's schema must not break messages that may be waiting."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from fastapi_events import codec
from fastapi_events.environment import runs_in_ci
from fastapi_events.errors import ConfigurationError, InvalidPayload, UnserialisablePayload
from fastapi_events.subscriptions.payload import PayloadType
from fastapi_events.testing.dispatched import names_of
from fastapi_events.testing.examples import Examples

MAX_BYTES = 10_000_000


def check_wire(*models: Any, folder: str | Path | None = None) -> None:
    """Check that payloads which were written by earlier versions of a model can still be read.

    What each version writes is kept in a file, `wire/EVENT.json` beside the test, to be committed. The first
    time it is written; a compatible change adds to it. Where `CI` is set in the environment, nothing is
    written, and what is missing fails.

        def test_wire() -> None:
            check_wire(OrderPlaced, OrderCooked)

    Parameters:
        models: Classes of payloads, or instances where no example can be made of a class alone.
        folder: Where the files are.

    Raises:
        AssertionError: When a payload of a file does not fit its model any more, or loses a field to a new
            one, with the field and the ways out.
        ConfigurationError: When a class names no event, no example of it can be made, or there is no class.
    """
    if not models:
        raise ConfigurationError("check_wire() has nothing to check: pass it classes of payloads.")
    if folder is None:
        frame = inspect.currentframe()
        assert frame is not None  # noqa: S101 - CPython has frames
        assert frame.f_back is not None  # noqa: S101 - somebody has called
        folder = Path(frame.f_back.f_code.co_filename).parent / "wire"
    for each in models:
        _check(each, Path(folder))


def _check(given: Any, folder: Path) -> None:
    model = given if isinstance(given, type) else type(given)
    name = names_of(model)[0]
    file = folder / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}.json"
    reader = PayloadType(model)
    schema = TypeAdapter(model).json_schema(by_alias=False)
    kept = json.loads(file.read_text()) if file.exists() else {"event": name, "schema": None, "examples": []}
    for example in kept["examples"]:
        _check_example(example, model, name, reader, file)
    if kept["schema"] == schema and given is model:
        return
    new = [each for each in _examples(given, model, schema, reader) if each not in kept["examples"]]
    if kept["schema"] == schema and not new:
        return
    if runs_in_ci():
        raise AssertionError(
            f"{file} lacks what {model.__name__} is now: run this test where CI is not set, and commit it."
        )
    folder.mkdir(parents=True, exist_ok=True)
    kept |= {"schema": schema, "examples": [*kept["examples"], *new]}
    file.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n")


def _check_example(example: Any, model: type, name: str, reader: PayloadType, file: Path) -> None:
    way_out = (
        "Give a new field a default, and a renamed one its old name as an alias, "
        f"validation_alias=AliasChoices('new', 'old'). Once no such message can wait, delete {file.name}."
    )
    try:
        now = _written(reader.from_json(example), name)
    except InvalidPayload as error:
        raise AssertionError(
            f"Messages of {name!r} that may be waiting cannot be read as {model.__name__} any more: {error}\n"
            f"  {json.dumps(example, ensure_ascii=False)}\n{way_out}"
        ) from error
    for gone, instead in _renamed(example, now):
        raise AssertionError(
            f"Messages of {name!r} that may be waiting lose {gone}: {model.__name__} does not read it, and "
            f"has {instead} with a default.\n  {json.dumps(example, ensure_ascii=False)}\n{way_out}"
        )


def _renamed(before: Any, now: Any, at: str = "") -> Iterator[tuple[str, str]]:
    """What is not read any more where something new is."""
    if not isinstance(before, Mapping) or not isinstance(now, Mapping):
        return
    new = [name for name in now if name not in before]
    moved = [now[name] for name in new]  # where an alias reads the old name
    gone = [name for name in before if name not in now and before[name] not in moved]
    if gone and new:
        yield ", ".join(f"{at}{name}" for name in gone), ", ".join(f"{at}{name}" for name in new)
    for name in before:
        if name in now:
            yield from _renamed(before[name], now[name], f"{at}{name}.")


def _examples(given: Any, model: type, schema: Mapping[str, Any], reader: PayloadType) -> list[Any]:
    name = names_of(model)[0]
    if given is not model:
        return [_written(given, name)]
    found: list[Any] = []
    refused: Exception | None = None
    for each in Examples(schema).all():
        try:
            written = _written(reader.from_json(each), name)
        except (InvalidPayload, UnserialisablePayload) as error:
            refused = refused or error
            continue
        if written not in found:
            found.append(written)
    if not found:
        raise ConfigurationError(
            f"No example of {model.__name__} can be made of its schema: {refused} "
            f"Pass an instance, check_wire({model.__name__}(…)), or give the field examples=[…]."
        ) from refused
    return found


def _written(payload: Any, name: str) -> Any:
    """What travels of a payload."""
    return codec.decode(codec.encode(payload, event_name=name, max_bytes=MAX_BYTES))
