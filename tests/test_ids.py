"""Ids are unique across threads, processes and forks, and sort in the order of creation."""

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from actorstream import generate_correlation_id, generate_message_id

MAKERS = [generate_message_id, generate_correlation_id]
MANY = 2000

FORKING = """
import os, sys
from actorstream import generate_correlation_id, generate_message_id
print("parent", generate_message_id(), generate_correlation_id(), flush=True)
for _ in range(2):
    child = os.fork()
    if not child:
        print("child", generate_message_id(), generate_correlation_id(), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
print("parent", generate_message_id(), generate_correlation_id(), flush=True)
"""


def run(code: str) -> list[list[str]]:
    """Run code in a new process, and return the words of each line that it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [line.split() for line in done.stdout.splitlines()]


@pytest.mark.parametrize("make", MAKERS)
def test_all_are_different(make: Callable[[], str]) -> None:
    assert len({make() for _ in range(MANY)}) == MANY


@pytest.mark.parametrize("make", MAKERS)
def test_they_sort_in_the_order_of_creation(make: Callable[[], str]) -> None:
    made = [make() for _ in range(20 * MANY)]  # enough to add digits if they were not padded
    assert made == sorted(made)


@pytest.mark.parametrize("make", MAKERS)
def test_they_are_short_ascii_without_blanks(make: Callable[[], str]) -> None:
    made = make()
    assert made.isascii()
    assert made.split() == [made]
    assert len(made) < 50


def test_message_ids_and_correlation_ids_never_collide() -> None:
    assert generate_message_id().startswith("msg-")
    assert generate_correlation_id().startswith("corr-")


def test_racing_threads_get_different_ids() -> None:
    with ThreadPoolExecutor(8) as threads:
        batches = threads.map(lambda _: [generate_message_id() for _ in range(MANY)], range(8))
        made = [one for batch in batches for one in batch]
    assert len(set(made)) == len(made) == 8 * MANY


def test_each_thread_gets_its_ids_in_order() -> None:
    with ThreadPoolExecutor(4) as threads:
        for made in threads.map(lambda _: [generate_message_id() for _ in range(MANY)], range(4)):
            assert made == sorted(made)


def test_two_processes_have_different_prefixes() -> None:
    code = "from actorstream import generate_message_id; print(generate_message_id())"
    prefixes = {run(code)[0][0].rsplit("-", 1)[0] for _ in range(2)}
    prefixes.add(generate_message_id().rsplit("-", 1)[0])
    assert len(prefixes) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork()")
def test_a_fork_gets_its_own_prefix() -> None:
    lines = run(FORKING)
    prefixes = [ids[0].rsplit("-", 1)[0] for _, *ids in lines]
    before, first, second, after = prefixes
    assert before == after
    assert len({before, first, second}) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork()")
def test_forks_and_their_parent_make_different_ids() -> None:
    ids = [one for _, *ids in run(FORKING) for one in ids]
    assert len(set(ids)) == len(ids)
