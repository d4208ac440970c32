"""Which of the errors of its handlers a scope raises."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi_events import checks, under_test
from fastapi_events.errors import leaves, raise_together


def checked_raise_errors(given: bool | None) -> bool | None:
    """What a scope was told, if it is true, false or None.

    Raises:
        InvalidSetting: When it is not.
    """
    return None if given is None else checks.flag("raise_errors", given)


def raise_if_asked(errors: Sequence[BaseException], asked: bool | None) -> None:
    """Raise what handlers raised, where the scope or the test suite asks for it.

    What stands above `Exception`, such as the outcome of `pytest.fail()`, is raised in any case. A wish to
    end the process is not: one function must not take the others' events with it.

    Parameters:
        errors: In order of the handlers; reported already.
        asked: What the scope was told; None for the default.
    """
    if not errors:
        return
    if not (under_test.raise_errors if asked is None else asked):
        errors = [each for error in errors for each in leaves(error) if _is_raised_unasked(each)]
    try:
        raise_together(errors, "several handlers failed")
    finally:
        del errors


def _is_raised_unasked(error: BaseException) -> bool:
    return not isinstance(error, (Exception, SystemExit, KeyboardInterrupt))
