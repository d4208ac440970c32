"""Each module has a test file of its name, in the same place."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]

TESTED_ELSEWHERE: dict[str, str] = {
    # Through the scopes that own them.
    "scope/backlog.py": "scope/test_collection.py",
    # On both engines at once, since both are to do the same.
    "handlers/celery/diagnosis.py": "handlers/test_diagnosis.py",
    "handlers/dramatiq/diagnosis.py": "handlers/test_diagnosis.py",
    "handlers/task_queue/diagnosis.py": "handlers/test_diagnosis.py",
    "handlers/task_queue/engine.py": "handlers/task_queue/test_handler.py",
    "handlers/task_queue/sender.py": "handlers/task_queue/test_handler.py",
    "handlers/task_queue/worker/outcome.py": "handlers/task_queue/worker/test_decisions.py",
    "handlers/task_queue/worker/worker.py": "handlers/task_queue/test_handler.py",
    "handlers/dramatiq/engine.py": "handlers/dramatiq/test_handler.py",
    # In real worker processes, which is where it shows.
    "handlers/celery/foreign_messages.py": "integration/test_celery_foreign_messages.py",
    "handlers/celery/consumption.py": "cli/test_probe.py",
    "handlers/celery/heartbeat.py": "integration/test_celery_heartbeat.py",
    "handlers/celery/quorum.py": "handlers/celery/test_on_rabbitmq.py",
    "handlers/celery/tasks.py": "handlers/task_queue/worker/test_decisions.py",
    "handlers/celery/unclaimed.py": "integration/test_celery_foreign_messages.py",
    "handlers/dramatiq/foreign_messages.py": "handlers/dramatiq/test_redis_broker.py",
    "handlers/dramatiq/redis_stranded.py": "handlers/dramatiq/test_redis_broker.py",
    # Through the worker that is made of them.
    "testing/inline_broker.py": "testing/test_worker.py",
    "testing/inline_engine.py": "testing/test_worker.py",
    "testing/inline_handler.py": "testing/test_worker.py",
    "testing/local_faults.py": "testing/test_worker.py",
    "testing/log.py": "testing/test_worker.py",
    # By those that keep them.
    "testing/contracts/catalogue.py": "storage/test_catalogue.py",
    "testing/contracts/clock.py": "storage/conftest.py",
    "testing/contracts/dead_letters.py": "storage/test_dead_letters.py",
    "testing/contracts/engines.py": "contract/test_engines.py",
    "testing/contracts/handlers.py": "contract/test_handlers.py",
    "testing/contracts/inbox.py": "storage/test_inbox.py",
    "testing/contracts/journal.py": "storage/test_journal.py",
    "testing/contracts/lanes.py": "storage/test_lanes.py",
    "testing/contracts/outbox.py": "storage/test_outbox.py",
    # By the application that shows them.
    "console/page.py": "console/test_application.py",
    # By the worker.
    "testing/work.py": "testing/test_worker.py",
    # Through the publisher that uses them.
    "handlers/celery/connections.py": "handlers/celery/test_on_rabbitmq.py",
    "handlers/celery/redis_transport.py": "handlers/celery/test_redis_client.py",
    "handlers/dramatiq/rabbitmq_connection.py": "handlers/dramatiq/test_rabbitmq_publisher.py",
    "handlers/dramatiq/rabbitmq_quorum.py": "integration/test_dramatiq_brokers.py",
    # As parts of the stores that use them.
    "storage/redis/combined_scripts.py": "storage/test_concurrency.py",
    "storage/redis/scripts.py": "storage/test_lanes.py",
    "storage/redis/server.py": "storage/test_settings.py",
    "storage/sqlalchemy/claim.py": "storage/test_outbox.py",
    "storage/sqlalchemy/database.py": "storage/test_sql.py",
    "storage/sqlalchemy/schema.py": "storage/test_sql.py",
}
"""Modules without a test file of their own, and the file that tests them."""


def places_of(module: Path) -> list[Path]:
    """Where the tests of a module may be.

    Those of `retry.py` are in `test_retry.py`. What `storage/` has of an interface in several places is
    tested in one, over all of them.
    """
    name = f"test_{module.stem.strip('_')}.py"
    places = [module.parent / name]
    if module.parts[0] == "storage":
        places.append(Path("storage") / name)
    return places


def test_each_module_has_a_test_file_of_its_own() -> None:
    package, tests = ROOT / "fastapi_events", ROOT / "tests"
    modules = [path.relative_to(package) for path in package.rglob("*.py") if path.name != "__init__.py"]
    without = {
        str(module) for module in modules if not any((tests / place).exists() for place in places_of(module))
    }

    assert sorted(without - set(TESTED_ELSEWHERE)) == [], "give each a test file"
    assert sorted(set(TESTED_ELSEWHERE) - without) == [], "these have one by now"
    assert [file for file in TESTED_ELSEWHERE.values() if not (tests / file).exists()] == []
