"""Who has no mouse reaches everything, sees where they are, and stays there while pages change."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page

from fastapi_events.console import Visitor, console
from fastapi_events.console.permissions import PERMISSIONS
from tests.console.browser import chromium, served
from tests.console.conftest import Shop

pytestmark = pytest.mark.timeout(300)  # on a machine that has much else to do

# All that can be focused and is shown, in the order of the page; and what has the focus now, and its outline.
REACHABLE = """() => Array.from(document.querySelectorAll(
    "a[href], button, summary, input:not([type=hidden]), select, textarea, [tabindex='0']"
  )).filter((each) => each.checkVisibility()).map((each, at) => each.dataset.at = String(at)).length"""
FOCUSED = """() => {
  const at = document.activeElement, style = getComputedStyle(at);
  return [at.dataset.at ?? at.tagName, style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2];
}"""


@pytest.fixture
def page() -> Iterator[Page]:
    with chromium() as browser:
        found = browser.new_page()
        found.set_default_timeout(60_000)
        yield found


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))


def test_everything_is_reached_opened_and_left_by_keys_alone(shop: Shop, page: Page) -> None:
    shop.letter(1)
    for number in range(3):
        shop.live(f"event-{number}")
    app = console(shop.handlers, auth=lambda request: Visitor("alice", PERMISSIONS))
    app.state.live.every = 0.3
    with served(app) as url:
        for path in ("letter/letter-1", "subscriptions"):
            _everything_is_reached_in_order_and_seen(page, f"{url}/{path}")
        _a_menu_opens_and_closes(page, f"{url}/subscriptions")
        _keys_go_from_row_to_row(page, f"{url}/events/recent")
        _what_changes_leaves_focus_and_place_alone(shop, page, f"{url}/events/recent")
        page.goto("about:blank")  # lets the stream of changes end


def _everything_is_reached_in_order_and_seen(page: Page, address: str) -> None:
    page.goto(address)
    if page.locator("#live[aria-pressed=true]").count():
        page.keyboard.press("p")  # a page that stands still keeps its numbers
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to the content"
    number = page.evaluate(REACHABLE)
    seen = []
    for _ in range(number):
        seen.append(page.evaluate(FOCUSED))
        page.keyboard.press("Tab")
    assert seen == [[str(at), True] for at in range(number)]


def _a_menu_opens_and_closes(page: Page, address: str) -> None:
    page.goto(address)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert focused(page) == "content"  # behind head and navigation
    menu = page.locator("details.menu").first
    menu.locator("summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type("10m")
    assert menu.locator("input[name=for]").input_value() == "10m"
    page.keyboard.press("Escape")
    assert menu.get_attribute("open") is None
    assert focused(page).startswith("Pause…")
    page.keyboard.press("?")
    assert focused(page) == "Close"
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0


def _keys_go_from_row_to_row(page: Page, address: str) -> None:
    page.goto(address)
    rows = page.locator("main tbody tr")
    for key, row in (("j", 0), ("j", 1), ("j", 2), ("k", 1)):
        page.keyboard.press(key)
        assert rows.nth(row).evaluate("(row) => row.contains(document.activeElement)")
    page.keyboard.press("/")
    assert focused(page) == "search"


def _what_changes_leaves_focus_and_place_alone(shop: Shop, page: Page, address: str) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(address)
    page.keyboard.press("p")
    page.locator("#figure-dead").focus()
    page.evaluate("document.querySelector('.scroll').scrollLeft = 70")
    page.evaluate("document.getElementById('content').dataset.before = 'yes'")
    shop.letter(2)
    page.locator("#figure-dead .figure-text", has_text="2").wait_for()
    page.locator("#content:not([data-before])").wait_for()
    assert focused(page) == "figure-dead"
    assert page.evaluate("document.querySelector('.scroll').scrollLeft") == 70
