"""Start everything; with --once, send a known set of requests and check what became of them."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from examples.demo.journal import Journal
from examples.demo.look import CLICKS, follow
from fastapi_events.embedded import EmbeddedServer, Supervisor
from fastapi_events.embedded.probe import free_port
from fastapi_events.settings import Settings
from workers.queues import own_queue

CATS = 10
PATIENCE_SECONDS = 90.0
TRAFFIC_SECONDS = 1.5

ENGINES = ("celery", "dramatiq")

Happening = tuple[str, str, str, str]
"""The event, the subscription, the engine, and what became of it."""

EXPECTED: dict[Happening, int] = {
    (event, subscription, engine, outcome): times
    for engine in ENGINES
    for event, subscription, outcome, times in (
        ("cat-requested-a-fish", "feed", "handled", CATS),
        ("cat-requested-a-fish", "cook", "handled", CATS),
        ("cat-requested-a-fish", "charge", "handled", CATS),
        ("cat-was-fed", "purr", "handled", CATS),
        ("cat-lost-its-ball", "search", "retried", 1),
        ("cat-lost-its-ball", "search", "handled", 1),
        ("cat-dreamt-of-a-mouse", "catch", "retried", 1),
        ("cat-dreamt-of-a-mouse", "catch", "dead", 1),
    )
}


def main() -> int:
    """Run the demo; the exit code says whether everything happened."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="send requests, check what became of them, end")
    parser.add_argument("--port", type=int, default=0, help="of the web process (default: any free one)")
    options = parser.parse_args()
    with ExitStack() as stack:
        broker_url, journal_url = _servers(stack, once=options.once)
        output = stack.enter_context(tempfile.TemporaryFile("w+")) if options.once else None
        supervisor = Supervisor(output=output)
        port = options.port or free_port()
        web = {
            "FASTAPI_EVENTS_BROKER_URL": broker_url,
            "FASTAPI_EVENTS_JOURNAL_URL": journal_url,
            "FASTAPI_EVENTS_STORE_URL": journal_url,
            "FASTAPI_EVENTS_HANDLERS": "",
        }
        python = [sys.executable, "-m"]
        supervisor.add(
            "web",
            [*python, "uvicorn", "examples.demo.web:app", "--port", str(port), "--log-level", "warning"],
            env=web,
        )
        own = Settings().queue
        for kind, queue in (("handlers", own), ("accounts", f"{own}-accounts")):
            worker = {**web, "FASTAPI_EVENTS_HANDLERS": f"examples.demo.{kind}"}
            supervisor.add(
                f"dramatiq-{kind}",
                [*python, "dramatiq", "workers", "--processes", "1", "--queues", queue],
                env=worker,
            )
            supervisor.add(
                f"celery-{kind}",
                [*python, "celery", "-A", "workers", "worker", "--pool", "threads", "--concurrency", "8",
                 "-Q", own_queue(broker_url, queue), "-n", f"{kind}@%h"],
                env=worker,
            )  # fmt: skip
        console_port = free_port()
        supervisor.add(
            "console",
            [*python, "fastapi_events", "console", "examples.demo.web", "--port", str(console_port),
             "--allow", "replay,discard,pause,see_payloads"],
            env=web,
        )  # fmt: skip
        url, console = f"http://127.0.0.1:{port}/", f"http://127.0.0.1:{console_port}/"
        if not options.once:
            _say_where(broker_url, journal_url, url, console)
            threading.Thread(target=_traffic, args=(url,), daemon=True).start()
            supervisor.run()
            return 0
        found: Counter[Happening] = Counter()
        pages: list[str] = []
        with supervisor:
            try:
                found = _send_and_wait(url, journal_url)
                _wait_for(console, time.monotonic() + PATIENCE_SECONDS)
                pages = follow(console, patience=PATIENCE_SECONDS)
            except OSError as error:
                print(f"A process did not answer: {error}", file=sys.stderr)  # noqa: T201
        _print_table(found)
        print("In the console:", " > ".join(("Now", *CLICKS[: len(pages) - 1])), flush=True)  # noqa: T201
        is_well = found == EXPECTED and len(pages) == len(CLICKS) + 1
        if not is_well and output is not None:
            output.seek(0)
            print(output.read(), file=sys.stderr)  # noqa: T201
        return 0 if is_well else 1


