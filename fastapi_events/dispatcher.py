"""`dispatch()`: the door through which events enter."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, TypeAlias

from pydantic import BaseModel

from fastapi_events import context, under_test
from fastapi_events.delivery import call_dispatch_hooks, handle_soon, report_lost
from fastapi_events.dispatch_options import DispatchOptions
from fastapi_events.environment import dispatch_disabled
from fastapi_events.errors import (
    ConfigurationError,
    MissingEventNameDuringDispatch,
    MultiplePayloadsDetectedDuringDispatch,
)
from fastapi_events.event import Event, EventName, check_name, new_event, wire_name
from fastapi_events.ids import NamedIds
from fastapi_events.lifecycle import Lifecycle, heard, tell
from fastapi_events.otel import tracing
from fastapi_events.registry.base import BaseEventPayloadSchemaRegistry
from fastapi_events.registry.payload_schema import registry as default_payload_schema_registry
from fastapi_events.scope import Backlog
from fastapi_events.typing import Payload

logger: logging.Logger = logging.getLogger(__name__)

# Assigned rather than imported: a method of an imported name CPython looks up as if it were a module's
# function, which takes twice as long.
event_store: ContextVar[deque[Event]] = context.event_store
handler_store: defaultdict[int, Iterable[Any]] = context.handler_store
in_req_res_cycle: ContextVar[bool | None] = context.in_req_res_cycle
middleware_identifier: ContextVar[int] = context.middleware_identifier
current_event: ContextVar[Event | None] = context.current_event
dispatched_model: ContextVar[Any] = context.dispatched_model
chained_ids: ContextVar[NamedIds | None] = context.chained_ids

# To look whether the event concerns a trace. Not by the name that tests patch: they rely on `event_store`
# being read only where an event is collected.
_scope_around = context.event_store

_NOBODY_IS_IN_CHARGE = """: dispatch() was called where no middleware or scope says who handles the event,
as while a module is imported, in a thread, task or actor of your own, in a handler for Exception, or in a
middleware around EventHandlerASGIMiddleware. Three ways out:
- In an application, let EventHandlerASGIMiddleware be around this code: add it last, to be the outermost.
- Name the middleware: EventHandlerASGIMiddleware(..., middleware_id=1) and dispatch(..., middleware_id=1).
- Anywhere else, open a scope: `with collect_events([handler]):`, from fastapi_events.scope.
"""

_Schemas: TypeAlias = BaseEventPayloadSchemaRegistry
_Given: TypeAlias = tuple[Mapping[str, str] | None, float | timedelta | None, datetime | None, str | None]
_Dumping: TypeAlias = tuple[bool, Mapping[str, Any] | None]


def dispatch(
    event_name_or_model: EventName | Any = None,
    payload: Payload | None = None,
    event_name: EventName | None = None,
    validate_payload: bool = True,
    payload_schema_cls_dict_args: dict[str, Any] | None = None,
    payload_schema_registry: BaseEventPayloadSchemaRegistry | None = None,
    middleware_id: int | None = None,
    payload_schema_dump: bool = True,
    *,
    headers: Mapping[str, str] | None = None,
    delay: float | timedelta | None = None,
    eta: datetime | None = None,
    ordering_key: str | None = None,
) -> None:
    """Dispatch an event: it is handled once the scope has ended, which for a request is after its response.

    Outside of a scope it is handled at once, by the middleware that `middleware_id` names.

        dispatch("cat-requested-a-fish", payload={"cat_id": 7})
        dispatch(CatRequestedAFish(cat_id=7))         # named by the model's __event_name__

    Parameters:
        event_name_or_model: The name, or a model (a dataclass does, too) that is the payload.
        payload: Any object; for a queue handler it has to be plain data, models or dataclasses.
        event_name: The name; wins over the model's own.
        validate_payload: Validate a dict against the schema registered under the name, if there is one.
        payload_schema_cls_dict_args: Passed to the model's `model_dump`; `{"exclude_unset": True}` if not
            given.
        payload_schema_registry: Where to look for the schema, instead of the default registry.
        middleware_id: Whose handlers get the event, outside of a scope; ignored inside.
        payload_schema_dump: Hand the payload on as a dict (the default) or as the model.
        headers: Travel beside the payload: attributes of the CloudEvents envelope such as `correlationid`,
            in lower-case letters and digits.
        delay: How long the event is held back, a `timedelta` or seconds; how long it may be depends on the
            handlers.
        eta: Until when it is held back, with a time zone; instead of `delay`.
        ordering_key: Queue handlers with lanes handle events with the same key one after the other.

    Raises:
        MissingEventNameDuringDispatch: When neither an argument nor the model names the event.
        MultiplePayloadsDetectedDuringDispatch: When a model and a payload are given.
        UnserialisablePayload: When the payload cannot travel and a handler of the scope is a queue.
        DelayTooLong: When a handler of the scope cannot hold the event back for so long.
        ConfigurationError: When a header, a delay or a key cannot be what it is, or a class stands where its
            instance belongs.
        LookupError: Outside of a scope, without `middleware_id`.
    """
    named = type(event_name_or_model) is str or isinstance(event_name_or_model, (str, Enum))
    if payload and event_name_or_model and not named:
        raise MultiplePayloadsDetectedDuringDispatch
    if not event_name:
        event_name = event_name_or_model if named else getattr(event_name_or_model, "__event_name__", None)
        if not event_name:
            raise MissingEventNameDuringDispatch(event_name_or_model)
    if not named or type(event_name) is not str:
        _check(event_name, event_name_or_model)

    scope = _scope_around.get(None)
    traced = getattr(scope, "traced", None)
    if traced is None:
        traced = scope.look_for_traces() if isinstance(scope, Backlog) else tracing.concerns_events()
    given: _Given | None = None
    if not (headers is None and delay is None and eta is None and ordering_key is None):
        given = headers, delay, eta, ordering_key
    model = None if named else event_name_or_model
    schemas = payload_schema_registry
    if schemas is None:  # not `or`: an empty registry is falsy, and still the one that was asked for
        schemas = default_payload_schema_registry
    if not validate_payload:
        schemas = None
    dumping = payload_schema_dump, payload_schema_cls_dict_args
    if traced:
        with tracing.dispatch_span(event_name):
            _enter(event_name, payload, model, schemas, dumping, middleware_id, given)
    else:
        _enter(event_name, payload, model, schemas, dumping, middleware_id, given)


def _check(event_name: Any, model: Any) -> None:
    """Refuse a name that is none, and a class where its instance belongs."""
    check_name(event_name, asking="dispatch")
    if isinstance(model, type) and not isinstance(model, (str, Enum)):
        kind = model.__name__
        raise ConfigurationError(
            f"dispatch({kind}): that is a class, which has no payload; dispatch one of it: {kind}(…)."
        )


def _enter(
    name: EventName, payload: Any, model: Any, schemas: _Schemas | None, dumping: _Dumping,
    middleware_id: int | None, given: _Given | None,
) -> None:  # fmt: skip
    """Hand the event on, with the payload it is to have: the model's, or what its schema makes of a dict."""
    if model is None and schemas is not None and (not payload or isinstance(payload, dict)):
        schema = schemas.get(name)
        if schema is not None:
            model, payload = schema(**(payload or {})), None
    if model is not None:
        payload = payload or _payload_of(model, *dumping)
        # The caller's options of the dump hold for what travels, too.
        if payload is not model and not dumping[1]:
            token = dispatched_model.set(model)
            try:
                _enter(name, payload, None, None, dumping, middleware_id, given)
            finally:
                dispatched_model.reset(token)
            return
    if middleware_id is not None:
        with _set_middleware_identifier(middleware_id):
            _enter(name, payload, None, None, dumping, None, given)
    elif given is None:
        _dispatch(event_name=name, payload=payload)
    else:
        _dispatch(event_name=name, payload=payload, options=DispatchOptions.of(*given))


