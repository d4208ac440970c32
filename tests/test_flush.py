"""Flush policies."""

from __future__ import annotations

import pytest

from fastapi_events.errors import ConfigurationError
from fastapi_events.flush import FinishedScope, always, flush_policy, success


@pytest.mark.parametrize(
    ("error", "status", "expected"),
    [(None, None, True), (None, 200, True), (None, 399, True), (None, 400, False), (None, 500, False),
     (ValueError(), None, False), (ValueError(), 200, False)],
)  # fmt: skip
def test_success(error: Exception | None, status: int | None, expected: bool) -> None:
    assert success(FinishedScope(error, status, ())) is expected
    assert always(FinishedScope(error, status, ())) is True


def test_policies_by_name_and_by_function() -> None:
    def mine(scope: FinishedScope) -> bool:
        return False

    assert flush_policy("always") is always
    assert flush_policy("success") is success
    assert flush_policy(mine) is mine
    with pytest.raises(ConfigurationError, match="'never'"):
        flush_policy("never")  # type: ignore[arg-type]
