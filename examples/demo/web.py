"""The web process: it dispatches events and imports no handler."""

from __future__ import annotations

from html import escape

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, RedirectResponse

from examples.demo.journal import Journal
from fastapi_events.dispatcher import dispatch
from fastapi_events.handlers.task_queue.announcement import SETTLE_SECONDS
from fastapi_events.middleware import EventHandlerASGIMiddleware
from workers.celery import events as celery_events
from workers.dramatiq import events as dramatiq_events

app = FastAPI(title="Cats")
app.add_middleware(EventHandlerASGIMiddleware, handlers=[dramatiq_events, celery_events])
journal = Journal()

WISHES = {
    "fish": "cat-requested-a-fish",
    "ball": "cat-lost-its-ball",
    "mouse": "cat-dreamt-of-a-mouse",
}


@app.post("/cats/{cat_id}/{wish}", status_code=202)
def wish_for(cat_id: int, wish: str) -> dict[str, str]:
    """Dispatch what a cat wishes; what it causes happens after the response, in the worker."""
    name = WISHES.get(wish, f"cat-wished-for-{wish}")
    dispatch(name, payload={"cat_id": cat_id})
    return {"dispatched": name}


@app.post("/wish/{wish}", include_in_schema=False)
def wish_by_button(wish: str) -> RedirectResponse:
    """The same for the buttons of the page."""
    wish_for(7, wish)
    return RedirectResponse("/", status_code=303)


@app.get("/functions")
def functions() -> dict[str, list[str]]:
    """The functions of each engine's workers, as soon as all of them know of each."""
    return {
        handler.engine.name: [
            each.name.rpartition(".")[2]
            for each in snapshot.listings
            if snapshot.workers_of(each.name) and snapshot.now - each.since > SETTLE_SECONDS
        ]
        for handler in (dramatiq_events, celery_events)
        if (snapshot := handler.fleet.snapshot())
    }


@app.get("/", response_class=HTMLResponse, include_in_schema=False)
def index() -> str:
    """What happened so far, the newest first."""
    buttons = "".join(
        f"<form method=post action='/wish/{wish}'><button>{wish}</button></form>" for wish in WISHES
    )
    return PAGE.replace("{buttons}", buttons).replace("{rows}", rows())


@app.get("/rows", response_class=HTMLResponse, include_in_schema=False)
def rows() -> str:
    """The rows of the page's table, which it asks for again and again."""
    return (
        "".join(
            f"<tr class={escape(entry['outcome'])}><td>{escape(entry['event'])}"
            f"<td>{escape(entry['subscription'])}<td>{escape(entry['engine'])}<td>{escape(entry['outcome'])}"
            f"<td>{entry['after']:,} ms<td><code>{escape(entry['id'])}</code>"
            for entry in reversed(journal.entries()[-50:])
        )
        or "<tr><td colspan=6>nothing yet"
    )


PAGE = """<!doctype html><html lang=en><meta charset=utf-8><title>Cats</title>
<meta name=viewport content="width=device-width"><noscript><meta http-equiv=refresh content=2></noscript>
<style>
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
form{display:inline-block;margin-right:.5rem}button{font:inherit;padding:.3rem 1rem}
table{border-collapse:collapse;width:100%;margin-top:1rem}
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #8884}
.retried td:nth-child(4){color:#a60}.dead td:nth-child(4){color:#c33}.handled td:nth-child(4){color:#293}
code{font-size:.8em;opacity:.7}
</style>
<h1>What a cat wishes for</h1>
<p>Each button dispatches an event, which a Dramatiq worker and a Celery worker handle, each for itself. Both
handle a <em>fish</em> at once, which causes another event; workers of another kind <em>charge</em> for it.
A <em>ball</em> is found at the second attempt, and a <em>mouse</em> never caught.
<p>{buttons}
<table><thead><tr><th>event<th>subscription<th>engine<th>outcome<th>after<th>id</thead><tbody>{rows}</tbody></table>
<script>
const table = document.querySelector("tbody")
async function look() {
  const found = await fetch("/rows")
  if (found.ok) table.innerHTML = await found.text()
}
async function lookUntil(end) {
  while (Date.now() < end) {
    await look()
    await new Promise((go) => setTimeout(go, 50))
  }
}
for (const form of document.forms)
  form.addEventListener("submit", async (event) => {
    event.preventDefault()
    await fetch(form.action, { method: "POST", redirect: "manual" })
    await lookUntil(Date.now() + 1000)
  })
setInterval(() => look().catch(() => {}), 1000)
</script>"""
