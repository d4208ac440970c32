"""An outbox on a disk that really is full."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from fastapi_events.errors import StorageFull
from fastapi_events.storage.outbox import Entry
from fastapi_events.storage.sqlalchemy import SqlStore

ENVELOPE = "x" * 4_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root may mount a disk of one megabyte")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"not even root may mount a disk here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_costs_nothing_that_was_kept_and_work_goes_on_once_there_is_room(disk: Path) -> None:
    # Given a disk on which something else leaves little room
    ballast = disk / "ballast"
    ballast.write_bytes(b"\0" * 400_000)
    store = SqlStore.open(disk / "events.db")
    kept: list[str] = []
    # When events come until it is full
    with pytest.raises(StorageFull, match=r"is full \(make room"):
        for number in range(1_000):
            store.outbox.add([Entry(id=str(number), destination="h", envelope=ENVELOPE)])
            kept.append(str(number))
    # Then what was kept can be read, and nothing else is there
    assert kept
    assert [entry.id for entry in store.outbox.list(limit=1_000)] == kept
    # And with room again it can be taken out, and more put in
    ballast.unlink()
    claimed = store.outbox.claim("relay", destinations=["h"], limit=1_000, lease=60)
    assert [entry.id for entry in claimed] == kept
    assert store.outbox.published("relay", claimed) == len(kept)
    store.outbox.add([Entry(id="late", destination="h", envelope=ENVELOPE)])
    store.close()
    # In a file that is sound
    engine = sa.create_engine(f"sqlite:///{disk / 'events.db'}")
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    engine.dispose()
