"""`fastapi-events console`: the console as a process of its own."""

from __future__ import annotations

import argparse
import importlib
from typing import Any

from fastapi_events import checks
from fastapi_events.cli.arguments import add_command, some_text
from fastapi_events.cli.text import say
from fastapi_events.errors import ConfigurationError, MissingDependencyError
from fastapi_events.inspection import handlers_in


def add_parser(commands: Any) -> None:
    """Add the command to those of `fastapi-events`."""
    parser = add_command(
        commands, "console", _run, "show in a browser what happens to events, until Ctrl-C",
        examples="""
        fastapi-events console app.events
        fastapi-events console app.events --allow replay,discard,pause
        fastapi-events console app.events --auth app.ops:who --host 0.0.0.0 --port 8000
        """,
        json=False,
    )  # fmt: skip
    parser.add_argument(
        "--host",
        type=some_text,
        default="127.0.0.1",
        help="where it listens (127.0.0.1); another needs --auth",
    )
    parser.add_argument("--port", type=_port, default=8080, help="where it listens (8080)")
    parser.add_argument(
        "--auth", type=some_text, metavar="MODULE:NAME", help="the function that says who asks; see the docs"
    )
    parser.add_argument(
        "--allow", default="see_payloads", metavar="PERMISSIONS",
        help="what somebody on this machine may do without --auth, such as replay,pause (see_payloads)",
    )  # fmt: skip


def _run(arguments: argparse.Namespace) -> int:
    try:
        import uvicorn  # an extra, which no other command needs
    except ImportError as missing:
        raise MissingDependencyError("uvicorn", "console") from missing
    from fastapi_events.console import console  # likewise
    from fastapi_events.console.permissions import LOCAL_NAMES

    if arguments.auth is None and arguments.host not in LOCAL_NAMES:
        raise ConfigurationError(
            f"--host {arguments.host} is not this machine alone: whoever reaches it would see all events. "
            "Pass --auth MODULE:NAME, a function that gets the request and returns a Visitor."
        )
    auth = None if arguments.auth is None else _function(arguments.auth)
    handlers = handlers_in(arguments.target)
    allowed = [each.strip() for each in arguments.allow.split(",") if each.strip()]
    app = console(handlers, auth=auth, local=allowed)
    shown = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
    say(f"The console of {', '.join(each.name for each in handlers)}: http://{shown}:{arguments.port}/")
    uvicorn.run(app, host=arguments.host, port=arguments.port, log_level="warning", proxy_headers=False)
    return 0


def _function(target: str) -> Any:
    name, colon, attribute = target.partition(":")
    if not colon or not name or not attribute:
        raise ConfigurationError(f"--auth {target}: expected MODULE:NAME, such as app.ops:who.")
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise ConfigurationError(f"--auth {target}: {name} cannot be imported: {error}") from error
    if not hasattr(module, attribute):
        hint = checks.guess(attribute, vars(module))
        raise ConfigurationError(
            f"--auth {target}: {name} has no {attribute!r}{'; ' + hint if hint else '.'}"
        )
    return getattr(module, attribute)


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; write a number from 1 to 65535")
    return int(text)
