"""Checks of settings on the line that writes them: each names the setting, the value and what is allowed.

A check returns the value as it is kept, or raises `InvalidSetting`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta
from typing import Any, TypeVar, get_args

from fastapi_events.errors import InvalidSetting

T = TypeVar("T")
C = TypeVar("C", bound=type[Any])

_LONGEST_REPR = 80


def known_names(
    given: Iterable[str],
    known: Collection[str],
    *,
    asking: str,
    what: str = "setting",
    otherwise: str | None = None,
) -> None:
    """Refuse names that nobody knows, with the closest one that somebody does.

    Parameters:
        asking: Who was given them, in the words of the error.
        what: What they are names of.
        otherwise: What to say where nothing is close; the list of what is known if not given.
    """
    for name in given:
        if name not in known:
            hint = guess(name, known) or otherwise or f"there are {', '.join(sorted(known))}."
            raise InvalidSetting(f"{asking}: unknown {what} {name!r}; {hint}")


def names_parameters(cls: C) -> C:
    """Let a class answer an unknown parameter with the closest that its constructor has."""
    init: Any = cls.__init__
    code = init.__code__
    names = frozenset(code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount])

    @functools.wraps(init)
    def init_with_known_names(self: Any, *args: Any, **given: Any) -> None:
        if not given.keys() <= names:
            known_names(given, names, asking=type(self).__name__, what="parameter")
        init(self, *args, **given)

    cls.__init__ = init_with_known_names
    return cls


def guess(word: str, known: Iterable[str]) -> str:
    """The question whether a word was meant that is close to this one; empty where none is."""
    close = closest(word, list(known))
    return "" if close is None else f"did you mean {close!r}?"


def closest(word: str, known: Sequence[str], *, cutoff: float = 0.6) -> str | None:
    """The name that was probably meant; of `module.function` the function decides, or is enough.

    Parameters:
        cutoff: How much alike they have to be, from 0 to 1.
    """
    import difflib  # here, since few programs make a mistake, and each imports this module

    end = word.rpartition(".")[2]
    for each in known:
        if "." in each and each.rpartition(".")[2] == word:
            return each
    for each in difflib.get_close_matches(word, known, len(known) or 1, cutoff=cutoff):
        if difflib.SequenceMatcher(None, each.rpartition(".")[2], end).ratio() >= cutoff:
            return each
    return None


def counted(number: int, noun: str) -> str:
    """A number with its noun in singular or plural: `1 letter`, `2 letters`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def seconds(name: str, value: object, *, positive: bool = False) -> float:
    """A length of time in seconds, which was given as a number or as a `timedelta`.

    Parameters:
        positive: Refuse zero as well.
    """
    expected = "expected a number of seconds or a timedelta"
    if isinstance(value, timedelta):
        number = value.total_seconds()
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _refused(name, value, expected)
    else:
        number = _as_float(value)
    if not math.isfinite(number) or number < 0 or (positive and number == 0):
        raise _refused(name, value, f"{expected}, {'above 0' if positive else '0 or more'} and finite")
    return number


def seconds_or_none(name: str, value: object, *, positive: bool = False) -> float | None:
    """A length of time in seconds, or None."""
    return None if value is None else seconds(name, value, positive=positive)


def whole(name: str, value: object, *, least: int) -> int:
    """A whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise _refused(name, value, f"expected a whole number, {least} or more")
    return value


def flag(name: str, value: object) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise _refused(name, value, "expected True or False")
    return value


def key(name: str, value: T) -> T:
    """What can be the key of a dict."""
    try:
        hash(value)
    except TypeError:
        raise _refused(name, value, "expected a number, or another value that can be a key") from None
    return value


def text(name: str, value: object, *, such_as: str) -> str:
    """A text that is not empty, or blank, and that can be printed.

    Parameters:
        such_as: An example.
    """
    if not isinstance(value, str) or not value.strip():
        raise _refused(name, value, f"expected a text that is not empty, such as {such_as!r}")
    if not value.isprintable():
        raise _refused(name, value, f"expected a text without control characters, such as {such_as!r}")
    return value


def one_of(name: str, value: object, literal: Any) -> None:
    """Refuse a value that is not one of a `Literal`'s.

    Parameters:
        literal: The `Literal`.
    """
    allowed = get_args(literal)
    if not isinstance(value, str) or value not in allowed:
        hint = guess(value, allowed) if isinstance(value, str) else ""
        choices = " or ".join(map(repr, allowed))
        raise _refused(name, value, f"expected {choices}{'; ' if hint else ''}{hint}")


def instance(name: str, value: object, kind: type[T], *, such_as: str) -> T:
    """An instance of a class.

    Parameters:
        such_as: How to make one.
    """
    if not isinstance(value, kind):
        raise _refused(name, value, f"expected a {kind.__name__}, such as {such_as}")
    return value


def error_classes(name: str, value: Any) -> tuple[type[BaseException], ...]:
    """Classes of errors, of which one may stand alone, as the tuple that `isinstance` takes."""
    classes = (value,) if isinstance(value, type) else value
    if not isinstance(classes, (tuple, list, set, frozenset)) or not all(
        isinstance(each, type) and issubclass(each, BaseException) for each in classes
    ):
        raise _refused(name, value, "expected a class of errors, or a tuple of them")
    return tuple(classes)


def function(name: str, value: Any) -> Any:
    """What can be called."""
    if not callable(value):
        raise _refused(name, value, "expected a function")
    return value


def callable_or_none(name: str, value: Any) -> Any:
    """What can be called, or None."""
    return None if value is None else function(name, value)


def shown(value: object) -> str:
    """A value in an error: its `repr`, cut where it is long."""
    found = repr(value)
    return found if len(found) <= _LONGEST_REPR else f"{found[: _LONGEST_REPR - 1]}…"


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer of more than 300 digits
        return math.inf


def _refused(name: str, value: object, expected: str) -> InvalidSetting:
    return InvalidSetting(f"{name}={shown(value)}: {expected}{'' if expected.endswith('?') else '.'}")
