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
    "starlette", "trio",
    "fastapi_events.settings", "fastapi_events.handlers.task_queue", "fastapi_events.storage",
)  # fmt: skip


def test_the_core_needs_pydantic_and_typing_extensions_only() -> None:
    code = f"import sys, {', '.join(CORE)}; print(*[name for name in {NOT_NEEDED!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
