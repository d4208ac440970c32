"""An editor in which somebody changes the payload of a dead letter before it is replayed."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from fastapi_events import envelope, redaction
from fastapi_events.cli.selection import NotThereError
from fastapi_events.errors import ConfigurationError
from fastapi_events.storage.dead_letters import DeadLetter, DeadLetters
from fastapi_events.storage.letters import edited


def edit(letter: DeadLetter, store: DeadLetters) -> Any:
    """The payload of a letter as somebody has changed it, in the editor that `VISUAL` or `EDITOR` names.

    Raises:
        ConfigurationError: When its store does not allow it, the editor fails, or the outcome is no JSON.
        NotThereError: When nothing was changed.
    """
    if not store.allows_editing:
        raise ConfigurationError(
            "The store does not allow letters to be edited; make it with edit_letters=True."
        )
    edited(letter, None)  # refuses what is not about one event
    [shown] = envelope.read_batch(redaction.shown_text(letter.argument))
    before = json.dumps(shown.get("data"), indent=2, ensure_ascii=False)
    after = _in_editor(f"{before}\n").strip()
    if after == before:
        raise NotThereError("Nothing was changed, and nothing replayed.")
    try:
        return json.loads(after)
    except ValueError as error:
        raise ConfigurationError(f"What was written is no JSON, and nothing was replayed: {error}") from None


def _in_editor(text: str) -> str:
    command = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory(prefix="fastapi-events-") as folder:  # which nobody else may read
        file = Path(folder) / "payload.json"
        file.write_text(text)
        try:
            ended = subprocess.run([*shlex.split(command), str(file)], check=False)  # noqa: S603 - the user's own
        except OSError as error:
            raise ConfigurationError(
                f"The editor {command!r} cannot be started: {error}; set EDITOR."
            ) from None
        if ended.returncode:
            raise ConfigurationError(
                f"The editor has ended with {ended.returncode}, and nothing was replayed."
            )
        return file.read_text()
