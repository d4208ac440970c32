"""Take the pictures of the console that its page in the documentation shows: `make screenshots`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fastapi_events.console import Visitor, console
from fastapi_events.console.permissions import PERMISSIONS
from tests.console.browser import chromium, served
from tests.console.test_accessibility import shop_with_everything

IMAGES: Final = Path(__file__).parents[2] / "docs" / "images"
PICTURES: Final = (("", "now", "light"), ("dead", "dead", "dark"), ("jobs/1", "job", "narrow"))
"""The path of each page that is taken, the name of its picture, and how it is looked at."""

SIZES: Final = {"light": (1280, 800), "dark": (1280, 800), "narrow": (360, 740)}


def main() -> None:
    """Take them."""
    shop, _ = shop_with_everything()
    alice = Visitor("alice", PERMISSIONS)
    IMAGES.mkdir(exist_ok=True)
    with served(console(shop.handlers, auth=lambda request: alice)) as url, chromium() as browser:
        for path, name, kind in PICTURES:
            width, height = SIZES[kind]
            page = browser.new_page(
                viewport={"width": width, "height": height},
                color_scheme="dark" if kind == "dark" else "light",
            )
            page.goto(f"{url}/{path}", wait_until="load")
            page.screenshot(path=IMAGES / f"console-{name}-{kind}.png")
            page.close()


if __name__ == "__main__":
    main()
