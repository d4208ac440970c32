"""The console as an application: where it may be mounted, what it answers, what it forbids browsers."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from fastapi_events.console import console
from fastapi_events.console.application import HEADERS
from fastapi_events.console.pages import SCREENS
from fastapi_events.errors import ConfigurationError
from fastapi_events.handlers.local import LocalHandler
from tests.console.conftest import Page, Shop, reader

Look = Callable[[str], Page]

PATHS = [path.partition("{")[0] for path, _ in SCREENS if "{" not in path]


def test_every_screen_answers_where_the_console_is_the_only_application(client: TestClient) -> None:
    for path in PATHS:
        answer = client.get(f"/{path}")
        assert answer.status_code == 200, path
        assert answer.headers["content-type"] == "text/html; charset=utf-8"


def test_every_screen_names_the_command_that_says_the_same(shop: Shop, look: Look) -> None:
    shop.live("event-1")
    shop.letter()
    for path in (*PATHS, "search?q=order-*", "event/event-1", "letter/letter-1"):
        if path != "search":  # where nothing is asked yet
            assert "command" in look(f"/{path}").text, path
            assert "fastapi-events " in look(f"/{path}").text, path


def test_every_link_of_every_screen_leads_somewhere_where_it_is_mounted(shop: Shop) -> None:
    shop.live("event-1")
    shop.letter()
    web = Starlette(routes=[Mount("/ops/events", console(shop.handlers, auth=reader))])
    seen: set[str] = set()

    with TestClient(web) as client:
        waiting = ["/ops/events/"]
        while waiting:
            path = waiting.pop()
            if path in seen or path.endswith(("#content", "/live")):
                continue
            seen.add(path)
            answer = client.get(path)
            assert answer.status_code == 200, path
            if "text/html" in answer.headers["content-type"]:
                waiting += (each.replace("&amp;", "&") for each in re.findall(r'href="([^"]+)"', answer.text))

    assert all(each.startswith("/ops/events/") for each in seen)
    assert {"/ops/events/event/event-1", "/ops/events/letter/letter-1"} <= seen
    assert "/ops/events/assets/console.css" in seen


def test_every_answer_forbids_what_pages_do_not_need(client: TestClient) -> None:
    for path in ("/", "/assets/console.js", "/nowhere"):
        headers = client.get(path).headers
        assert headers["content-security-policy"] == HEADERS["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
    assert client.get("/").headers["cache-control"] == "no-store"


def test_pages_give_a_browser_its_token_and_what_may_be_cached_gives_none(shop: Shop) -> None:
    with TestClient(console(shop.handlers, auth=reader)) as client:
        asset = client.get("/assets/console.css").headers
        page = client.get("/").headers

    assert "max-age" in asset["cache-control"]
    assert "set-cookie" not in asset
    assert page["set-cookie"].startswith("fastapi_events_token=")


def test_no_page_has_an_inline_script_or_style(shop: Shop, look: Look) -> None:
    shop.live("event-1")
    shop.letter()
    for path in [*PATHS, "event/event-1", "letter/letter-1", "dead/letters"]:
        source = look(f"/{path}").source
        assert re.findall(r"<script(?! src=)|<style|\sstyle=|\son\w+=|javascript:", source) == [], path


def test_what_is_not_there_is_said_on_a_page(client: TestClient) -> None:
    answer = client.get("/nowhere")

    assert answer.status_code == 404
    assert "<h1>404</h1>" in answer.text
    assert client.get("/assets/nothing.css").status_code == 404
    assert client.get("/assets/..%2Fpage.py").status_code == 404


def test_a_page_that_is_asked_for_once_more_comes_without_its_head(client: TestClient) -> None:
    part = client.get("/queues", headers={"hx-request": "true"}).text

    assert part.strip().startswith('<main id="content"')
    assert "<header" not in part


def test_a_page_of_a_broker_that_is_down_says_so_and_shows_the_others(shop: Shop, look: Look) -> None:
    shop.engine.failing = ConnectionError("the broker is away")

    page = look("/queues")

    assert page.status == 200
    assert "The broker cannot be asked: ConnectionError: the broker is away" in page.text
    assert any(row.startswith("mail 7 2 3 0") for row in page.rows())


def test_several_handlers_and_those_without_a_queue_may_be_given(shop: Shop) -> None:
    with TestClient(
        console((handler for handler in (LocalHandler(), *shop.handlers)), auth=reader)
    ) as client:
        text = client.get("/queues").text
    assert "dramatiq:events" in text
    assert "celery:mail" in text


def test_what_is_no_list_of_handlers_is_refused(shop: Shop) -> None:
    with pytest.raises(ConfigurationError, match=r"such as console\(\[events\]\)"):
        console(shop.events)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="'events' is no handler"):
        console(["events"])  # type: ignore[list-item]
    with pytest.raises(ConfigurationError, match="no DramatiqHandler or CeleryHandler"):
        console([LocalHandler()])


def test_traces_are_linked_where_they_can_be_looked_at(shop: Shop) -> None:
    parts = '"traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"'
    shop.letter(1, argument=f'{{"specversion":"1.0","id":"event-1","type":"order-placed",{parts}}}')

    with TestClient(
        console(shop.handlers, auth=reader, trace_url="https://traces.example/{trace_id}")
    ) as client:
        text = client.get("/event/event-1").text

    assert 'href="https://traces.example/4bf92f3577b34da6a3ce929d0e0e4736"' in text
    for url in ("https://traces.example/", "javascript:{trace_id}"):
        with pytest.raises(ConfigurationError, match="the place of the trace's id"):
            console(shop.handlers, trace_url=url)
