"""Every import path and name that code written for the predecessor uses."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import pytest

NAMES = {
    "fastapi_events": [
        "event_store", "handler_store", "in_req_res_cycle", "middleware_identifier", "BaseEventHandler",
        "__version__",
    ],
    "fastapi_events.dispatcher": [
        "dispatch", "event_store", "in_req_res_cycle", "middleware_identifier", "_list_handlers",
        "_dispatch_as_task", "_dispatch", "logger",
    ],
    "fastapi_events.middleware": ["EventHandlerASGIMiddleware", "logger"],
    "fastapi_events.handlers.base": ["BaseEventHandler"],
    "fastapi_events.handlers.local": ["LocalHandler", "local_handler"],
    "fastapi_events.handlers.echo": ["EchoHandler"],
    "fastapi_events.handlers.null": ["NullHandler"],
    "fastapi_events.handlers.aws": ["SQSForwardHandler"],
    "fastapi_events.handlers.gcp": ["GoogleCloudSimplePubSubHandler"],
    "fastapi_events.registry.base": ["BaseEventPayloadSchemaRegistry", "logger"],
    "fastapi_events.registry.payload_schema": ["registry", "EventPayloadSchemaRegistry", "logger"],
    "fastapi_events.typing": ["Event", "EventName", "Payload"],
    "fastapi_events.errors": [
        "FastapiEventError", "ConfigurationError", "MissingEventNameError",
        "MissingEventNameDuringRegistration", "MissingEventNameDuringDispatch",
        "MultiplePayloadsDetectedDuringDispatch",
    ],
    "fastapi_events.constants": [
        "FASTAPI_EVENTS_DISABLE_DISPATCH_ENV_VAR", "FASTAPI_EVENTS_USE_SPAN_LINKING_ENV_VAR",
    ],
    "fastapi_events.otel.attributes": ["SpanAttributes"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module, names in NAMES.items() for name in names]
)
def test_it_can_be_imported(module: str, name: str) -> None:
    assert hasattr(importlib.import_module(module), name)


def test_dispatch_keeps_its_parameters_in_their_order() -> None:
    from fastapi_events.dispatcher import dispatch

    positional = [
        parameter.name
        for parameter in inspect.signature(dispatch).parameters.values()
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY
    ]
    assert positional == [
        "event_name_or_model", "payload", "event_name", "validate_payload", "payload_schema_cls_dict_args",
        "payload_schema_registry", "middleware_id", "payload_schema_dump",
    ]  # fmt: skip


def test_every_error_can_be_caught_and_none_escapes_except_exception() -> None:
    from fastapi_events import errors

    for name in NAMES["fastapi_events.errors"]:
        assert issubclass(getattr(errors, name), errors.FastapiEventError)
        assert issubclass(getattr(errors, name), Exception)
    assert issubclass(errors.MultiplePayloadsDetectedDuringDispatch, ValueError)


def test_the_core_imports_no_web_framework_and_nothing_optional() -> None:
    code = (
        "import sys; before = set(sys.modules)  # packages of old declare themselves at each start\n"
        "import fastapi_events, fastapi_events.dispatcher, fastapi_events.middleware, "
        "fastapi_events.handlers.local, fastapi_events.scope, fastapi_events.registry.payload_schema\n"
        "optional = {'fastapi', 'starlette', 'dramatiq', 'celery', 'boto3', 'google.cloud', 'redis'}\n"
        "print(sorted(optional & (set(sys.modules) - before)))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