def _dispatch(event_name: EventName, payload: Any = None, options: DispatchOptions | None = None) -> None:
    if dispatch_disabled():
        return
    if in_req_res_cycle.get():
        scope = event_store.get()
        event = new_event(event_name, payload)
        if dispatched_model.get() is not None:
            _keep_model(event)
        traced = getattr(scope, "traced", None)
        if traced is not False or options is not None or current_event.get() is not None:
            _mark(event, options)
        scope.append(event)
    elif options is None:
        _dispatch_as_task(event_name, payload)
    else:
        _dispatch_as_task(event_name, payload, options)


def _dispatch_as_task(
    event_name: EventName, payload: Any = None, options: DispatchOptions | None = None
) -> Any:
    handlers = list(_list_handlers())
    event = new_event(event_name, payload)
    if dispatched_model.get() is not None:
        _keep_model(event)
    _mark(event, options)
    call_dispatch_hooks(handlers, event)
    if Lifecycle.dispatched in heard:
        tell(Lifecycle.dispatched, event)
    if not handlers and middleware_identifier.get(None) not in handler_store:
        report_lost(event, (), f"no middleware has the id {middleware_identifier.get(None)!r}")
    return handle_soon(handlers, event)


def _keep_model(event: Event) -> None:
    event.model = dispatched_model.get()
    dispatched_model.set(None)  # a hook may dispatch another event


def _list_handlers() -> Iterable[Any]:
    try:
        middleware_id = middleware_identifier.get()
    except LookupError:
        if under_test.stand_ins is not None:
            return under_test.stand_ins.outside()
        raise LookupError(f"{middleware_identifier!r}{_NOBODY_IS_IN_CHARGE}") from None
    return under_test.in_force(handler_store.get(middleware_id, ()))


def _mark(event: Event, options: DispatchOptions | None) -> None:
    """Write on an event what caused it, what its dispatcher said of it, and which trace it belongs to."""
    cause = current_event.get()
    if cause is not None:
        ids = chained_ids.get()
        if ids is not None:
            event._id = ids.next(wire_name(event.name))  # noqa: SLF001 - our own
        event.headers.update(causationid=cause.id, correlationid=cause.headers.get("correlationid", cause.id))
    if options is not None:
        options.put_on(event)
    if tracing.has_context():
        tracing.inject(event)


def _payload_of(model: Any, dump: bool, dump_arguments: Mapping[str, Any] | None) -> Any:
    if dump and isinstance(model, BaseModel):
        return _dump(model, dump_arguments)
    if dump and dataclasses.is_dataclass(model) and not isinstance(model, type):
        return dataclasses.asdict(model)
    return model


def _dump(model: BaseModel, arguments: Mapping[str, Any] | None) -> Any:
    if arguments or type(model).model_dump is not BaseModel.model_dump:
        return model.model_dump(**(arguments or {"exclude_unset": True}))
    # What `model_dump` calls in the end; its own code takes as long again.
    return model.__pydantic_serializer__.to_python(model, exclude_unset=True)


@contextlib.contextmanager
def _set_middleware_identifier(middleware_id: int) -> Iterator[None]:
    token = middleware_identifier.set(middleware_id)
    # A task that the lifespan started runs as long as the application, inside of the lifespan's scope:
    # there the id is obeyed, as it always was.
    store = event_store.get(None)
    outside = isinstance(store, Backlog) and store.yields_to_id
    cycle = in_req_res_cycle.set(None) if outside else None
    try:
        yield
    finally:
        if cycle is not None:
            in_req_res_cycle.reset(cycle)
        middleware_identifier.reset(token)
