"""When a failed subscription runs again, and when it is given up."""

import copy
import pickle
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastapi_events.retry import RetryPolicy

ERROR = RuntimeError("the kitchen is closed")


def test_waits_double_until_the_longest_one() -> None:
    policy = RetryPolicy(max_retries=6, min_backoff=1.0, max_backoff=10.0, jitter=False)

    waits = [policy.next_wait(attempt, ERROR) for attempt in range(1, 8)]

    assert waits == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0, None]


def test_no_retries_means_that_the_first_failure_is_the_last() -> None:
    assert RetryPolicy(max_retries=0).next_wait(1, ERROR) is None


def test_backoffs_may_be_timedeltas() -> None:
    policy = RetryPolicy(min_backoff=timedelta(milliseconds=250), max_backoff=timedelta(minutes=2))

    assert (policy.min_backoff, policy.max_backoff) == (0.25, 120.0)
    assert policy == RetryPolicy(min_backoff=0.25, max_backoff=120)


def test_an_error_that_no_retry_can_mend_is_given_up_at_once() -> None:
    policy = RetryPolicy(give_up_on=(LookupError, TypeError))

    assert policy.next_wait(1, KeyError("a subclass counts too")) is None
    assert policy.next_wait(1, ERROR) is not None


def test_a_single_exception_class_is_enough() -> None:
    policy = RetryPolicy(give_up_on=ValueError)

    assert policy.give_up_on == (ValueError,)
    assert policy.next_wait(1, ValueError()) is None


def test_a_list_of_classes_becomes_a_tuple_so_that_the_policy_stays_hashable() -> None:
    classes: Any = [ValueError, KeyError]

    policy = RetryPolicy(give_up_on=classes)

    assert policy.give_up_on == (ValueError, KeyError)
    assert hash(policy) == hash(RetryPolicy(give_up_on=(ValueError, KeyError)))


def test_the_ten_thousandth_attempt_still_has_a_wait() -> None:
    for shortest in (0.0, 5e-324, 1.0, 600.0):
        policy = RetryPolicy(max_retries=20_000, min_backoff=shortest, jitter=False)

        assert policy.next_wait(10_000, ERROR) == (600.0 if shortest > 1e-100 else pytest.approx(0, abs=1e-9))


def test_jitter_spreads_waits_over_the_upper_half() -> None:
    policy = RetryPolicy(max_retries=1, min_backoff=8.0)

    waits = [policy.next_wait(1, ERROR) for _ in range(500)]

    assert all(wait is not None and 4.0 <= wait <= 8.0 for wait in waits)
    assert len(set(waits)) > 100


@given(
    attempt=st.integers(1, 3_000),
    shortest=st.floats(0, 1e6),
    more=st.floats(0, 1e6),
    jitter=st.booleans(),
)
def test_a_wait_never_leaves_its_bounds(attempt: int, shortest: float, more: float, jitter: bool) -> None:
    policy = RetryPolicy(max_retries=3_000, min_backoff=shortest, max_backoff=shortest + more, jitter=jitter)

    wait = policy.next_wait(attempt, ERROR)

    assert wait is not None
    assert shortest / 2 <= wait <= shortest + more


@pytest.mark.parametrize(
    ("options", "kind", "named"),
    [
        ({"max_retries": -1}, ValueError, "max_retries"),
        ({"max_retries": 1.5}, TypeError, "max_retries"),
        ({"max_retries": True}, TypeError, "max_retries"),
        ({"max_retries": None}, TypeError, "max_retries"),
        ({"min_backoff": -0.1}, ValueError, "min_backoff"),
        ({"min_backoff": float("nan")}, ValueError, "min_backoff"),
        ({"min_backoff": "1s"}, TypeError, "min_backoff"),
        ({"min_backoff": timedelta(seconds=-1)}, ValueError, "min_backoff"),
        ({"max_backoff": float("inf")}, ValueError, "max_backoff"),
        ({"max_backoff": 10**400}, ValueError, "max_backoff"),
        ({"max_backoff": True}, TypeError, "max_backoff"),
        ({"min_backoff": 5, "max_backoff": 4}, ValueError, "min_backoff"),
        ({"jitter": "no"}, TypeError, "jitter"),
        ({"give_up_on": "ValueError"}, TypeError, "give_up_on"),
        ({"give_up_on": int}, TypeError, "give_up_on"),
        ({"give_up_on": (ValueError, "KeyError")}, TypeError, "give_up_on"),
        ({"give_up_on": ValueError("an instance")}, TypeError, "give_up_on"),
    ],
)
def test_a_wrong_declaration_names_its_parameter(
    options: dict[str, Any], kind: type[Exception], named: str
) -> None:
    with pytest.raises(kind, match=named):
        RetryPolicy(**options)


def test_an_unknown_parameter_is_refused_with_a_guess() -> None:
    with pytest.raises(
        TypeError, match=r"^RetryPolicy: unknown parameter 'max_retry'; did you mean 'max_retri"
    ):
        RetryPolicy(max_retry=3)  # type: ignore[call-arg]


def test_a_policy_can_be_copied_and_pickled() -> None:
    policy = RetryPolicy(max_retries=1, give_up_on=ValueError)
    assert copy.deepcopy(policy) == pickle.loads(pickle.dumps(policy)) == policy


def test_attempts_count_from_one() -> None:
    with pytest.raises(ValueError, match="attempt"):
        RetryPolicy().next_wait(0, ERROR)


def test_a_policy_is_a_value() -> None:
    policy: Any = RetryPolicy()

    assert policy == RetryPolicy()
    with pytest.raises(AttributeError):
        policy.max_retries = 7


def test_a_policy_can_be_kept_within_a_longest_wait() -> None:
    policy = RetryPolicy(min_backoff=30, max_backoff=600)

    assert policy.within(10) == RetryPolicy(min_backoff=10, max_backoff=10)
    assert policy.within(100) == RetryPolicy(min_backoff=30, max_backoff=100)
    assert policy.within(float("inf")) == policy


def test_a_policy_can_give_up_on_more() -> None:
    policy = RetryPolicy(give_up_on=KeyError).giving_up_on(ValueError)

    assert policy.next_wait(1, KeyError()) is policy.next_wait(1, ValueError()) is None
    assert policy.next_wait(1, TypeError()) is not None


@pytest.mark.parametrize(
    "group",
    [
        ExceptionGroup("all", [ValueError("a"), ExceptionGroup("inner", [UnicodeError("b")])]),
        BaseExceptionGroup("all", [ValueError("a")]),
    ],
)
def test_a_group_is_given_up_where_all_of_its_leaves_are(group: BaseException) -> None:
    assert RetryPolicy(give_up_on=ValueError).next_wait(1, group) is None
    assert RetryPolicy(give_up_on=KeyError).next_wait(1, group) is not None
    assert RetryPolicy(give_up_on=BaseExceptionGroup).next_wait(1, group) is None


def test_a_group_with_a_leaf_that_a_retry_may_mend_is_tried_again() -> None:
    group = ExceptionGroup("mixed", [ValueError(), OSError()])
    assert RetryPolicy(give_up_on=ValueError).next_wait(1, group) is not None
