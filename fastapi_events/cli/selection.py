"""What people type for a thing that has a long name: the beginning of its id, or nearly its name."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi_events import checks
from fastapi_events.cli.text import shown
from fastapi_events.errors import ConfigurationError, FastapiEventError

_NAMED_AT_MOST = 3


class NotThereError(FastapiEventError):
    """Raised when a command finds nothing of what it was asked for; its exit code is 1."""


def only(found: Iterable[str], prefix: str, *, what: str, listing: str) -> str:
    """The one id that begins with a prefix.

    Parameters:
        found: All ids that begin with it.
        prefix: What was typed.
        what: What the ids are of, such as `"dead letter"`.
        listing: The command that shows them.

    Raises:
        NotThereError: When there is none.
        ConfigurationError: When there are several, or the prefix is empty.
    """
    if not prefix:
        raise ConfigurationError(f"An empty id names no {what}; `{listing}` shows them.")
    ids = sorted(set(found))
    if prefix in ids:
        return prefix
    if not ids:
        raise NotThereError(f"There is no {what} {shown(repr(prefix))}; `{listing}` shows them.")
    if len(ids) > 1:
        raise ConfigurationError(
            f"{len(ids)} ids of {what}s begin with {shown(repr(prefix))}: {_some(ids)}; type some more of it."
        )
    return ids[0]


def guess(word: str, names: Iterable[str]) -> str:
    """The end of a sentence that finds nothing by a name: one that is close, else what there is."""
    known = sorted(set(names))
    if word in known or not known:
        return "."
    close = checks.closest(word, known, cutoff=0.5)
    return f"; there is {_some(known)}." if close is None else f"; did you mean {shown(close)}?"


def _some(names: list[str]) -> str:
    first = ", ".join(shown(each) for each in names[:_NAMED_AT_MOST])
    more = len(names) - _NAMED_AT_MOST
    return f"{first} and {more} more" if more > 0 else first
