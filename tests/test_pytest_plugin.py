"""The pytest plugin, in a pytest of its own."""

from __future__ import annotations

import subprocess
import sys

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


APP = """
    import dramatiq
    from dramatiq.brokers.redis import RedisBroker
    from fastapi import FastAPI
    from fastapi_events.dispatcher import dispatch
    from fastapi_events.handlers.dramatiq import DramatiqHandler
    from fastapi_events.middleware import EventHandlerASGIMiddleware

    broker = RedisBroker(url="redis://127.0.0.1:1/0")     # where nobody is
    events = DramatiqHandler(broker)
    app = FastAPI()
    app.add_middleware(EventHandlerASGIMiddleware, handlers=[events])

    @app.post("/orders")
    def place(order: dict[str, int]) -> None:
        dispatch("order-placed", {"number": order["n"]})
"""


def test_the_fixture_of_events_records_what_is_dispatched_in_sync_and_async_tests(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(
        shop=APP,
        test_shop="""
        import httpx, pytest
        from fastapi.testclient import TestClient
        from fastapi_events.dispatcher import dispatch
        from fastapi_events.testing import DispatchedEvents
        from shop import app

        @pytest.fixture
        def client():
            return TestClient(app)

        def test_order(events: DispatchedEvents, client):
            client.post("/orders", json={"n": 1})
            events.assert_dispatched("order-placed", number=1)

        def test_each_begins_anew(client, events):
            events.assert_not_dispatched()

        async def place():
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as client:
                await client.post("/orders", json={"n": 2})
            dispatch("from-the-test")

        @pytest.mark.anyio
        @pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
        async def test_with_anyio(events, anyio_backend):
            await place()
            assert [name for name, _ in events] == ["order-placed", "from-the-test"]

        @pytest.mark.asyncio
        async def test_with_pytest_asyncio(events):
            await place()
            assert [name for name, _ in events] == ["order-placed", "from-the-test"]
        """,
    )
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function")
    pytester.runpytest_subprocess().assert_outcomes(passed=5)


def test_it_shows_what_was_dispatched_where_an_assertion_fails(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from fastapi_events.dispatcher import dispatch

        def test_it(events):
            dispatch("order-placed", {"number": 1})
            events.assert_dispatched("order-placed", number=2)
        """
    )
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*order-placed  {'number': 1}   (number is 1, not 2)"])


def test_where_no_test_asks_for_a_fixture_nothing_of_ours_is_imported(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_it():
            assert [name for name in sys.modules if name.startswith("fastapi_events")] == [
                "fastapi_events", "fastapi_events.under_test", "fastapi_events.pytest_plugin",
            ]
            assert "pydantic" not in sys.modules
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_the_package_gives_its_names_when_they_are_asked_for() -> None:
    code = (
        "import sys, fastapi_events; assert 'fastapi_events.context' not in sys.modules\n"
        "from fastapi_events import *; from fastapi_events import context\n"
        "assert fastapi_events.handler_store is handler_store is context.handler_store\n"
        "assert fastapi_events.BaseEventHandler.__name__ == BaseEventHandler.__name__\n"
        "try: fastapi_events.nothing\nexcept AttributeError as error: print(error)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "module 'fastapi_events' has no attribute 'nothing'"
