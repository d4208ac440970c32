"""A module with a handler, as an application has one, and the command to look at it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fastapi_events.cli import main
from fastapi_events.storage.dead_letters import DeadLetter

MODULE = """
from fastapi_events.storage.memory import MemoryStore
from tests.handlers.task_queue.broker import ListHandler

store = MemoryStore()
events = ListHandler(store=store, catalogue=store.catalogue, relay=False)
bare = ListHandler(queue="bare")
"""


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module `shop_events`, imported."""
    (tmp_path / "shop_events.py").write_text(MODULE)
    (tmp_path / "empty_module.py").write_text("nothing = 1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    import shop_events  # type: ignore[import-not-found]

    yield shop_events
    for name in ("shop_events", "empty_module"):
        sys.modules.pop(name, None)


class Ran:
    """What a command printed, and its exit code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def run(app: Any, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run `fastapi-events …` in this process."""

    def call(*arguments: str) -> Ran:
        capsys.readouterr()
        try:
            code = main(arguments)
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        return Ran(code, *capsys.readouterr())

    return call


def letter(number: int = 1, **changes: Any) -> DeadLetter:
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number)
    return DeadLetter(
        **{
            "id": f"letter-{number}",
            "handler": "list:events",
            "subscription": "shop.cook",
            "queue": "events",
            "event_id": f"event-{number}",
            "event_name": "cat-requested-a-fish",
            "argument": f'{{"specversion":"1.0","id":"event-{number}","type":"cat-requested-a-fish"}}',
            "reason": "ValueError: no fish",
            "traceback": "Traceback\n  line\nValueError: no fish\n",
            "attempts": 6,
            "first_at": at,
            "last_at": at,
            **changes,
        }
    )
