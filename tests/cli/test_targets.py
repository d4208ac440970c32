"""How commands find handlers, and what they say to a target that is none."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cli.conftest import Ran

Run = Callable[..., Ran]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("no_such_module", "There is no module 'no_such_module' here"),
        ("shop_events:nothing", "shop_events has no 'nothing'"),
        ("shop_events:ListHandler", "is a ABCMeta; expected a DramatiqHandler or CeleryHandler"),
        ("empty_module", "empty_module holds no DramatiqHandler or CeleryHandler"),
    ],
)
def test_a_wrong_target_is_named(run: Run, target: str, said: str) -> None:
    ran = run("doctor", target)

    assert ran.code == 1
    assert said in ran.err


def test_a_module_stands_for_all_its_handlers(run: Run) -> None:
    ran = run("doctor", "shop_events")

    assert "list:events" in ran.out
    assert "list:bare" in ran.out


def test_doctor_finds_the_danger(run: Run) -> None:
    good, bare = run("doctor", "shop_events:events"), run("doctor", "shop_events:bare")

    assert (good.code, bare.code) == (0, 1)
    assert "ok      outbox: 0 waiting" in good.out
    assert "DANGER  outbox: none" in bare.out


def test_without_a_command_the_usage_is_shown(run: Run) -> None:
    ran = run()

    assert ran.code == 2
    assert "usage: fastapi-events" in ran.err
