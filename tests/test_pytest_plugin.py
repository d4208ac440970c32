"""The pytest plugin, in a pytest of its own."""

from __future__ import annotations

import subprocess
import sys
import textwrap

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
    pytester.runpytest_inprocess("-p", "no:asyncio").assert_outcomes(passed=1)


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
    result = pytester.runpytest_inprocess("-p", "no:asyncio")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*order-placed  {'number': 1}   (number is 1, not 2)"])


def test_where_no_test_asks_for_a_fixture_nothing_of_ours_is_imported(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # others' plugins import what they like
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
    result = pytester.runpytest_subprocess("-p", "fastapi_events.pytest_plugin")
    result.assert_outcomes(passed=1)


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


# The three files of the README, for orders, on a broker that nobody has started.
README_APP = {
    "app/__init__": "",
    "app/events": """
        import dramatiq
        from fastapi_events.handlers.dramatiq import DramatiqHandler
        from fastapi_events.handlers.dramatiq.redis_broker import SafeRedisBroker

        broker = SafeRedisBroker(url="redis://127.0.0.1:1/0")
        dramatiq.set_broker(broker)
        events = DramatiqHandler(broker)
        """,
    "app/web": """
        from app.events import events
        from fastapi import FastAPI
        from fastapi_events.dispatcher import dispatch
        from fastapi_events.middleware import EventHandlerASGIMiddleware
        from pydantic import BaseModel

        app = FastAPI()
        app.add_middleware(EventHandlerASGIMiddleware, handlers=[events])

        class OrderPlaced(BaseModel):
            __event_name__ = "order-placed"
            number: int

        @app.post("/orders", status_code=202)
        def place(order: dict[str, int]) -> None:
            dispatch(OrderPlaced(number=order["n"]))
        """,
    "app/handlers": """
        from app.events import events
        from app.web import OrderPlaced
        from fastapi_events.dispatcher import dispatch
        from fastapi_events.retry import RetryPolicy

        @events.register(OrderPlaced, retry=RetryPolicy(max_retries=5, min_backoff=1.0), queue="kitchen")
        def cook(order: OrderPlaced) -> None:
            dispatch("order-cooked", {"number": order.number})

        @events.register(event_name="order-cooked")
        async def serve(event) -> None:
            pass
        """,
}
THREE_TESTS = """
    import pytest
    from app.handlers import cook
    from app.web import OrderPlaced, app
    from fastapi.testclient import TestClient

    @pytest.fixture
    def client():
        return TestClient(app)

    def test_order(events, client):
        client.post("/orders", json={"n": 1})
        events.assert_dispatched(OrderPlaced, number=1)
        events.assert_dispatched_once("order-placed")
        events.assert_not_dispatched("order-failed")
        assert events.named("order-*") == [("order-placed", {"number": 1})]

    def test_kitchen(worker, client):
        client.post("/orders", json={"n": 1})
        run = worker.run()
        run.assert_ran(cook, times=1)
        run.assert_dispatched("order-cooked")
        run.assert_nothing_unmatched()

    def test_retries(worker):
        with worker.failing(cook, TimeoutError, times=2):
            run = worker.emit("order-placed", {"number": 1})
        assert run.of(cook).waits == [1.0, 2.0]
        run.assert_succeeded(cook, attempts=3)
"""


def write(pytester: pytest.Pytester, files: dict[str, str]) -> None:
    for name, text in files.items():
        file = pytester.path / f"{name}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(textwrap.dedent(text))


def test_the_fixtures_know_the_handlers_that_the_settings_name(pytester: pytest.Pytester) -> None:
    write(pytester, {**README_APP, "test_orders": THREE_TESTS})
    pytester.makeini("[pytest]\nfastapi_events_handlers = app.events")
    pytester.syspathinsert()
    pytester.runpytest_inprocess("-p", "no:asyncio", "-W", "error").assert_outcomes(passed=3)


# As where nobody has installed it: an import of it fails.
WITHOUT = """
    import sys

    for name in {names}:
        sys.modules[name] = None
"""
CELERY = {
    "app/events": """
        from celery import Celery
        from fastapi_events.handlers.celery import CeleryHandler

        celery_app = Celery("app", broker="redis://127.0.0.1:1/0")
        events = CeleryHandler(celery_app)
        """
}


@pytest.mark.parametrize(
    ("files", "without"),
    [(README_APP, ["celery", "kombu"]), (README_APP | CELERY, ["dramatiq", "pika"])],
    ids=["dramatiq", "celery"],
)
def test_the_fixtures_find_the_handlers_of_an_application_made_from_the_readme_with_one_engine(
    pytester: pytest.Pytester, files: dict[str, str], without: list[str]
) -> None:
    write(pytester, {**files, "conftest": WITHOUT.format(names=without), "test_orders": THREE_TESTS})
    pytester.syspathinsert()
    pytester.runpytest_subprocess("-p", "no:asyncio", "-W", "error").assert_outcomes(passed=3)


LOCAL_APP = """
    from fastapi import FastAPI
    from fastapi_events.dispatcher import dispatch
    from fastapi_events.handlers.local import local_handler
    from fastapi_events.middleware import EventHandlerASGIMiddleware

    app = FastAPI()
    app.add_middleware(EventHandlerASGIMiddleware, handlers=[local_handler])

    @app.post("/orders", status_code=202)
    def place(order: dict[str, int]) -> None:
        dispatch("order-placed", {"number": order["n"]})

    @local_handler.register(event_name="order-placed")
    async def cook(event) -> None:
        dispatch("order-cooked", event.payload)

    @local_handler.register(event_name="order-cooked")
    def serve(event) -> None:
        pass
"""


def test_a_suite_needs_no_engine_and_may_be_of_unittest_or_let_pytest_asyncio_find_its_tests(
    pytester: pytest.Pytester,
) -> None:
    write(
        pytester,
        {
            "conftest": WITHOUT.format(names=["celery", "kombu", "dramatiq", "pika", "redis", "sqlalchemy"]),
            "shop": LOCAL_APP,
            "test_shop": """
        import unittest

        import httpx
        from fastapi.testclient import TestClient
        from fastapi_events.testing import InlineWorker, capture_events
        from shop import app, cook, serve

        def test_order(events):
            TestClient(app).post("/orders", json={"n": 1})
            assert events == [("order-placed", {"number": 1})]

        def test_kitchen(worker):
            TestClient(app).post("/orders", json={"n": 1})
            run = worker.run()
            run.assert_ran(serve, times=1)
            run.assert_nothing_unmatched()

        async def test_in_auto_mode(worker):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
                await client.post("/orders", json={"n": 1})
            worker.run().assert_ran(serve, times=1)

        class TestOrders(unittest.TestCase):
            def test_order(self):
                events = self.enterContext(capture_events())
                TestClient(app).post("/orders", json={"n": 1})
                events.assert_dispatched_once("order-placed", number=1)

        class TestKitchen(unittest.IsolatedAsyncioTestCase):
            async def test_cook(self):
                worker = self.enterContext(InlineWorker())
                worker.emit("order-placed", {"number": 1}).assert_ran(cook, times=1)
        """,
        },
    )
    pytester.makeini("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function")
    pytester.syspathinsert()
    pytester.runpytest_subprocess("-W", "error", "-p", "no:hypothesispytest").assert_outcomes(passed=5)


def test_the_worker_works_in_async_tests_and_in_parallel(pytester: pytest.Pytester) -> None:
    write(
        pytester,
        {
            **README_APP,
            "test_async": """
        import httpx, pytest
        from app.handlers import cook, serve
        from app.web import app

        async def place():
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as client:
                await client.post("/orders", json={"n": 2})

        @pytest.mark.anyio
        @pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
        async def test_with_anyio(worker, anyio_backend):
            await place()
            worker.run().assert_ran(serve, times=1)

        @pytest.mark.asyncio
        async def test_with_pytest_asyncio(worker):
            await place()
            worker.run().assert_ran(serve, times=1)
            worker.emit("order-placed", {"number": 1}).assert_ran(cook, times=1)
        """,
        },
    )
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function")
    pytester.syspathinsert()
    pytester.runpytest_subprocess("-n", "2", "-p", "randomly").assert_outcomes(passed=3)
