"""Live: one reader for all browsers, and none where nobody looks."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from starlette.requests import Request

from fastapi_events.console.live import Live, _messages
from fastapi_events.console.rendering import Links
from fastapi_events.console.state import State
from tests.console.conftest import Shop


def test_twenty_browsers_cost_the_broker_no_more_than_one(shop: Shop, state: State) -> None:
    asked: list[object] = []
    real = shop.engine.depths
    shop.engine.depths = lambda queues, *, timeout: asked.append(1) or real(queues, timeout=timeout)  # type: ignore[method-assign]

    async def look() -> int:
        live = Live(state, every=60.0)

        async def one() -> None:
            async with aclosing(live.watch()) as headers:
                async for header in headers:
                    assert header.figures
                    return

        await asyncio.wait_for(asyncio.gather(*(one() for _ in range(20))), 60)
        return live.watchers

    assert asyncio.run(look()) == 0
    assert len(asked) == 1


def test_nobody_is_asked_once_nobody_looks(state: State) -> None:
    async def look() -> tuple[int, int]:
        live = Live(state, every=0.01)
        headers = live.watch()
        await asyncio.wait_for(anext(headers), 60)
        during = live.watchers
        await headers.aclose()
        async with asyncio.timeout(60):
            while "fastapi-events-console-live" in {each.get_name() for each in asyncio.all_tasks()}:
                await asyncio.sleep(0)  # it hears that it has been cancelled
        return during, live.watchers

    assert asyncio.run(look()) == (1, 0)


def test_a_message_is_the_header_as_html(state: State) -> None:
    link = Links(Request({"type": "http", "root_path": "/ops", "headers": []}))

    async def look() -> list[str]:
        messages = _messages(Live(state), link)
        found = [await asyncio.wait_for(anext(messages), 60) for _ in range(2)]
        await messages.aclose()  # type: ignore[attr-defined]
        return found

    retry, figures = asyncio.run(look())

    assert retry == "retry: 5000\n\n"
    assert figures.startswith('event: figures\ndata: <ul class="figures">')
    assert figures.endswith("\n\n")
    assert 'href="/ops/dead"' in figures


def test_a_stream_ends_after_a_while_so_that_a_server_can(state: State) -> None:
    link = Links(Request({"type": "http", "root_path": "", "headers": []}))

    async def look() -> list[str]:
        live = Live(state, every=0.01)
        found = [each async for each in _messages(live, link, lasts=0.0)]
        assert live.watchers == 0
        return [each.partition("\n")[0] for each in found]

    assert asyncio.run(asyncio.wait_for(look(), 60)) == ["retry: 5000", "event: figures", "event: over"]
