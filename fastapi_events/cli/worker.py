"""`fastapi-events worker`: the engine's own worker, under a supervisor that brings it back."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from fastapi_events.cli.arguments import add_command, some_text
from fastapi_events.errors import ConfigurationError, MissingDependencyError
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.inspection import handlers_in

logger: logging.Logger = logging.getLogger(__name__)

_KILLED_BY = 128
_START_MILLISECONDS = "10000"
"""How long Dramatiq waits for a process to start before it looks whether it lives; its own is ten minutes."""
_RESTART_MILLISECONDS = "500"
"""When Dramatiq connects again after the loss of a connection; its own is three seconds."""
_USAGE_ERROR = 2  # of both engines' commands, and of Dramatiq's where it cannot import the module


def add_parser(commands: Any) -> None:
    """Add the command to those of `fastapi-events`."""
    parser = add_command(
        commands, "worker", _run,
        "run the worker of the handlers in a module, and start it again whenever it ends",
        target="where the functions are registered: app.handlers", metavar="MODULE", json=False,
        usage="fastapi-events worker MODULE [--grace SECONDS] [--probe HOST:PORT] [--silent-after SECONDS] "
        "[--reload] [--watch DIR …] [-- ARGUMENT …]",
        examples="""
        fastapi-events worker app.handlers --reload
        fastapi-events worker app.handlers --probe :8080
        fastapi-events worker app.handlers -- --processes 2 --threads 8
        """,
    )  # fmt: skip
    parser.epilog = f"What follows -- is passed on to dramatiq or to celery worker.\n\n{parser.epilog}"
    parser.add_argument(
        "--grace", type=float, default=30.0, metavar="SECONDS",
        help="what functions at work have to finish, once it is to stop (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--probe", type=some_text, metavar="HOST:PORT",
        help="answer /livez, /readyz and /metrics there; :8080 for all addresses of this machine",
    )  # fmt: skip
    parser.add_argument(
        "--silent-after", type=float, default=30.0, metavar="SECONDS",
        help="a worker that does not report for so long, or takes nothing while messages wait, is not ready; "
        "after twice as long it is started again (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--reload", action="store_true", help="start again when a .py file has changed")
    parser.add_argument(
        "--watch",
        type=some_text,
        action="append",
        metavar="DIR",
        help="with --reload: where; by default here",
    )
    parser.set_defaults(passes_on=True)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.watch and not arguments.reload:
        raise ConfigurationError("--watch says where --reload looks; pass --reload as well.")
    for option, value, least in (
        ("grace", arguments.grace, 0.0),
        ("silent-after", arguments.silent_after, 1.0),
    ):
        if not least <= value < float("inf"):
            raise ConfigurationError(
                f"--{option} {value}: expected a number of seconds, {least:.0f} or more."
            )
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    handlers = handlers_in(arguments.target)
    return _supervise(handlers, dict(_commands(handlers, arguments.target, arguments.passed_on)), arguments)


def _commands(
    found: Sequence[TaskQueueHandler], target: str, passed_on: Sequence[str]
) -> Iterator[tuple[str, list[str]]]:
    """The command of each engine that the module has a handler for."""
    handlers = {each.engine.name: each for each in found}
    if passed_on and len(handlers) > 1:
        raise ConfigurationError(
            f"{target} has handlers for {' and '.join(sorted(handlers))}, which take different arguments: "
            "leave out what follows --, or name one handler, such as app.events:events."
        )
    module = target.partition(":")[0]
    for engine, handler in handlers.items():
        if engine == "dramatiq":
            command = [
                "dramatiq",
                _with_broker(module, handler),
                "--worker-fork-timeout",
                _START_MILLISECONDS,
            ]
            yield engine, [sys.executable, "-m", *command, *passed_on]
        else:
            _check_app(module, handler)
            yield engine, [sys.executable, "-m", "celery", "-A", module, "worker", *passed_on]


def _with_broker(module: str, handler: TaskQueueHandler) -> str:
    """What `dramatiq` is given: the broker's name, too, where the module has one for it."""
    broker: Any = handler.broker  # type: ignore[attr-defined]  # it is a DramatiqHandler
    name = _name_in(module, broker)
    return f"{module}:{name}" if name else module


def _check_app(module: str, handler: TaskQueueHandler) -> None:
    app: Any = handler.app  # type: ignore[attr-defined]  # it is a CeleryHandler
    if _name_in(module, app) is None:
        raise ConfigurationError(
            f"{module} has a CeleryHandler, but not its app, which Celery looks for there: import it as well."
        )


def _name_in(module: str, wanted: Any) -> str | None:
    return next(
        (name for name, value in vars(importlib.import_module(module)).items() if value is wanted), None
    )


def _supervise(
    handlers: Sequence[TaskQueueHandler], commands: dict[str, list[str]], arguments: argparse.Namespace
) -> int:
    # Not where this module is imported: on Windows there is no supervisor, and the other commands work.
    from fastapi_events.cli.probe_server import ProbeServer
    from fastapi_events.cli.worker_watch import WorkerWatch
    from fastapi_events.embedded import Backoff, Supervisor

    backoff = Backoff(first=0.2, longest=4.0)
    supervisor = Supervisor(grace=arguments.grace, backoff=backoff, usage_error=_USAGE_ERROR)
    watch = WorkerWatch(
        arguments.target, handlers, silent_after=arguments.silent_after, supervisor=supervisor
    )
    environment = {
        "dramatiq_restart_delay": os.environ.get("dramatiq_restart_delay", _RESTART_MILLISECONDS),  # noqa: SIM112
        "FASTAPI_EVENTS_WORKER_REPORTS": watch.folder,
    }
    for name, command in commands.items():
        supervisor.add(name, command, environment)
    with ExitStack() as stack:
        stack.enter_context(watch)
        if arguments.probe is not None:
            server = stack.enter_context(
                ProbeServer(arguments.probe, lambda: watch.verdict, _pages(handlers))
            )
            logger.info("Probes are answered at port %s.", server.port)
        if arguments.reload:
            from fastapi_events.cli.reloader import Reloader

            stack.enter_context(Reloader(supervisor, arguments.watch or ["."]))
        supervisor.run()
    codes = [each.exit_code or 0 for each in supervisor.children.values()]
    return max(code if code >= 0 else _KILLED_BY - code for code in codes)


def _pages(handlers: Sequence[TaskQueueHandler]) -> dict[str, Callable[[], tuple[str, bytes]]]:
    """What is served beside the probes: the metrics, where prometheus_client is installed."""
    try:
        from fastapi_events.prometheus import MetricsPage
    except MissingDependencyError:
        return {}
    page = MetricsPage(handlers)
    return {"/metrics": lambda: (page.content_type, page.text())}
