"""Identifiers: UUIDs that never come twice, or always."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import uuid

import pytest

from fastapi_events.ids import NamedIds, named_id, random_id

MANY = 2_000


def test_a_random_id_is_a_uuid_of_version_4() -> None:
    for _ in range(MANY):
        identifier = random_id()
        known = uuid.UUID(identifier)
        assert (str(known), known.version, known.variant) == (identifier, 4, uuid.RFC_4122)


def test_every_bit_that_is_free_is_random() -> None:
    values = [uuid.UUID(random_id()).int for _ in range(200)]
    ever, always = 0, ~0
    for value in values:
        ever |= value
        always &= value

    # Beside the digit of the version and the two bits of the variant, each bit has been both 0 and 1.
    assert (ever & ~always).bit_count() == 122


def test_threads_make_different_ids() -> None:
    made: list[list[str]] = []
    start = threading.Barrier(4)

    def make() -> None:
        start.wait()
        made.append([random_id() for _ in range(MANY)])

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({each for ids in made for each in ids}) == 4 * MANY


def test_who_seeds_the_random_numbers_of_the_process_does_not_touch_ids() -> None:
    random.seed(7)
    first = [random_id() for _ in range(10)]
    random.seed(7)

    assert not set(first) & {random_id() for _ in range(10)}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork()")
def test_a_forked_child_does_not_repeat_its_parents_ids() -> None:
    random_id()
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writable, "\n".join(random_id() for _ in range(100)).encode())
        os._exit(0)
    os.close(writable)
    with os.fdopen(readable) as pipe:
        theirs = pipe.read().split()
    os.waitpid(child, 0)

    assert len(theirs) == 100
    assert not set(theirs) & {random_id() for _ in range(100)}


def test_two_processes_make_different_ids() -> None:
    program = "from fastapi_events.ids import random_id\nfor _ in range(100): print(random_id())"
    made = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]

    assert len({each for ids in made for each in ids.split()}) == 200


@pytest.mark.parametrize("parts", [("7", "shop.tell_the_kitchen"), ("",), ("a", "b", "\N{CAT FACE}")])
def test_a_named_id_is_the_uuid_of_version_5_that_it_always_was(parts: tuple[str, ...]) -> None:
    namespace = uuid.UUID("5f0f7f0e-3f4c-5c0a-9a63-6c1d7be4b1ad")

    assert named_id(*parts) == str(uuid.uuid5(namespace, "\n".join(parts)))
    assert named_id(*parts, "another") != named_id(*parts)


def test_work_that_is_done_again_names_what_comes_of_it_as_before() -> None:
    def made(*parts: str) -> list[str]:
        ids = NamedIds(*parts)
        return [ids.next("cat"), ids.next("fish"), ids.next("cat")]

    assert made("1", "cook") == made("1", "cook")
    assert len({*made("1", "cook"), *made("2", "cook"), *made("1", "feed")}) == 9


def test_things_of_other_names_do_not_change_the_ids_of_one() -> None:
    one, other = NamedIds("1", "cook"), NamedIds("1", "cook")
    other.next("fish")

    assert one.next("cat") == other.next("cat")
