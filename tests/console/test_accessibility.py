"""Everybody can use each page: axe finds nothing, light or dark, and nothing is wider than a phone."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, ViewportSize

from fastapi_events.console import Visitor, console
from fastapi_events.console.permissions import PERMISSIONS
from fastapi_events.storage.jobs import Job
from fastapi_events.storage.letters import group_id
from fastapi_events.storage.outbox import Entry
from tests.console.browser import chromium, served
from tests.console.conftest import Shop

SIZES: Final[dict[str, ViewportSize]] = {
    "1280 px": {"width": 1280, "height": 900},
    "360 px": {"width": 360, "height": 740},
}
SCHEMES: Final[dict[Literal["light", "dark"], Sequence[str]]] = {
    "light": (),
    "dark": ("color-contrast", "link-in-text-block"),
}
"""And what differs: in the dark everything is where it is in the light, in other colors."""


def shop_with_everything() -> tuple[Shop, list[str]]:
    """A shop of which each page has something to show, and the paths of its pages."""
    shop = Shop()
    letter = shop.letter(1)
    shop.letter(2, reason="KeyError: 'cat'", traceback="")
    shop.live("event-9")
    shop.live("event-10", cause="event-9")
    text = '{"specversion":"1.0","id":"event-5","type":"order-placed","data":null}'
    later = datetime.now(UTC) + timedelta(hours=1)
    shop.store.outbox.add([Entry(id="event-5", destination="dramatiq:events", envelope=text, due=later)])
    job = Job(id="1", verb="replay", by="alice", began=time.time(), done=4, total=9, state="stopped")
    shop.store.catalogue.change_job("dramatiq:events", "1", lambda found, now: job)
    shop.events.pause("shop.lonely", by="alice")
    return shop, [
        "", "events", "events/recent", "event/event-9", "subscriptions", "dead",
        f"dead/letters?group={group_id(letter)}", "letter/letter-1", "jobs", "jobs/1", "outbox", "lanes",
        "queues", "doctor", "audit", "search?q=order", "event/nowhere",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with chromium() as browser:
        yield browser.new_page()


def findings(page: Page, rules: Sequence[str] = ()) -> list[str]:
    """What axe finds by these rules, or by all, with where; it is loaded once a page."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(Axe().axe_script)
    options = {"resultTypes": ["violations"], **({"runOnly": rules} if rules else {})}
    found = page.evaluate("options => axe.run(options)", options)["violations"]
    return [f"{each['id']}: {node['html'][:160]}" for each in found for node in each["nodes"]]


def test_axe_finds_what_is_wrong(page: Page) -> None:
    page.set_content("<html lang=en><title>x</title><main><h1>x</h1><img src='data:,'></main></html>")
    assert [each.partition(":")[0] for each in findings(page)] == ["image-alt"]


@pytest.mark.timeout(300)  # on a machine that has much else to do
def test_axe_finds_nothing_on_any_page_and_nothing_is_wider_than_a_phone(page: Page) -> None:
    shop, paths = shop_with_everything()
    everybody = Visitor("alice", PERMISSIONS)
    wrong: dict[str, list[str]] = {}
    with served(console(shop.handlers, auth=lambda request: everybody)) as url:
        for path in paths:
            page.goto(f"{url}/{path}", wait_until="load")
            for size, viewport in SIZES.items():
                page.set_viewport_size(viewport)
                width = page.evaluate("document.documentElement.scrollWidth")
                found = [f"the page is {width} px wide"] if width > viewport["width"] else []
                for scheme, rules in SCHEMES.items():
                    page.emulate_media(color_scheme=scheme)
                    found += [f"{scheme}: {each}" for each in findings(page, rules)]
                if found:
                    wrong[f"/{path} at {size}"] = found
    assert wrong == {}
