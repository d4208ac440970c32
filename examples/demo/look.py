"""Follows an event through the console as a person does who only clicks."""

from __future__ import annotations

import threading
import time
import urllib.request
from html.parser import HTMLParser
from urllib.parse import urljoin

CLICKS = ("Events", "Recent events", "cat-requested-a-fish", "cat-was-fed")
"""What is clicked on, page by page: from the first page to the child of a request's event."""


class _Links(HTMLParser):
    """The links of a page: what stands in each, and where it leads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self._open: str | None = None
        self._text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self._open, self._text = dict(attrs).get("href"), ""

    def handle_data(self, data: str) -> None:
        self._text += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "a" and self._open is not None:
            self.found.append((" ".join(self._text.split()), self._open))
            self._open = None


def follow(console: str, *, patience: float) -> list[str]:
    """Click from the console's first page to an event that a function has caused.

    Parameters:
        console: Its address.
        patience: Seconds to wait for a link that is not there yet.

    Returns:
        The addresses of the pages; fewer than there are clicks where a link has not come.
    """
    pages, deadline, tick = [console], time.monotonic() + patience, threading.Event()
    for text in CLICKS:
        while (there := _link(pages[-1], text)) is None:
            if time.monotonic() > deadline:
                return pages
            tick.wait(0.2)
        pages.append(there)
    return pages


def _link(page: str, text: str) -> str | None:
    links = _Links()
    with urllib.request.urlopen(page, timeout=10) as answer:  # noqa: S310 - our own address
        links.feed(answer.read().decode())
    return next((urljoin(page, href) for said, href in links.found if said == text), None)
