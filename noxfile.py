"""The suite on every supported Python, with the oldest and the newest supported dependencies: `make matrix`.

    make matrix ARGS="--list"
    make matrix ARGS="--session 'suite-3.13(oldest)' -- tests/handlers"

The oldest are the lower bounds that `pyproject.toml` states, as far as there are wheels of them for that
Python: whoever raises one, raises it there. A Python is found by its name on the PATH, `python3.13`.
"""

from __future__ import annotations

import nox

PYTHONS = ["3.11", "3.12", "3.13", "3.14", "3.14t"]

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv"
nox.options.error_on_missing_interpreters = False  # it says in its summary which it has skipped
nox.options.stop_on_first_error = False

VERSIONS = """
import importlib.metadata as installed, sys
print(sys.version)
for name in "fastapi starlette pydantic dramatiq celery kombu redis SQLAlchemy".split():
    print(name, installed.version(name))
"""


@nox.session(python=PYTHONS)
@nox.parametrize("dependencies", ["oldest", "newest"], ids=["oldest", "newest"])
def suite(session: nox.Session, dependencies: str) -> None:
    """The ordinary suite; what follows -- goes to pytest."""
    resolution = "lowest-direct" if dependencies == "oldest" else "highest"
    # As a file of requirements, too: what the extras ask for is direct only there. As wheels, since a release
    # that is older than the Python has none for it, and cannot be built there either.
    requirements = ("--requirements", "pyproject.toml", "--all-extras", "--group", "test")
    session.install("--resolution", resolution, "--only-binary", ":all:", *requirements)
    session.install("--no-deps", "--editable", ".")
    session.run("python", "-c", VERSIONS)
    options = ["--numprocesses", "auto", "--dist", "worksteal"]
    if dependencies == "oldest":
        # They use what newer Pythons advise against. Consumers of Dramatiq 2.1 leave sockets of pika's to the
        # garbage collector.
        options += ["-W", "default::DeprecationWarning"]
        options += ["-W", "default:Exception ignored in:pytest.PytestUnraisableExceptionWarning"]
    session.run("python", "-m", "pytest", *options, *session.posargs)
