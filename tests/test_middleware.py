"""The ASGI middleware: requests, websockets, lifespan; no framework needed."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import re
import threading
from typing import Any

import pytest

from fastapi_events.context import event_store, handler_store, in_req_res_cycle, middleware_identifier
from fastapi_events.dispatcher import dispatch
from fastapi_events.errors import ConfigurationError
from fastapi_events.event import Event
from fastapi_events.handlers.base import BaseEventHandler
from fastapi_events.middleware import EventHandlerASGIMiddleware
from fastapi_events.scope import flush
from fastapi_events.storage.memory import MemoryOutbox
from tests.asgi import call, responding
from tests.handlers.task_queue.broker import ListHandler
from tests.recording import Diary, Failing, Recorder


def test_events_are_handled_after_the_response() -> None:
    order: list[str] = []

    class Late(Recorder):
        async def handle_many(self, events):
            order.append("handled")

    async def app(scope, receive, send):
        dispatch("hello")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        order.append("responded")

    asyncio.run(call(EventHandlerASGIMiddleware(app, [Late()])))

    assert order == ["responded", "handled"]


def test_a_request_without_events_calls_no_handler() -> None:
    recorder = Recorder()

    asyncio.run(call(EventHandlerASGIMiddleware(responding(), [recorder])))

    assert recorder.flushes == []


@pytest.mark.parametrize(
    ("flush_when", "status", "heard"),
    [
        ("always", 200, True),
        ("always", 500, True),
        ("success", 200, True),
        ("success", 302, True),
        ("success", 404, False),
        (lambda scope: scope.status == 418, 418, True),
        (lambda scope: scope.status == 418, 200, False),
    ],
)
def test_the_flush_policy_sees_the_status(flush_when: Any, status: int, heard: bool) -> None:
    recorder = Recorder()
    app = responding(status, then=lambda: dispatch("hello"))

    asyncio.run(call(EventHandlerASGIMiddleware(app, [recorder], flush_when=flush_when)))

    assert bool(recorder.events) is heard


@pytest.mark.parametrize(("flush_when", "heard"), [("always", ["hello"]), ("success", [])])
def test_an_endpoint_that_raises(flush_when: Any, heard: list[str]) -> None:
    recorder = Recorder()

    def fail() -> None:
        dispatch("hello")
        raise ValueError("the endpoint's own")

    middleware = EventHandlerASGIMiddleware(responding(then=fail), [recorder], flush_when=flush_when)
    with pytest.raises(ValueError, match="the endpoint's own"):
        asyncio.run(call(middleware))

    assert recorder.names == heard


@pytest.mark.parametrize("handler", [Recorder(), Failing(ValueError("no"))], ids=["fine", "failing"])
@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize("then", [lambda: dispatch("hello"), lambda: 1 / 0], ids=["returns", "raises"])
def test_the_variables_are_as_before_whatever_happens(handler: Any, kind: str, then: Any) -> None:
    def variables() -> tuple[Any, ...]:
        return event_store.get(None), in_req_res_cycle.get(), middleware_identifier.get(None)

    async def app(scope, receive, send):
        then()

    async def main():
        for surrounding in (None, 7):
            if surrounding is not None:
                middleware_identifier.set(surrounding)
            before = variables()
            with contextlib.suppress(ZeroDivisionError, ValueError):
                await call(EventHandlerASGIMiddleware(app, [handler], raise_errors=True), {"type": kind})
            assert variables() == before

    asyncio.run(main())


def test_a_handlers_error_reaches_neither_the_server_nor_the_other_handlers(diary: Diary) -> None:
    recorder = Recorder()
    app = responding(then=lambda: dispatch("hello"))

    sent = asyncio.run(call(EventHandlerASGIMiddleware(app, [Failing(ValueError("broken")), recorder])))

    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert recorder.names == ["hello"]
    assert [rest["handler"] for _, rest in diary.of("failed")] == ["Failing"]


def test_a_handlers_error_never_replaces_the_endpoints() -> None:
    def fail() -> None:
        dispatch("hello")
        raise KeyError("the endpoint's own")

    middleware = EventHandlerASGIMiddleware(
        responding(then=fail), [Failing(ValueError("broken"))], raise_errors=True
    )
    with pytest.raises(KeyError):
        asyncio.run(call(middleware))


def test_raise_errors_lets_tests_see_what_failed() -> None:
    app = responding(then=lambda: dispatch("hello"))
    middleware = EventHandlerASGIMiddleware(app, [Failing(ValueError("broken"))], raise_errors=True)

    with pytest.raises(ValueError, match=r"^broken$"):
        asyncio.run(call(middleware))


def test_handlers_may_be_a_generator_which_serves_every_request() -> None:
    recorder = Recorder()
    middleware = EventHandlerASGIMiddleware(
        responding(then=lambda: dispatch("hello")), (each for each in [recorder])
    )

    asyncio.run(call(middleware))
    asyncio.run(call(middleware))

    assert recorder.names == ["hello", "hello"]


def test_a_handler_instead_of_a_list_is_refused_with_the_cure() -> None:
    with pytest.raises(ConfigurationError, match=r"write \[handler\]"):
        EventHandlerASGIMiddleware(responding(), Recorder())  # type: ignore[arg-type]


def test_an_unknown_flush_policy_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="flush_when='sometimes'"):
        EventHandlerASGIMiddleware(responding(), [], flush_when="sometimes")  # type: ignore[arg-type]


def test_handlers_under_an_implicit_id_go_with_the_middleware() -> None:
    middleware = EventHandlerASGIMiddleware(responding(), [Recorder()])
    identifier = middleware._id
    assert identifier in handler_store

    del middleware
    gc.collect()

    assert identifier not in handler_store


@pytest.mark.parametrize("identifier", [0, 4711])
def test_handlers_under_an_explicit_id_outlive_the_middleware(identifier: int) -> None:
    recorder = Recorder()
    middleware = EventHandlerASGIMiddleware(responding(), [recorder], middleware_id=identifier)

    del middleware
    gc.collect()

    async def main():
        dispatch("hello", middleware_id=identifier)
        while not recorder.events:
            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(main(), 10))
    assert recorder.names == ["hello"]
    del handler_store[identifier]


def test_other_kinds_of_scope_pass_through() -> None:
    seen = []

    async def app(scope, receive, send):
        seen.append((scope["type"], event_store.get(None)))

    asyncio.run(call(EventHandlerASGIMiddleware(app, []), {"type": "something-new"}))

    assert seen == [("something-new", None)]


def test_a_websocket_is_flushed_whenever_it_waits_for_the_next_message() -> None:
    recorder = Recorder()

    async def app(scope, receive, send):
        await receive()
        for _ in range(2):
            message = await receive()
            dispatch(message["text"])
        while recorder.names != ["one"]:  # flushed by the second receive, while the socket is open
            await asyncio.sleep(0)
        await receive()

    messages = [
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "text": "one"},
        {"type": "websocket.receive", "text": "two"},
        {"type": "websocket.disconnect"},
    ]
    middleware = EventHandlerASGIMiddleware(app, [recorder])
    asyncio.run(asyncio.wait_for(call(middleware, {"type": "websocket"}, receive=messages), 10))

    assert recorder.flushes == [[("one", None)], [("two", None)]]


def test_flushes_of_one_websocket_keep_their_order_even_if_the_first_is_slow() -> None:
    async def main():
        gate = asyncio.Event()
        handled = []

        class Slow(Recorder):
            async def handle_many(self, events):
                if events[0][0] == "one":
                    await gate.wait()
                handled.extend(name for name, _ in events)

        async def app(scope, receive, send):
            dispatch("one")
            await receive()
            dispatch("two")
            await receive()
            gate.set()

        messages = [{"type": "websocket.receive"}, {"type": "websocket.disconnect"}]
        await call(EventHandlerASGIMiddleware(app, [Slow()]), {"type": "websocket"}, receive=messages)
        return handled

    assert asyncio.run(asyncio.wait_for(main(), 10)) == ["one", "two"]


def test_a_stream_flushes_when_it_says_so() -> None:
    recorder = Recorder()

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for chunk in range(3):
            dispatch("chunk", payload=chunk)
            await send({"type": "http.response.body", "body": b".", "more_body": True})
            await flush()
            assert len(recorder.events) == chunk + 1
        await send({"type": "http.response.body", "body": b""})

    asyncio.run(call(EventHandlerASGIMiddleware(app, [recorder])))

    assert len(recorder.flushes) == 3


class Housekeeping(Recorder):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    async def on_startup(self) -> None:
        self.calls.append("startup")

    async def on_shutdown(self) -> None:
        self.calls.append(f"shutdown after {self.names}")


async def lifespan_app(scope, receive, send):
    assert (await receive())["type"] == "lifespan.startup"
    dispatch("starting")
    await send({"type": "lifespan.startup.complete"})
    assert (await receive())["type"] == "lifespan.shutdown"
    dispatch("stopping")
    await send({"type": "lifespan.shutdown.complete"})


LIFESPAN = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]


def test_what_the_application_dispatches_while_it_starts_and_stops_is_handled() -> None:
    handler = Housekeeping()

    sent = asyncio.run(
        call(EventHandlerASGIMiddleware(lifespan_app, [handler]), {"type": "lifespan"}, receive=LIFESPAN)
    )

    assert [message["type"] for message in sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
    assert handler.calls == ["startup", "shutdown after ['starting', 'stopping']"]


def test_what_is_still_being_handled_when_the_application_stops_is_waited_for() -> None:
    async def main() -> list[str]:
        gate, done = asyncio.Event(), []

        class Slow(Housekeeping):
            async def handle(self, event):
                await gate.wait()
                done.append(event[0])

            async def on_shutdown(self):
                done.append("shutdown")

        async def app(scope, receive, send):
            await receive()
            await send({"type": "lifespan.startup.complete"})
            dispatch("late", middleware_id=816)
            asyncio.get_running_loop().call_soon(gate.set)
            await send({"type": "lifespan.shutdown.complete"})

        middleware = EventHandlerASGIMiddleware(app, [Slow()], middleware_id=816)
        await call(middleware, {"type": "lifespan"}, receive=LIFESPAN)
        middleware.deregister_handlers()
        return done

    assert asyncio.run(asyncio.wait_for(main(), 10)) == ["late", "shutdown"]


def test_what_outlives_a_request_without_events_is_still_heard_and_on_its_loop() -> None:
    loops = []

    class Where(Recorder):
        async def handle_many(self, events):
            loops.append(asyncio.get_running_loop())
            await super().handle_many(events)

    recorder = Where()

    async def main() -> asyncio.AbstractEventLoop:
        gate, opened = threading.Event(), asyncio.Event()
        running: list[asyncio.Future[None]] = []

        def in_thread() -> None:
            gate.wait(10)
            dispatch("from a thread")

        async def in_task() -> None:
            await opened.wait()
            dispatch("from a task")

        def begin() -> None:
            running.append(asyncio.ensure_future(asyncio.to_thread(in_thread)))
            running.append(asyncio.ensure_future(in_task()))

        middleware = EventHandlerASGIMiddleware(responding(then=begin), [recorder])
        await call(middleware)
        gate.set()
        opened.set()
        await asyncio.gather(*running)
        while len(recorder.names) < 2:
            await asyncio.sleep(0)
        return asyncio.get_running_loop()

    loop = asyncio.run(asyncio.wait_for(main(), 10))
    assert set(recorder.names) == {"from a thread", "from a task"}
    assert set(loops) == {loop}


def test_a_handler_that_cannot_shut_down_does_not_keep_the_others_from_it() -> None:
    class Broken(Housekeeping):
        async def on_shutdown(self) -> None:
            raise ValueError("stuck")

    healthy = Housekeeping()
    middleware = EventHandlerASGIMiddleware(lifespan_app, [Broken(), healthy])

    sent = asyncio.run(call(middleware, {"type": "lifespan"}, receive=LIFESPAN))

    assert sent[-1]["type"] == "lifespan.shutdown.complete"
    assert healthy.calls[-1].startswith("shutdown")


def test_a_task_started_by_the_lifespan_reaches_the_middleware_that_it_names() -> None:
    named, surrounding = Recorder(), Recorder()
    EventHandlerASGIMiddleware(responding(), [named], middleware_id=815)

    async def app(scope, receive, send):
        await receive()
        dispatch("with an id", middleware_id=815)
        dispatch("without")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    asyncio.run(call(EventHandlerASGIMiddleware(app, [surrounding]), {"type": "lifespan"}, receive=LIFESPAN))

    assert (named.names, surrounding.names) == (["with an id"], ["without"])
    del handler_store[815]


def test_the_seams_that_public_code_uses() -> None:
    recorder: BaseEventHandler = Recorder()
    middleware = EventHandlerASGIMiddleware(responding(), [])
    middleware.register_handlers([recorder])
    assert list(handler_store[middleware._id]) == [recorder]

    with middleware.event_store_ctx(), middleware.res_req_cycle_ctx():
        dispatch("hello")
        assert list(event_store.get()) == [("hello", None)]

    middleware.deregister_handlers()
    assert handler_store[middleware._id] == []
    handler_store.pop(middleware._id)


def test_concurrent_requests_keep_their_events_apart() -> None:
    async def main():
        recorder = Recorder()

        async def app(scope, receive, send):
            for n in range(3):
                dispatch(scope["path"], payload=n)
                await asyncio.sleep(0)

        middleware = EventHandlerASGIMiddleware(app, [recorder])
        await asyncio.gather(
            *(call(middleware, {"type": "http", "path": str(number)}) for number in range(20))
        )
        return recorder.flushes

    flushes = asyncio.run(main())
    assert sorted(flush[0][0] for flush in flushes) == sorted(str(number) for number in range(20))
    assert all([payload for _, payload in flush] == [0, 1, 2] for flush in flushes)
    assert all(len({name for name, _ in flush}) == 1 for flush in flushes)


# Securing events before the response


class Securing(Recorder):
    persists_before_response = True

    def __init__(self) -> None:
        super().__init__()
        self.log: list[Any] = []

    async def persist(self, events: Any) -> None:
        self.log.append(("persisted", [event.name for event in events]))

    async def forget(self, events: Any) -> None:
        self.log.append(("forgotten", [event.name for event in events]))

    async def handle_many(self, events: Any) -> None:
        self.log.append(("handled", [event.name for event in events]))


def serve_and_log(handler: Any, app: Any, **settings: Any) -> None:
    async def send(message: Any) -> None:
        handler.log.append((message["type"], message.get("status")))

    middleware = EventHandlerASGIMiddleware(app, handlers=[handler], **settings)
    asyncio.run(middleware(http_scope(), never, send))
    asyncio.run(asyncio.sleep(0))


async def never() -> Any:
    await asyncio.Event().wait()


def http_scope() -> dict[str, Any]:
    return {"type": "http", "method": "GET", "path": "/", "headers": []}


def securing_app(status: int, *chunks: bytes, raises: Exception | None = None) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        dispatch("before")
        await send({"type": "http.response.start", "status": status})
        for number, chunk in enumerate(chunks, 1):
            if number > 1:
                dispatch(f"chunk-{number}")
            await send({"type": "http.response.body", "body": chunk, "more_body": number < len(chunks)})
        if raises is not None:
            raise raises
        await asyncio.sleep(0)

    return app


def test_events_are_persisted_before_the_first_byte_goes_out() -> None:
    handler = Securing()

    serve_and_log(handler, securing_app(200, b""))

    assert [what for what, _ in handler.log] == [
        "persisted", "http.response.start", "persisted", "http.response.body", "handled",
    ]  # fmt: skip


def test_those_of_a_stream_before_its_last() -> None:
    handler = Securing()

    serve_and_log(handler, securing_app(200, b"a", b"b"))

    assert handler.log[-3:] == [
        ("persisted", ["before", "chunk-2"]), ("http.response.body", None),
        ("handled", ["before", "chunk-2"]),
    ]  # fmt: skip


def test_what_the_policy_refuses_is_not_persisted() -> None:
    handler = Securing()

    serve_and_log(handler, securing_app(404, b""), flush_when="success")

    assert ("persisted", ["before"]) not in handler.log
    assert ("handled", ["before"]) not in handler.log


def test_what_the_policy_refuses_in_the_end_is_forgotten_again() -> None:
    handler = Securing()

    async def main() -> None:
        app = securing_app(200, b"", raises=ValueError("after the response"))
        middleware = EventHandlerASGIMiddleware(app, handlers=[handler], flush_when="success")

        async def send(message: Any) -> None: ...

        with pytest.raises(ValueError, match="after the response"):
            await middleware(http_scope(), never, send)
        while handler.log[-1][0] != "forgotten":
            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(main(), 10))

    assert handler.log == [("persisted", ["before"]), ("persisted", ["before"]), ("forgotten", ["before"])]


def test_what_cannot_be_persisted_changes_no_response(caplog: pytest.LogCaptureFixture) -> None:
    class Full(Securing):
        async def persist(self, events: Any) -> None:
            raise OSError("no space left on device")

    handler = Full()

    serve_and_log(handler, securing_app(200, b""))

    assert handler.log == [
        ("http.response.start", 200), ("http.response.body", None), ("handled", ["before"]),
    ]  # fmt: skip
    # Once, though it is tried before the first byte of the response and before the last
    said = re.findall(r"Full could not keep 1 event \([0-9a-f-]{36}\): no space left on device", caplog.text)
    assert len(said) == 1


# Without a lifespan


class Starting(Recorder):
    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.error = error
        self.calls: list[str] = []

    async def on_startup(self) -> None:
        self.calls.append("startup")
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error

    async def on_shutdown(self) -> None:
        self.calls.append("shutdown")

    async def handle_many(self, events: Any) -> None:
        self.calls.append("handled")


def test_handlers_of_a_mounted_application_start_at_first_use_once_the_response_is_out() -> None:
    handler = Starting()
    calls_at_the_response: list[list[str]] = []

    def then() -> None:
        dispatch("hello")
        calls_at_the_response.append(list(handler.calls))

    app = EventHandlerASGIMiddleware(responding(then=then), [handler])

    async def main() -> None:
        await call(app)
        await call(app)

    asyncio.run(main())
    assert calls_at_the_response[0] == []
    assert handler.calls == ["startup", "handled", "handled"]


def test_so_do_those_of_an_application_that_knows_no_lifespan() -> None:
    handler = Starting()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise ValueError("an application of an older framework")
        dispatch("hello")

    middleware = EventHandlerASGIMiddleware(app, [handler])

    async def main() -> None:
        with pytest.raises(ValueError, match="older framework"):
            await call(middleware, {"type": "lifespan"})
        await call(middleware)
        await call(middleware)

    asyncio.run(main())
    assert handler.calls == ["startup", "handled", "handled"]


@pytest.mark.parametrize("lifespan", ["none", "unknown"])
def test_a_relay_starts_at_first_use_where_no_lifespan_runs(lifespan: str) -> None:
    """What an earlier process has left in the outbox goes out, though this one adds nothing."""
    outbox = MemoryOutbox()
    before = ListHandler(outbox=outbox, relay=False)
    before.refusing = ConnectionError("the broker is away")
    asyncio.run(before.handle_many([Event("left-behind")]))
    handler, heard = ListHandler(outbox=outbox), []
    handler.register(lambda event: heard.append(event.name), name="hear")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise ValueError("an application of an older framework")

    middleware = EventHandlerASGIMiddleware(app, [handler])

    async def main() -> None:
        if lifespan == "unknown":
            with pytest.raises(ValueError, match="older framework"):
                await call(middleware, {"type": "lifespan"})
        assert handler.sent == []
        await call(middleware)
        while outbox.status().oldest is not None:
            await asyncio.sleep(0.01)
        await handler.on_shutdown()

    asyncio.run(asyncio.wait_for(main(), 30))
    handler.run()
    assert heard == ["left-behind"]


def test_a_websocket_starts_them_before_it_is_open() -> None:
    handler = Starting()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert handler.calls == ["startup"]

    asyncio.run(call(EventHandlerASGIMiddleware(app, [handler]), {"type": "websocket"}))
    assert handler.calls == ["startup"]


def test_one_that_cannot_start_late_breaks_no_response(caplog: pytest.LogCaptureFixture) -> None:
    broken, healthy = Starting(ValueError("no table")), Starting()

    asyncio.run(call(EventHandlerASGIMiddleware(responding(then=lambda: dispatch("a")), [broken, healthy])))

    assert "Starting could not start properly" in caplog.text
    assert broken.calls == ["startup", "handled"]
    assert healthy.calls == ["startup", "handled"]


def test_handlers_that_have_started_are_not_started_by_a_lifespan_again() -> None:
    handler = Starting()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})

    middleware = EventHandlerASGIMiddleware(app, [handler])

    async def main() -> None:
        await call(middleware)
        await call(middleware, {"type": "lifespan"})
        await call(middleware, {"type": "lifespan"})

    asyncio.run(main())
    assert handler.calls == ["startup", "shutdown", "startup", "shutdown"]
