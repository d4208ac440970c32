"""Turns what a page has read into HTML."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from importlib.resources import files
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse

from fastapi_events.console import charts, csrf, notices, words
from fastapi_events.errors import ConfigurationError

NAVIGATION = (
    ("now", "Now", ""),
    ("events", "Events", "events"),
    ("subscriptions", "Subscriptions", "subscriptions"),
    ("dead", "Dead letters", "dead"),
    ("outbox", "Outbox", "outbox"),
    ("lanes", "Lanes", "lanes"),
    ("queues", "Queues", "queues"),
    ("doctor", "Doctor", "doctor"),
    ("audit", "Audit", "audit"),
)
"""The screens: key, title and path."""

environment: Environment = Environment(
    loader=PackageLoader("fastapi_events.console"),
    autoescape=select_autoescape(default=True, default_for_string=True),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
for _name in ("number", "seconds", "ago", "exactly", "iso", "tone", "said", "short"):
    environment.filters[_name] = getattr(words, _name)
environment.filters["pretty"] = lambda text: pretty(text)
environment.filters["shell"] = lambda text: shlex.quote(text)
environment.filters["dotted"] = lambda text: dotted(text)
environment.globals.update(
    UNKNOWN=words.UNKNOWN, sparkline=charts.sparkline, NAVIGATION=NAVIGATION, action_id=csrf.new_action_id
)


class Links:
    """Addresses of the console, wherever it is mounted.

    Parameters:
        request: Says where.
    """

    def __init__(self, request: Request) -> None:
        self._base = request.scope.get("root_path", "").rstrip("/")

    def __call__(self, path: str = "", /, *parts: str, **query: object) -> str:
        """The address of a page.

        Parameters:
            path: Of the page, below the console.
            parts: What follows it, quoted.
            query: Parameters; None and "" are left out.
        """
        text = "/".join((f"{self._base}/{path}", *(quote(each, safe="") for each in parts)))
        given = {name.rstrip("_"): value for name, value in query.items() if value not in (None, "")}
        return f"{text}?{urlencode(given)}" if given else text

    def asset(self, name: str) -> str:
        """The address of a file beside the pages."""
        return f"{self._base}/assets/{name}"


def render(request: Request, template: str, values: Mapping[str, Any], *, status: int = 200) -> HTMLResponse:
    """Make a response of a template.

    Parameters:
        values: What the template shows; `link` and `visitor` are there beside.
    """
    context = {
        "link": Links(request),
        "visitor": getattr(request.state, "visitor", None),
        "token": getattr(request.state, "token", ""),
        "notice": notices.notice_of(request),
        "request": request,
        "is_part": request.headers.get("hx-request") == "true",
        **values,
    }
    response = HTMLResponse(environment.get_template(template).render(context), status_code=status)
    if not context["is_part"]:
        notices.taken(request, response)
    return response


def fragment(template: str, values: Mapping[str, Any]) -> str:
    """A part of a page as text."""
    return environment.get_template(template).render(values)


def pretty(text: str) -> str:
    """JSON with line breaks; what is none stays as it is."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text


def dotted(text: str) -> Markup:
    """A dotted name that a browser may break after its dots."""
    return Markup(".<wbr>").join(escape(part) for part in text.split("."))


def asset(name: str) -> bytes:
    """A file that is served as it is.

    Raises:
        ConfigurationError: When there is none of that name.
    """
    found = files("fastapi_events.console").joinpath("assets", name)
    if "/" in name or not found.is_file():
        raise ConfigurationError(f"The console has no file {name!r}.")
    return found.read_bytes()
