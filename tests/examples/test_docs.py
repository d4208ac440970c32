"""What stands in the README and the documentation runs as it stands."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import sqlalchemy as sa

from tests.examples.run_page import blocks
from tests.fork_server import ForkServer

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
WITHIN_SECONDS = 100
"""Before pytest gives the test up; a page takes one second where nobody else is at work."""

HOW_TO = sorted((DOCS / "how-to").glob("*.md"))


def run(
    page: Path,
    folder: Path,
    fork_server: ForkServer,
    broker_url: str,
    *,
    import_files: bool,
    database_url: str = "sqlite+aiosqlite:///shop.db",
) -> None:
    replaced = {
        "redis://localhost:6379/0": broker_url,
        "postgresql+asyncpg://shop@localhost/shop": database_url,
    }
    output = folder.parent / f"{folder.name}.log"
    code = (
        "from pathlib import Path; from tests.examples.run_page import main; "
        f"main(Path({str(page)!r}), {replaced!r}, import_files={import_files})"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = fork_server.start(["-c", code], folder=folder, env=env, output=output)
    try:
        assert process.wait(WITHIN_SECONDS) == 0, output.read_text()
    finally:
        process.kill()


@pytest.mark.valkey
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.stem)
def test_the_code_of_a_page_runs(
    page: Path, tmp_path: Path, fork_server: ForkServer, valkey_url: str
) -> None:
    files_too = page in HOW_TO or page.name == "README.md"
    with redis.Redis.from_url(valkey_url) as client:
        client.flushdb()  # what other pages have left there

    run(page, tmp_path, fork_server, valkey_url, import_files=files_too)


@pytest.fixture
def new_database() -> Iterator[str]:
    """The URL of an empty database in PostgreSQL, for asyncpg."""
    if (server := os.environ.get("FASTAPI_EVENTS_TEST_POSTGRES_URL")) is None:
        if os.environ.get("CI") == "true":
            pytest.fail("FASTAPI_EVENTS_TEST_POSTGRES_URL must be set in CI")
        pytest.skip("needs PostgreSQL: set FASTAPI_EVENTS_TEST_POSTGRES_URL")
    url, name = sa.make_url(server).set(drivername="postgresql+psycopg"), f"page_{uuid.uuid4().hex}"
    engine = sa.create_engine(url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
        yield url.set(drivername="postgresql+asyncpg", database=name).render_as_string(hide_password=False)
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.mark.valkey
@pytest.mark.postgres
def test_the_page_on_postgresql_runs_on_it(
    tmp_path: Path, fork_server: ForkServer, valkey_url: str, new_database: str
) -> None:
    page = DOCS / "how-to" / "postgresql.md"

    run(page, tmp_path, fork_server, valkey_url, import_files=True, database_url=new_database)


def test_every_page_is_found() -> None:
    assert len(PAGES) > 55
    assert len(HOW_TO) > 15
    assert (DOCS / "index.md").read_text().strip()


def test_every_page_has_its_place_in_the_navigation() -> None:
    nav = (ROOT / "mkdocs.yml").read_text().split("\nnav:\n")[1].split("\n\n")[0]
    named = re.findall(r": (\S+\.md)$", nav, re.MULTILINE)

    assert sorted(named) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))
