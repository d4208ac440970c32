"""Options of `register` that go to an engine: which there are, what they may be, and which are refused."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Literal, TypeAlias

from fastapi_events import checks
from fastapi_events.errors import InvalidSetting

Check: TypeAlias = Callable[[str, Any], Any]
"""Takes an option's name and value, and refuses the value or returns it as it is kept."""

OWN_OPTIONS: Final = (
    "event_name",
    "name",
    "queue",
    "retry",
    "once",
    "batch",
    "batch_window",
    "pause_on",
    "pause_for",
)
"""What `register` takes on every engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """What `register` may be given for the engine.

    Parameters:
        documented: Where the options are documented, in the words of an error.
        checks: Those that we know, each with the check of its value.
        others: Names that the engine knows beside them, such as those of somebody's middleware.
        refused: Options that the engine knows and we cannot grant, each with why, and what to do instead.
        unit: What a number means where an option is a length of time.
    """

    documented: str = "this engine"
    checks: Mapping[str, Check] = field(default_factory=dict)
    others: Collection[str] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    unit: timedelta = timedelta(seconds=1)

    def checked(self, options: Mapping[str, Any], *, asking: str) -> dict[str, Any]:
        """The options as the engine gets them, a `timedelta` in its own unit.

        Parameters:
            asking: The subscription's name, in the words of errors.

        Raises:
            InvalidSetting: When an option is unknown or refused, or cannot have its value.
        """
        for name in options:
            if name in self.refused and name not in self.others:
                raise InvalidSetting(f"{asking}: {name!r} {self.refused[name]}")
        known = {*self.checks, *self.others, *OWN_OPTIONS}
        missing = f"it is no option of {self.documented}."
        checks.known_names(options, known, asking=asking, what="option", otherwise=missing)
        try:
            return {name: self._checked(name, value) for name, value in options.items()}
        except InvalidSetting as refused:
            raise InvalidSetting(f"{asking}: {refused}") from None

    def _checked(self, name: str, value: Any) -> Any:
        if name in self.checks:
            return self.checks[name](name, value)
        return in_units(value, self.unit) if isinstance(value, timedelta) else value  # a length of time


# Checks of values


def in_units(length: timedelta, unit: timedelta) -> float:
    """How many of a unit a length of time has; a whole number where it can be one."""
    found = length / unit
    return int(found) if found.is_integer() else found


def duration(unit: Literal["seconds", "milliseconds"], *, positive: bool = True) -> Check:
    """The check of a length of time.

    Parameters:
        unit: What a number counts, in the words of an error.
        positive: Refuse zero as well.
    """

    one = timedelta(**{unit: 1})
    longest = timedelta.max / one

    def check(name: str, value: Any) -> Any:
        if isinstance(value, timedelta):
            value = in_units(value, one)
        good = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not good or not 0 <= value <= longest or (positive and value == 0):
            raise InvalidSetting(
                f"{name}={checks.shown(value)}: expected a timedelta, or a number of {unit}, "
                f"{'above 0' if positive else '0 or more'}."
            )
        return value

    return check


def integer(name: str, value: Any) -> Any:
    """The check of a whole number."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidSetting(f"{name}={checks.shown(value)}: expected a whole number.")
    return value


def count(name: str, value: Any) -> Any:
    """The check of a whole number that is not negative."""
    return checks.whole(name, value, least=0)


def function(name: str, value: Any) -> Any:
    """The check of what can be called."""
    return checks.function(name, value)
