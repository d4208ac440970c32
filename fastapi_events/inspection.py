"""Looking at handlers from outside: where they are, and whether they are set up so that nothing is lost."""

from __future__ import annotations

import difflib
import importlib
import logging
import os
import pkgutil
import sys
import traceback
from collections.abc import Collection, Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any

from fastapi_events.checks import counted
from fastapi_events.errors import ConfigurationError, FastapiEventError, StorageError
from fastapi_events.handlers.base import BaseEventHandler
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.handlers.task_queue.announcement import unlike_workers
from fastapi_events.handlers.task_queue.diagnosis import Finding
from fastapi_events.storage.lanes import Lanes

logger: logging.Logger = logging.getLogger(__name__)


def listed_handlers(handlers: Iterable[BaseEventHandler], *, asking: str) -> list[BaseEventHandler]:
    """The handlers that an application for operators is made of.

    Parameters:
        asking: The function that makes it, for the error.

    Raises:
        ConfigurationError: When they are no handlers.
    """
    if isinstance(handlers, (BaseEventHandler, str, Mapping)) or not isinstance(handlers, Iterable):
        raise ConfigurationError(
            f"{asking}({handlers!r}): expected a list of handlers, such as {asking}([events])."
        )
    every = list(handlers)
    for each in every:
        if not isinstance(each, BaseEventHandler):
            raise ConfigurationError(f"{asking}(…): {each!r} is no handler; pass those of the middleware.")
    return every


def handlers_in(target: str) -> list[TaskQueueHandler]:
    """The queue handlers that a target names.

    Parameters:
        target: `package.module`, for all handlers in it; `package.module:attribute` for one, or for those
            of an application's middleware.

    Raises:
        ConfigurationError: When there is no such module or attribute, or no queue handler there.
    """
    name, _, attribute = target.partition(":")
    if "/" in name or name.endswith(".py"):
        meant = name.removesuffix(".py").strip("./").replace("/", ".")
        raise ConfigurationError(f"{name} is a file; name the module: {meant}.")
    if not name or name.startswith("."):
        raise ConfigurationError(f"{target!r} names no module; write app.events, or app.events:events.")
    module = _module(name)
    if attribute:
        return _handlers_of(_attribute(module, name, attribute), target)
    handlers = _queue_handlers(vars(module).values())
    if not handlers:
        raise ConfigurationError(
            f"{name} holds no DramatiqHandler or CeleryHandler; name the module where it is made, such as "
            "app.events, or the handler itself: app.events:events."
        )
    return handlers


def _attribute(module: ModuleType, name: str, attribute: str) -> Any:
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            close = difflib.get_close_matches(part, dir(found), 1)
            meant = f"; did you mean {close[0]!r}?" if close else "."
            raise ConfigurationError(f"{name}:{attribute}: {name} has no {attribute!r}{meant}")
        found = getattr(found, part)
    return found


def _handlers_of(found: Any, target: str) -> list[TaskQueueHandler]:
    """The handler that was named, or those of the application that was."""
    if isinstance(found, TaskQueueHandler):
        return [found]
    kind = found.__name__ if isinstance(found, type) else type(found).__name__
    if isinstance(found, type):
        raise ConfigurationError(f"{target} is the class {kind}; name what was made of it.")
    given = getattr(found, "user_middleware", None)  # what Starlette and FastAPI call it
    if given is None:
        raise ConfigurationError(
            f"{target} is a {kind}; expected a DramatiqHandler, a CeleryHandler, or an application with one."
        )
    handed_over = [getattr(each, "kwargs", {}).get("handlers", ()) for each in given]
    handlers = _queue_handlers(
        each for several in handed_over if isinstance(several, Collection) for each in several
    )
    if not handlers:
        raise ConfigurationError(
            f"The application {target} has no queue handler: add_middleware(EventHandlerASGIMiddleware, "
            "handlers=[events]) gives it one."
        )
    return handlers


def _queue_handlers(values: Iterable[Any]) -> list[TaskQueueHandler]:
    """Each queue handler among them once."""
    return list({id(each): each for each in values if isinstance(each, TaskQueueHandler)}.values())


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigurationError(
                f"There is no module {name!r} here{_meant(name, missing=error.name)} Run this where your "
                f"application can be imported; this is {os.getcwd()}."
            ) from error
        raise _failed_import(name, error) from error
    except FastapiEventError:
        raise  # its message names the way out
    except Exception as error:  # whatever an application's own module raises
        raise _failed_import(name, error) from error


