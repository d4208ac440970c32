"""Looks at the site as it was built: links and anchors, the search index, and how pages fit a screen.

python -m tests.site             what `make check` asks: links, anchors, and whether error texts can be found
python -m tests.site --browser   each page in Chromium, at three widths: `make pages`
"""

from __future__ import annotations

import argparse
import functools
import http.server
import json
import re
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

ROOT: Final = Path(__file__).parents[1]
SITE: Final = ROOT / "site"
WIDTHS: Final = (360, 1_000, 1_400)
AT_HOME: Final = "https://site.invalid/"

MEASURE: Final = """() => ({
  over: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  broken: [...document.querySelectorAll("article img")]
    .filter(each => each.complete && !each.naturalWidth).map(each => each.getAttribute("src")),
})"""


class Page(HTMLParser):
    """The links and anchors of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = {""}
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif name in ("href", "src") and value:
                self.links.add(value)


def pages() -> dict[str, Page]:
    """Every page, by its path on the site."""
    return {
        f"{path.parent.relative_to(SITE).as_posix()}/".removeprefix("./"): Page(path)
        for path in sorted(SITE.rglob("index.html"))
    }


def faults_of_links(found: dict[str, Page]) -> Iterator[str]:
    """Links within the site that lead nowhere."""
    for here, page in found.items():
        for link in sorted(page.links):
            address, anchor = urldefrag(urljoin(AT_HOME + here, link))
            if not address.startswith(AT_HOME):
                continue
            path = unquote(urlsplit(address).path).lstrip("/")
            if path in found:
                if unquote(anchor) not in found[path].anchors:
                    yield f"{here}: {link} has no such anchor"
            elif not (SITE / path).is_file():
                yield f"{here}: {link} leads nowhere"


def error_texts() -> list[str]:
    """What the pages on errors explain, with `…` for what differs."""
    texts = [(ROOT / "docs" / f"{name}.md").read_text() for name in ("troubleshooting", "errors")]
    headings = re.findall(r"^### `(.+)`$", texts[0], re.MULTILINE)
    rows = [row for text in texts for row in re.findall(r"^\| (`.+?`) \| ", text, re.MULTILINE)]
    return [*headings, *(each for row in rows for each in re.findall(r"`([^`]+)`", row))]


def faults_of_search() -> Iterator[str]:
    """Error texts that a search for their words would not find on the pages that explain them."""
    index = json.loads((SITE / "search.json").read_text())
    separator = re.compile(index["config"]["separator"].replace("\\u0027", "'"))

    def words(text: str) -> set[str]:
        return {each.lower() for each in separator.split(text) if each}

    explained = [
        words(re.sub(r"<[^>]+>", " ", f"{each['title']} {each['text']}").replace("&lt;", "<"))
        for each in index["items"]
        if each["location"].startswith(("troubleshooting/", "errors/"))
    ]
    for text in error_texts():
        if not any(words(text) <= each for each in explained):
            yield f"the search finds no {text!r}"


def faults_of_screens(found: dict[str, Page]) -> Iterator[str]:
    """Pages that are wider than the screen, or whose pictures or files cannot be loaded."""
    from tests.console.browser import chromium

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(SITE)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    refused: list[str] = []
    with chromium() as browser:
        tab = browser.new_page()
        tab.on("requestfailed", lambda request: refused.append(request.url))
        tab.on("response", lambda answer: refused.append(answer.url) if answer.status >= 400 else None)
        for path in found:
            tab.goto(f"http://127.0.0.1:{server.server_port}/{path}", wait_until="load")
            for width in WIDTHS:
                tab.set_viewport_size({"width": width, "height": 900})
                measured = tab.evaluate(MEASURE)
                if measured["over"] > 0:
                    yield f"{path} is {measured['over']} px too wide at {width} px"
                yield from (f"{path}: no picture {each}" for each in measured["broken"])
    server.shutdown()
    yield from (f"{each} cannot be loaded" for each in refused)


def main(arguments: list[str] | None = None) -> int:
    """Say what is wrong; 1 where something is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--browser", action="store_true")
    asked = parser.parse_args(arguments)
    found = pages()
    if asked.browser:
        faults = list(faults_of_screens(found))
    else:
        faults = [*faults_of_links(found), *faults_of_search()]
    for each in faults:
        sys.stdout.write(f"{each}\n")
    enough = len(found) > 60 and len(error_texts()) > 250
    if not enough:
        sys.stdout.write(
            f"Only {len(found)} pages and {len(error_texts())} error texts: is the site built?\n"
        )
    return 1 if faults or not enough else 0


if __name__ == "__main__":
    sys.exit(main())
