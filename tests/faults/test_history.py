"""The checker itself: it must see what it is there to see."""

from __future__ import annotations

import json
from pathlib import Path

from tests.faults.history import History
from tests.faults.results import Result
from tests.faults.table import BEGIN, END, write


def books(folder: Path, **lines: list[dict[str, object]]) -> History:
    for name, entries in lines.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in entries))
    history = History(folder)
    history.accept(range(1, 4))
    return history


def handled(subscription: str, number: int, id_: str = "a") -> dict[str, object]:
    return {"subscription": subscription, "number": number, "id": id_}


def test_what_nobody_accounts_for_is_lost(tmp_path: Path) -> None:
    # Given three orders: one half dead, one reported lost, one half done
    history = books(
        tmp_path,
        handled=[handled("ship", 1), handled("ship", 3)],
        dead=[{"subscription": "bill", "number": 1}],
        lost=[{"number": 2}],
    )

    verdict = history.verdict()

    assert verdict.lost == {("bill", 3)}
    assert (verdict.events, verdict.handled, verdict.dead, verdict.reported) == (3, 2, 1, 2)


def test_duplicates_are_counted_and_those_of_another_id_named(tmp_path: Path) -> None:
    history = books(
        tmp_path,
        handled=[handled("ship", 1), handled("ship", 1), handled("bill", 1), handled("bill", 1, "b")],
    )

    verdict = history.verdict()

    assert verdict.duplicates == 1
    assert verdict.renamed == {("bill", 1)}


def test_a_line_that_is_being_written_is_left(tmp_path: Path) -> None:
    history = books(tmp_path, handled=[handled("ship", 1)])
    with (tmp_path / "handled.jsonl").open("a") as book:
        book.write('{"subscription": "bi')

    assert history.parts("handled") == {("ship", 1)}


def test_the_table_takes_the_place_of_the_last_one(tmp_path: Path) -> None:
    page = tmp_path / "faults.md"
    page.write_text(f"before\n\n{BEGIN}\n\nold\n\n{END}\n\nafter\n")

    write(page, [Result(row=1, fault="a fault", engine="dramatiq", events=1_000, handled=2_000)])

    text = page.read_text()
    assert "| 1 | a fault | dramatiq | - | - | 1,000 | 2,000 | 0 | 0 | 0 | 0 |" in text
    assert text.startswith("before")
    assert text.endswith("after\n")
    assert "old" not in text