def _say_where(broker_url: str, journal_url: str, url: str, console: str) -> None:
    """The addresses, and how commands find what runs here."""
    folder = os.path.relpath(sys.prefix) if sys.prefix != sys.base_prefix else sys.prefix
    command = f"{folder}/bin/fastapi-events"
    lines = (
        f"broker   {broker_url}", f"web      {url}", f"console  {console}", "",
        "Commands in another terminal:", "",
        f"  export FASTAPI_EVENTS_BROKER_URL={broker_url}",
        f"  export FASTAPI_EVENTS_JOURNAL_URL={journal_url} FASTAPI_EVENTS_STORE_URL={journal_url}",
        f"  {command} status examples.demo.web", f"  {command} event list examples.demo.web",
        f"  {command} dead groups examples.demo.web", "", "Ctrl-C ends it.",
    )  # fmt: skip
    print("\n".join(lines), flush=True)  # noqa: T201


def _traffic(url: str) -> None:
    """Wish for something every second or so: mostly for what works, now and then for what fails."""
    tick, wishes = threading.Event(), ("fish", "fish", "ball", "fish", "mouse", "fish")
    for number in itertools.count():
        tick.wait(TRAFFIC_SECONDS)
        try:
            _post(f"{url}cats/{number % CATS}/{wishes[number % len(wishes)]}")
        except OSError:  # the web process is not there yet, or starts again
            continue


def _send_and_wait(url: str, journal_url: str) -> Counter[Happening]:
    journal = Journal(journal_url)
    deadline = time.monotonic() + PATIENCE_SECONDS
    _wait_for(url, deadline)
    _wait_for_functions(f"{url}functions", deadline)
    before = len(journal.entries())  # a broker of one's own may remember earlier runs
    for cat in range(CATS):
        _post(f"{url}cats/{cat}/fish")
    _post(f"{url}cats/7/ball")
    _post(f"{url}cats/7/mouse")

    found: Counter[Happening] = Counter()
    tick = threading.Event()
    while found != EXPECTED and time.monotonic() < deadline:
        tick.wait(0.1)
        found = Counter(
            (entry["event"], entry["subscription"], entry["engine"], entry["outcome"])
            for entry in journal.entries()[before:]
        )
    journal.close()
    return found


def _print_table(found: Counter[Happening]) -> None:
    rows = [("event", "subscription", "engine", "outcome", "expected", "found")]
    rows += [(*key, str(EXPECTED.get(key, 0)), str(found[key])) for key in sorted({*EXPECTED, *found})]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))  # noqa: T201
    verdict = "Everything happened." if found == EXPECTED else "Not everything happened."
    print(verdict, flush=True)  # noqa: T201


def _servers(stack: ExitStack, *, once: bool) -> tuple[str, str]:
    """The broker and the Redis for the journal: one Valkey of our own, as far as nobody gave us another."""
    broker_url = os.environ.get("FASTAPI_EVENTS_BROKER_URL") or _embedded(stack, once=once)
    journal_url = os.environ.get("FASTAPI_EVENTS_JOURNAL_URL")
    if not journal_url:
        journal_url = _embedded(stack, once=once) if broker_url.startswith("amqp") else broker_url
    return broker_url, journal_url


def _embedded(stack: ExitStack, *, once: bool) -> str:
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory())) if once else Path(".valkey")
    return stack.enter_context(EmbeddedServer(directory)).url


def _wait_for(url: str, deadline: float) -> None:
    tick = threading.Event()
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310 - our own address
        except OSError:
            if time.monotonic() > deadline:
                raise
            tick.wait(0.1)
        else:
            return


def _wait_for_functions(url: str, deadline: float) -> None:
    tick = threading.Event()
    expected = {(subscription, engine) for _, subscription, engine, _ in EXPECTED}
    found: set[tuple[str, str]] = set()
    while found != expected and time.monotonic() < deadline:
        with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310 - our own address
            known = json.load(response)
        found = {(function, engine) for engine in known for function in known[engine]}
        tick.wait(0.1)


def _post(url: str) -> Any:
    request = urllib.request.Request(url, method="POST")  # noqa: S310 - our own address
    with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
        return json.load(response)


if __name__ == "__main__":
    sys.exit(main())
