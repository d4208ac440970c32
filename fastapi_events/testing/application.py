"""The handlers of the application under test, found in this process."""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any

from fastapi_events.context import handler_store
from fastapi_events.errors import ConfigurationError
from fastapi_events.handlers.base import BaseEventHandler


class Application:
    """Finds the handlers of the application under test.

    Parameters:
        modules: Where to look; what this process has imported, as it is then.
    """

    def __init__(self, modules: Mapping[str, ModuleType] = sys.modules) -> None:
        self._modules = modules
        self._looked_through = 0
        self._in_modules: tuple[list[BaseEventHandler], list[Any]] = [], []

    def handlers(self) -> list[BaseEventHandler]:
        """The handlers that middlewares hold, or will hold once their application is used.

        Where there is no middleware at all, as where only functions are imported, those that modules hold.
        """
        in_modules, declared = self._look()
        held = _held()
        known = {id(each) for each in (*in_modules, *declared)}
        if any(id(each) not in known for each in held):
            gc.collect()  # of an application that a test made before, and that nobody holds any more
            held = _held()
        return _unique([*held, *declared]) or _unique(in_modules)

    def everything(self) -> list[BaseEventHandler]:
        """All handlers of this process that can be found, those of other services as well."""
        in_modules, declared = self._look()
        return _unique([*_held(), *declared, *in_modules])

    def _look(self) -> tuple[list[BaseEventHandler], list[BaseEventHandler]]:
        if len(self._modules) != self._looked_through:  # to look through all of them takes ten milliseconds
            self._looked_through, self._in_modules = len(self._modules), _in(self._modules)
        in_modules, applications = self._in_modules
        return in_modules, list(_declared(applications))


def handlers_named(target: str) -> list[BaseEventHandler]:
    """The handlers that a setting names: a module that holds some, or an attribute of one.

    Parameters:
        target: `app.events`, or `app.events:events`.

    Raises:
        ConfigurationError: When there is no handler.
    """
    name, _, attribute = target.partition(":")
    try:
        found: Any = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"fastapi_events_handlers = {target}: {error}.") from error
    for part in filter(None, attribute.split(".")):
        if not hasattr(found, part):
            raise ConfigurationError(f"fastapi_events_handlers = {target}: {found!r} has no {part!r}.")
        found = getattr(found, part)
    if isinstance(found, BaseEventHandler):
        return [found]
    among = vars(found).values() if isinstance(found, ModuleType) else found
    handlers = _unique(_handlers_among(among)) if isinstance(among, Iterable) else []
    if not handlers:
        raise ConfigurationError(
            f"fastapi_events_handlers = {target}: there is no handler; name the module where one is made, or "
            "the handler itself, as in app.events:events."
        )
    return handlers


def _held() -> list[BaseEventHandler]:
    """The handlers of middlewares that have been made."""
    found: list[BaseEventHandler] = []
    for handlers in list(handler_store.values()):
        if not isinstance(handlers, tuple):  # those of `collect_events` are, which are of a block of code
            found += _handlers_among(handlers)
    return found


def _declared(applications: Iterable[Any]) -> Iterator[BaseEventHandler]:
    """The handlers of middlewares that are made when the first request comes."""
    for application in applications:
        for middleware in application.user_middleware:
            given = getattr(middleware, "kwargs", {}).get("handlers", ())
            if isinstance(given, Iterable) and not isinstance(given, Iterator):
                yield from _handlers_among(given)


def _in(modules: Mapping[str, ModuleType]) -> tuple[list[BaseEventHandler], list[Any]]:
    """The handlers that stand in modules, and the applications."""
    starlette = getattr(sys.modules.get("starlette.applications"), "Starlette", BaseEventHandler)
    handlers, applications = [], []
    for name, module in list(modules.items()):
        if not isinstance(module, ModuleType) or name.startswith("fastapi_events."):
            continue
        for value in list(vars(module).values()):
            # By its type: a lazy object answers isinstance() by making what it stands for.
            kind = type(value)
            if issubclass(kind, BaseEventHandler):
                handlers.append(value)
            elif issubclass(kind, starlette):
                applications.append(value)
    return handlers, applications


def _handlers_among(values: Iterable[Any]) -> Iterator[BaseEventHandler]:
    return (each for each in values if issubclass(type(each), BaseEventHandler))


def _unique(handlers: Iterable[BaseEventHandler]) -> list[BaseEventHandler]:
    return list({id(each): each for each in handlers}.values())
