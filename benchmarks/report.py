"""A run as Markdown: one table a group, and below what it was measured on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from benchmarks.groups import GROUPS
from benchmarks.results import Result, unit

_TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


def markdown(run: Result) -> str:
    """The tables of a run."""
    parts = []
    for group, title in GROUPS.items():
        rows = [row for row in run["rows"] if row["group"] == group]
        if rows:
            parts.append("\n".join([f"### {title}", "", *_table(rows)]))
    parts.append("\n".join(conditions(run)))
    return "\n\n".join(parts) + "\n"


def verdict(run: Result) -> str:
    """How many goals were reached, and which were not."""
    judged = [
        (row, each) for row in run["rows"] for each in row["comparisons"] if each["reached"] is not None
    ]
    missed = [
        f"  ✗ {row['number']:>2} {row['name']}: {each['what']}: {shown(each)}, goal {each['goal']}"
        for row, each in judged
        if not each["reached"]
    ]
    reasons = [
        f"  – {row['number']:>2} {row['name']}: {row['reason'].splitlines()[0]}"
        for row in run["rows"]
        if row.get("reason")
    ]
    head = f"{len(judged) - len(missed)} of {len(judged)} goals reached."
    return "\n".join([head, *missed, *reasons])


def verdict_in_words(run: Result) -> str:
    """The same as a sentence and a list."""
    head, *lines = verdict(run).splitlines()
    return "\n".join([head, "", *(f"- {line.strip()}" for line in lines)])


def shown(comparison: Result) -> str:
    """Its figure, with the unit."""
    return f"{number(comparison['median'])} {unit(comparison)}"


def number(value: float) -> str:
    """Three significant digits."""
    if value == 0:
        return "0"
    if abs(value) >= 1_000:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"


def time(seconds: float | None) -> str:
    """Seconds in a unit that suits them."""
    if seconds is None:
        return ""
    for size, name in _TIMES:
        if seconds >= size:
            return f"{number(seconds / size)} {name}"
    return f"{number(seconds * 1e9)} ns"


def replace_between(page: Path, name: str, text: str) -> None:
    """Put text between a page's markers `<!-- bench:NAME -->` and `<!-- /bench:NAME -->`.

    Raises:
        ValueError: When the page has no such markers.
    """
    begin, end = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
    pattern = re.compile(f"({re.escape(begin)}\n).*?({re.escape(end)})", re.DOTALL)
    before = page.read_text()
    if not pattern.search(before):
        raise ValueError(f"{page} has no markers {begin} … {end}")
    page.write_text(pattern.sub(lambda found: f"{found[1]}\n{text.strip()}\n\n{found[2]}", before))


def _table(rows: list[Result]) -> Iterator[str]:
    yield "| work | measured | goal | ours | peer |"
    yield "| --- | --- | --- | --- | --- |"
    for row in rows:
        name = f"{row['number']} `{row['name']}`"
        against = f", against {row['peer']}" if row["peer"] else ""
        note = f" *not run: {row['reason'].splitlines()[0]}* " if row.get("reason") else " "
        yield f"| {name}: **{row['what']}**{against} |{note}| | | |"
        for each in row["comparisons"]:
            yield _line(each)


def _line(each: Result) -> str:
    reached = each["reached"]
    mark = "" if reached is None else "✗" if not reached else "✓✓" if each["stretched"] else "✓"
    goal = each["goal"] or ""
    if goal and each["stretch"] is not None:
        goal += f" ({number(each['stretch'])})"
    spread = f"{number(each['least'])} – {number(each['greatest'])}"
    ours, peer = (time(each["ours"]), time(each["peer"])) if has_times(each) else ("", "")
    judged = " ".join(filter(None, (mark, goal)))
    return f"| {each['what']} | {shown(each)}<br>{spread} | {judged} | {ours} | {peer} |"


def has_times(comparison: Result) -> bool:
    """Whether it compares two times."""
    return comparison["peer"] is not None and comparison["figure"] in ("seconds", "lag", "p99")


def conditions(run: Result, *, of: str | None = None) -> Iterator[str]:
    """What a run was measured on, and when.

    Parameters:
        of: The only row that is shown, if it is one; what others were measured on says nothing of it.
    """
    machine = run["machine"]
    yield (
        f"Run of {run['date']}, {run['minutes']:.0f} minutes, {run['mode']} mode, commit `{run['commit']}`: "
        f"{machine['cpu']}, {machine['cores']} cores, {machine['kernel']}, {machine['python']}; load average "
        f"{machine['load']} when it began."
    )
    for note in (each for each in run.get("again", ()) if of is None or of in each["rows"]):
        yield ""
        yield (
            f"Measured by itself on {note['date']}, {note['mode']} mode, commit `{note['commit']}`, "
            f"load average {note['machine']['load']}: {', '.join(f'`{name}`' for name in note['rows'])}."
        )
    for environment, versions in run["versions"].items():
        yield ""
        yield (
            f"*{environment}*: " + ", ".join(f"{name} {version}" for name, version in versions.items()) + "."
        )
