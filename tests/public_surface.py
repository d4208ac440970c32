"""The public surface as text: what people may import, call, override, type, set and read on the wire.

Public is what the pages of `docs/reference/` list, what an `__all__` names, the arguments of the commands,
the variables of the environment, and what crosses a process: attributes of envelopes, names of messages and
tables. All else begins with an underscore, or is where the reference does not look.

`make surface` writes it to `public_surface.txt`; the diff of that file shows what a change does to users.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import enum
import importlib
import inspect
import json
import pkgutil
import re
import textwrap
import tomllib
import types
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias, get_origin

import pydantic
from celery import Celery
from dramatiq.brokers.stub import StubBroker
from prometheus_client import CONTENT_TYPE_LATEST

import fastapi_events
from fastapi_events.dispatcher import dispatch
from fastapi_events.handlers.celery import CeleryHandler
from fastapi_events.handlers.dramatiq import DramatiqHandler
from fastapi_events.scope import collect_events
from fastapi_events.storage.sqlalchemy import schema

ROOT = Path(__file__).parents[1]
FROZEN = Path(__file__).with_name("public_surface.txt")
REFERENCE = ROOT / "docs" / "reference"

_DIRECTIVE = re.compile(r"^::: (\S+)(?:\n+    options: \{(.*)\})?", re.MULTILINE)
_MEMBERS = re.compile(r"members: \[(.*?)\]")
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")

_INDENT = "    "

Names: TypeAlias = tuple[types.ModuleType, list[str]]
"""A module, and the names of it that are public."""


def text() -> str:
    """All of it, one name a line."""
    referenced = list(_reference())
    others = list(_exported(referenced))
    public = {
        value
        for module, names in (*referenced, *others)
        for name in names
        if isinstance(value := getattr(module, name), type)
    }
    sections = {
        "Names of the reference": _names(referenced, public),
        "Other names of an __all__": _names(others, public),
        "What each __all__ names": _all(),
        "Commands": _commands(),
        "Environment": _environment(),
        "The package": _package(),
        "Wire: attributes of an envelope": _envelope(),
        "Wire: messages": _messages(),
        "Wire: tables": _tables(),
    }
    parts = ("\n".join((title, "=" * len(title), "", *lines)).rstrip() for title, lines in sections.items())
    return "\n\n\n".join(parts) + "\n"


# Names ------------------------------------------------------------------------------------------------------


def _reference() -> Iterator[Names]:
    """The modules that the reference lists, and which of their names."""
    pages = re.findall(r"\breference/([\w-]+\.md)", (ROOT / "mkdocs.yml").read_text())
    text = "\n".join((REFERENCE / page).read_text() for page in pages)
    for module_name, options in _DIRECTIVE.findall(text):
        module = importlib.import_module(module_name)
        members = _MEMBERS.search(options)
        yield module, re.split(r",\s*", members[1]) if members else list(_own_names(module))


def _exported(
    referenced: list[tuple[types.ModuleType, list[str]]],
) -> Iterator[Names]:
    """The modules with an `__all__`, and those of its names that the reference has not."""
    known = {id(getattr(module, name)) for module, names in referenced for name in names}
    for module in _modules():
        names = [name for name in getattr(module, "__all__", ()) if id(getattr(module, name)) not in known]
        if names:
            yield module, names


def _names(modules: Iterable[Names], public: set[type]) -> Iterator[str]:
    for module, names in modules:
        yield module.__name__
        for name in names:
            yield from _indented(_described(module, name, public))
        yield ""


def _all() -> Iterator[str]:
    for module in _modules():
        if hasattr(module, "__all__"):
            yield f"{module.__name__}: {', '.join(sorted(module.__all__))}"


def _modules() -> list[types.ModuleType]:
    found = pkgutil.walk_packages(fastapi_events.__path__, f"{fastapi_events.__name__}.")
    names = sorted(each.name for each in found if not each.name.endswith("__main__"))
    return [fastapi_events, *map(importlib.import_module, names)]


def _own_names(module: types.ModuleType) -> Iterator[str]:
    """What a module defines itself, in the order of its text, and does not hide."""
    for name in [*_assignments(module), *_definitions(module)]:
        hidden = name.startswith("_") or name == "logger"
        if not hidden and type(getattr(module, name)).__name__ not in ("TypeVar", "ParamSpec"):
            yield name


def _definitions(module: types.ModuleType) -> Iterator[str]:
    for node in _body(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name


def _assignments(module: types.ModuleType) -> dict[str, ast.expr]:
    """What a module assigns to its names, as written there."""
    found: dict[str, ast.expr] = {}
    for node in _body(module):
        if isinstance(node, ast.Assign):
            found |= {each.id: node.value for each in node.targets if isinstance(each, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            found[node.target.id] = node.value
    return found


@cache
def _body(module: types.ModuleType) -> list[ast.stmt]:
    assert module.__file__ is not None
    return ast.parse(Path(module.__file__).read_text()).body


def _described(module: types.ModuleType, name: str, public: set[type]) -> Iterator[str]:
    value = getattr(module, name)
    if name in _assignments(module):
        simple = isinstance(value, str | int | float | frozenset)
        yield f"{name} = {_value(value) if simple else ast.unparse(_assignments(module)[name])}"
    elif isinstance(value, type) and not get_origin(value):
        yield from _class(name, value, public)
    elif isinstance(value, types.FunctionType):
        yield f"{_prefix(value)}{name}{_signature(value)}"
    else:
        yield f"{name}: {type(value).__name__}"


def _class(name: str, kind: type, public: set[type]) -> Iterator[str]:
    """A class without what it has, and says in the same way, of a public class."""
    bases = ", ".join(base.__qualname__ for base in kind.__bases__ if base is not object)
    yield f"class {name}({bases})" if bases else f"class {name}"
    said = {line for base in kind.__mro__[1:] if base in public for line in _class_members(base)}
    yield from _indented(line for line in _class_members(kind) if line not in said)


def _class_members(kind: type) -> Iterator[str]:
    if issubclass(kind, enum.Enum):
        yield from (f"{each.name} = {each.value!r}" for each in kind)
        return
    if issubclass(kind, pydantic.BaseModel):
        for name, field in kind.model_fields.items():
            yield f"{name}: {_annotation(field.annotation)} = {_value(field.default)}"
        return
    constructor = inspect.getattr_static(kind, "__init__")
    if isinstance(constructor, types.FunctionType) and constructor.__module__.startswith("fastapi_events"):
        yield f"__init__{_signature(constructor, without_self=True)}"
    members = _members(kind)
    for name in sorted(members):
        yield from _member(name, inspect.getattr_static(kind, name))
    yield from (f"self.{name}" for name in sorted(_attributes(kind) - members))


def _members(kind: type) -> set[str]:
    ours = [each for each in kind.__mro__ if each.__module__.startswith("fastapi_events")]
    names = {name for each in ours for name in vars(each) if not name.startswith(("_", "test_"))}
    fields = {each.name for each in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()
    return names - fields  # those are arguments of the constructor


def _attributes(kind: type) -> set[str]:
    """What the methods of a class give to `self`, and do not hide."""
    return {
        node.attr
        for each in kind.__mro__
        if each.__module__.startswith("fastapi_events")
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(each))))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        if isinstance(node.value, ast.Name) and node.value.id == "self" and not node.attr.startswith("_")
    }


def _member(name: str, value: Any) -> Iterator[str]:
    for kind in (classmethod, staticmethod):
        if isinstance(value, kind):
            yield f"{kind.__name__} {_prefix(value.__func__)}{name}{_signature(value.__func__)}"
            return
    if _is_fixture(value):
        yield f"fixture {name}"
    elif isinstance(value, types.FunctionType):
        required = "abstract " if getattr(value, "__isabstractmethod__", False) else ""
        yield f"{required}{_prefix(value)}{name}{_signature(value, without_self=True)}"
    elif (getter := getattr(value, "fget", None) or getattr(value, "func", None)) is not None:
        yield f"{name}: {_annotation(inspect.signature(getter).return_annotation)}"
    elif isinstance(value, types.MemberDescriptorType):  # one of its slots
        yield f"self.{name}"
    elif value == CONTENT_TYPE_LATEST:
        yield f"{name} = CONTENT_TYPE_LATEST"
    else:
        yield f"{name} = {_value(value)}"


def _is_fixture(value: Any) -> bool:
    """Whether it is a fixture: before pytest 8.4 that is a function with a mark."""
    return type(value).__name__ == "FixtureFunctionDefinition" or hasattr(value, "_pytestfixturefunction")


def _prefix(function: Any) -> str:
    return "async " if inspect.iscoroutinefunction(function) else ""


def _signature(function: Any, *, without_self: bool = False) -> str:
    signature = inspect.signature(function)
    parameters = list(signature.parameters.values())[1 if without_self else 0 :]
    parts: list[str] = []
    keyword_only = positional_only = False
    for each in parameters:
        if each.kind is each.POSITIONAL_ONLY:
            positional_only = True
        elif positional_only:
            parts.append("/")
            positional_only = False
        if each.kind is each.VAR_POSITIONAL:
            keyword_only = True
        elif each.kind is each.KEYWORD_ONLY and not keyword_only:
            parts.append("*")
            keyword_only = True
        stars = {each.VAR_POSITIONAL: "*", each.VAR_KEYWORD: "**"}.get(each.kind, "")
        hint = "" if each.annotation is each.empty else f": {_annotation(each.annotation)}"
        default = "" if each.default is each.empty else f"={_value(each.default)}"
        parts.append(f"{stars}{each.name}{hint}{default}")
    returned = signature.return_annotation
    arrow = "" if returned is signature.empty else f" -> {_annotation(returned)}"
    return f"({', '.join(parts)}){arrow}"


def _annotation(hint: Any) -> str:
    if isinstance(hint, str):
        return hint
    if isinstance(hint, type) and not get_origin(hint):
        return hint.__qualname__
    return re.sub(r"\b(?:\w+\.)+(?=\w)", "", repr(hint))


def _value(value: Any) -> str:
    if isinstance(value, type | types.FunctionType):
        return str(value.__qualname__)
    if isinstance(value, frozenset | set):
        return f"{{{', '.join(sorted(map(repr, value)))}}}"
    return _ADDRESS.sub("", repr(value))


def _indented(lines: Iterator[str]) -> Iterator[str]:
    return (_INDENT + line for line in lines)


# What is typed into a shell ---------------------------------------------------------------------------------


def _commands() -> Iterator[str]:
    """What `--help` says of each command, in words that do not depend on the version of Python."""
    from fastapi_events import cli
    from fastapi_events.embedded import __main__ as embedded

    for parser in (cli.parser(), embedded.parser()):
        yield from _parser(parser)


def _parser(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield f"{parser.prog}: {parser.description}" if parser.description else parser.prog
    nested: list[argparse.ArgumentParser] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            nested += action.choices.values()
        elif not isinstance(action, argparse._HelpAction):
            yield _INDENT + _argument(action)
    if parser.epilog:
        yield f"{_INDENT}({parser.epilog})"
    for each in nested:
        yield from _parser(each)


def _argument(action: argparse.Action) -> str:
    name = ", ".join(action.option_strings) or str(action.metavar or action.dest)
    choices = f" of {', '.join(map(str, action.choices))}" if action.choices else ""
    many = f" [{action.nargs}]" if action.nargs not in (None, 0) else ""
    required = " (required)" if action.required and action.option_strings else ""
    told = f": {action.help.replace('%(default)s', str(action.default))}" if action.help else ""
    return f"{name}{many}{choices}{required}{told}"


def _environment() -> Iterator[str]:
    """The variables that are spelt out in the package, and those that its settings make of their fields."""
    from fastapi_events import settings

    source = "\n".join(each.read_text() for each in (ROOT / "fastapi_events").rglob("*.py"))
    spelt = re.findall(r"[\"'`](FASTAPI_EVENTS_[A-Z_]*[A-Z])[\"'`]", source)
    made = [f"FASTAPI_EVENTS_{field.upper()}" for field in settings.Settings.model_fields]
    yield from sorted({*spelt, *made})


def _package() -> Iterator[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    yield f"extras: {', '.join(sorted(project['optional-dependencies']))}"
    for name, target in project["scripts"].items():
        yield f"command: {name} = {target}"
    for group, points in project["entry-points"].items():
        yield from (f"{group}: {name} = {target}" for name, target in points.items())


# What crosses a process -------------------------------------------------------------------------------------


def _envelope() -> Iterator[str]:
    """The attributes that the page on the wire lists."""
    for row in re.findall(r"^\| (`.*?) \|", (ROOT / "docs" / "wire.md").read_text(), re.MULTILINE):
        yield from re.findall(r"`(\w+)`", row)


def _messages() -> Iterator[str]:
    """The message in which each engine gets an event."""
    broker = StubBroker()
    with collect_events([DramatiqHandler(broker)], raise_errors=True):
        dispatch("name", {})
    message = json.loads(broker.queues["events"].get_nowait())
    yield f"dramatiq: {message['actor_name']} on {message['queue_name']}, {len(message['args'])} argument"
    yield f"{_INDENT}options: {', '.join(sorted(message['options'])) or 'none'}"
    with Celery(broker="memory://", set_as_current=False) as app:
        with collect_events([CeleryHandler(app)], raise_errors=True):
            dispatch("name", {})
        with app.connection_for_read() as connection:
            received = connection.SimpleQueue("events").get(timeout=10)
    args, kwargs, _ = received.payload
    queue = received.delivery_info["routing_key"]
    yield f"celery: {received.headers['task']} on {queue}, {len(args)} argument"
    yield f"{_INDENT}keywords: {', '.join(sorted(kwargs)) or 'none'}"


def _tables() -> Iterator[str]:
    for table in schema.metadata.sorted_tables:
        yield f"{table.name}: {', '.join(column.name for column in table.columns)}"


if __name__ == "__main__":
    FROZEN.write_text(text())