def _meant(name: str, *, missing: str) -> str:
    """What may have been meant, as the end of a sentence: an attribute after a dot, or a close module.

    Parameters:
        missing: The part of the name up to the first module that is not there.
    """
    parent = missing.rpartition(".")[0]
    attribute = name.removeprefix(f"{parent}.")
    found: Any = sys.modules.get(parent)
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if found is not None:
        return f"; did you mean '{parent}:{attribute}'?"
    package, _, last = name.rpartition(".")
    try:
        path = importlib.import_module(package).__path__ if package else [os.getcwd()]
    except (ImportError, AttributeError):
        return "."
    close = difflib.get_close_matches(last, [each.name for each in pkgutil.iter_modules(path)], 1)
    return f"; did you mean {'.'.join(filter(None, (package, close[0])))!r}?" if close else "."


def _failed_import(name: str, error: Exception) -> ConfigurationError:
    """What to raise where a module is there, and cannot be imported."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    hint = ""
    if isinstance(error, ModuleNotFoundError):
        hint = f" Is it installed for {sys.executable}?"
    return ConfigurationError(
        f"{name} cannot be imported: {type(error).__name__}: {error} ({where.filename}:{where.lineno}).{hint}"
    )


def examine(handler: TaskQueueHandler) -> Iterator[Finding]:
    """Look for what would lose events, or keep them where nobody looks."""
    yield from _outbox(handler)
    yield from _dead_letters(handler)
    yield from _turns(handler)
    yield from _catalogue(handler)
    yield from handler.diagnose()


def _catalogue(handler: TaskQueueHandler) -> Iterator[Finding]:
    try:
        catalogue = handler.catalogue
        if catalogue is None:
            yield Finding(
                "danger", "catalogue",
                "none: workers that import different modules share events out between them and lose them; "
                "pass store=SqlStore(…) or store=RedisStore(…), or catalogue= alone.",
            )  # fmt: skip
            return
        catalogue.check()
        snapshot = handler.fleet.snapshot()
    except StorageError as error:
        yield Finding("danger", "catalogue", str(error))
        return
    except Exception as error:  # of the broker's client, where the catalogue is in the broker
        yield Finding("danger", "catalogue", f"{type(error).__name__}: {error}")
        return
    functions = counted(len(snapshot.listings), "function")
    yield Finding("ok", "catalogue", f"{functions}, {counted(len(snapshot.workers), 'live worker')}")
    for queue, names in unlike_workers(snapshot).items():
        yield Finding(
            "advice", f"queue {queue}",
            f"not all of its workers have {', '.join(names)}: messages are passed on between them; give "
            "those functions a queue of their own.",
        )  # fmt: skip


def _outbox(handler: TaskQueueHandler) -> Iterator[Finding]:
    if handler.outbox is None:
        yield Finding(
            "danger", "outbox",
            "none: events that the broker does not take within the deadline are reported lost; pass store=.",
        )  # fmt: skip
        return
    try:
        handler.outbox.check()
        status = handler.outbox.status()
    except StorageError as error:
        yield Finding("danger", "outbox", str(error))
        return
    yield Finding("ok", "outbox", f"{status.waiting} waiting, {status.unconfirmed} without all receipts")
    if not handler.persists_before_response:
        yield Finding(
            "advice", "durability",
            "until their flush events live in memory; with durability='response' they survive the process.",
        )  # fmt: skip


def _dead_letters(handler: TaskQueueHandler) -> Iterator[Finding]:
    if handler.dead_letters is None:
        yield Finding(
            "advice", "dead letters",
            "left to the engine, where `fastapi-events dead` cannot list or replay them; pass store=.",
        )  # fmt: skip
        return
    try:
        handler.dead_letters.check()
        count = handler.dead_letters.count(handler=handler.name)
    except StorageError as error:
        yield Finding("danger", "dead letters", str(error))
    else:
        yield Finding("ok" if not count else "advice", "dead letters", f"{count} kept")


def _turns(handler: TaskQueueHandler) -> Iterator[Finding]:
    for subject, store in (("inbox", handler.inbox), ("lanes", handler.lanes)):
        if store is not None:
            try:
                store.check()
                loss = store.forgets() if isinstance(store, Lanes) else None
            except StorageError as error:
                yield Finding("danger", subject, str(error))
                continue
            if loss is not None and handler.confirms_handled:
                yield Finding("ok", subject, f"{loss}, and comes again from the outbox")
            elif loss is not None:
                yield Finding(
                    "danger", subject,
                    f"{loss}. Events with an ordering key wait there: set appendonly yes, keep lanes in an "
                    "SQL database, or give the handler confirm='handled'.",
                )  # fmt: skip
