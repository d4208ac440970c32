"""Turning values into HTML: what comes from outside is text, never markup."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from fastapi_events.console.rendering import Links, asset, environment, pretty
from fastapi_events.errors import ConfigurationError


def links(root_path: str = "/ops") -> Links:
    return Links(Request({"type": "http", "root_path": root_path, "headers": []}))


def test_links_begin_where_the_console_is_mounted_and_quote_what_they_are_given() -> None:
    link = links()

    assert link() == "/ops/"
    assert link("event", "a/b?c") == "/ops/event/a%2Fb%3Fc"
    assert link("dead", subscription="a b", error="", group=None) == "/ops/dead?subscription=a+b"
    assert link.asset("console.css") == "/ops/assets/console.css"
    assert links("")("dead") == "/dead"


def test_templates_escape_what_they_show() -> None:
    shown = environment.from_string("{{ payload | pretty }}").render(payload='{"a": "<script>"}')

    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown


def test_json_is_shown_with_line_breaks_and_other_text_as_it_is() -> None:
    assert pretty('{"a":"ä"}') == '{\n  "a": "ä"\n}'
    assert pretty("{broken") == "{broken"


def test_only_the_files_beside_the_pages_are_served() -> None:
    assert b"htmx 2." in asset("LICENSES.txt")
    for name in ("nothing.js", "../page.py", ""):
        with pytest.raises(ConfigurationError, match="has no file"):
            asset(name)
