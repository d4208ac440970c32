"""What a driver's error means for the store."""

from __future__ import annotations

import sqlalchemy as sa

from fastapi_events.errors import StorageError, StorageFull, StorageNotReady


class Corrupt(StorageNotReady):
    """Raised when a SQLite file is damaged or no database at all."""


_SQLITE: tuple[tuple[str, type[StorageError], str], ...] = (
    ("not a database", Corrupt, "it is damaged; restore it, or move it away"),
    ("malformed", Corrupt, "it is damaged; restore it, or move it away"),
    ("is full", StorageFull, "make room, or raise its cap"),
    ("readonly", StorageNotReady, "make the file and its folder writable"),
    ("unable to open", StorageNotReady, "is there a folder of that name, and may we write to it?"),
    ("no such", StorageNotReady, "create the tables with setup(), or by a migration"),
)

_POSTGRESQL: dict[str, tuple[type[StorageError], str]] = {
    "53100": (StorageFull, "its disk is full"),
    "53200": (StorageFull, "its memory is full"),
    "25006": (StorageNotReady, "it is read-only; connect to the primary"),
    "3D000": (StorageNotReady, "create the database"),
    "42P01": (StorageNotReady, "create the tables with setup(), or by a migration"),
    "42703": (StorageNotReady, "create the tables with setup(), or by a migration"),
    "42501": (StorageNotReady, "give its user the right to it"),
}


def translated(error: Exception, url: sa.URL) -> StorageError:
    """Our error for a driver's; without parameters, which would show payloads, or the password."""
    original = getattr(error, "orig", None) or error
    text = f"{url.render_as_string(hide_password=True)}: {type(original).__name__}: {original}".strip()
    if url.get_backend_name() == "sqlite":
        for words, kind, advice in _SQLITE:
            if words in str(original):
                return kind(f"{text} ({advice})")
    state = str(getattr(original, "sqlstate", None))
    if state in _POSTGRESQL:
        kind, advice = _POSTGRESQL[state]
        return kind(f"{text} ({advice})")
    return StorageError(text)
