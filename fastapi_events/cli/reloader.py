"""What `--reload` does: ends workers whose code has changed, for their supervisor to start them again."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from types import TracebackType

from fastapi_events.embedded import Supervisor
from fastapi_events.errors import ConfigurationError, MissingDependencyError

try:
    from watchfiles import PythonFilter, watch
except ImportError as _missing:
    raise MissingDependencyError("watchfiles", "reload") from _missing

logger: logging.Logger = logging.getLogger(__name__)


class Reloader:
    """Watches folders for the length of a `with` block, in a thread of its own.

    Parameters:
        supervisor: Whose children are asked to end when a .py file changes.
        folders: Where.

    Raises:
        ConfigurationError: When one of them does not exist.
    """

    def __init__(self, supervisor: Supervisor, folders: Sequence[str]) -> None:
        for folder in folders:
            if not os.path.isdir(folder):
                raise ConfigurationError(f"--watch {folder}: there is no such folder.")
        self._supervisor = supervisor
        self._folders = folders
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="fastapi-events-reload", daemon=True)

    def __enter__(self) -> Reloader:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        changes = watch(
            *self._folders, watch_filter=PythonFilter(), stop_event=self._stop, raise_interrupt=False
        )
        for changed in changes:
            logger.info("Changed: %s", ", ".join(sorted(os.path.relpath(path) for _, path in changed)))
            for name in self._supervisor.children:
                self._supervisor.restart(name)
