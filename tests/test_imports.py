"""What importing the core brings along."""

from __future__ import annotations

import subprocess
import sys

CORE = (
    "fastapi_events", "fastapi_events.dispatcher", "fastapi_events.middleware", "fastapi_events.typing",
    "fastapi_events.handlers.base", "fastapi_events.handlers.local", "fastapi_events.registry.payload_schema",
)  # fmt: skip
NOT_NEEDED = (
    "anyio", "celery", "dramatiq", "fastapi", "kombu", "pydantic_settings", "pytest", "redis", "sqlalchemy",
    "jinja2", "starlette", "trio",
    "fastapi_events.settings", "fastapi_events.handlers.task_queue", "fastapi_events.storage",
)  # fmt: skip
FOR_TYPED_PAYLOADS = (
    "email", "importlib.metadata",
    "pydantic.dataclasses", "pydantic.fields", "pydantic.type_adapter", "pydantic.types",
    "fastapi_events.codec", "fastapi_events.envelope", "fastapi_events.subscriptions.restorer",
)  # fmt: skip
"""What rebuilding payloads needs. To load it takes longer than to load the core."""

UNTYPED = """
from fastapi_events.handlers.local import local_handler

@local_handler.register(event_name="ordered")
def cook(event): ...
"""

TYPED = """
from pydantic import BaseModel
from fastapi_events.handlers.local import local_handler

class Order(BaseModel):
    number: int

@local_handler.register(Order, event_name="ordered")
def cook(order): ...
"""


def loaded(code: str, names: tuple[str, ...]) -> list[str]:
    """Which of the modules a new interpreter has after some code."""
    code = f"{code}\nimport sys; print(*[name for name in {names!r} if name in sys.modules])"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()


def test_the_core_needs_pydantic_and_typing_extensions_only() -> None:
    assert loaded(f"import {', '.join(CORE)}", NOT_NEEDED) == []


def test_the_core_leaves_to_the_first_typed_payload_what_only_that_needs() -> None:
    assert loaded(f"import {', '.join(CORE)}", FOR_TYPED_PAYLOADS) == []
    assert loaded(UNTYPED, FOR_TYPED_PAYLOADS) == []
    assert "fastapi_events.subscriptions.restorer" in loaded(TYPED, FOR_TYPED_PAYLOADS)
