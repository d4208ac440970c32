"""The pytest plugin, in a pytest of its own."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

SUITE = """
    import pytest
    from fastapi_events.dispatcher import dispatch
    from fastapi_events.handlers.local import LocalHandler
    from fastapi_events.scope import collect_events

    def run():
        handler = LocalHandler()
        @handler.register
        def fails(event):
            raise ValueError("no")
        with collect_events([handler]):
            dispatch("hello")

    def test_it():
        {body}
"""


@pytest.mark.parametrize(
    ("ini", "body"),
    [
        ("", "with pytest.raises(ValueError): run()"),
        ("fastapi_events_raise_errors = true", "with pytest.raises(ValueError): run()"),
        ("fastapi_events_raise_errors = false", "run()"),
    ],
)
def test_errors_of_handlers_are_raised_unless_told_otherwise(
    pytester: pytest.Pytester, ini: str, body: str
) -> None:
    pytester.makeini(f"[pytest]\n{ini}")
    pytester.makepyfile(SUITE.format(body=body))
    pytester.runpytest_subprocess().assert_outcomes(passed=1)
