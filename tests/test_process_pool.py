"""Several processes call a function: every item has a result, whatever happens to a process."""

import os
import signal
import time

import pytest

from distcnn.system import process_pool
from distcnn.system.process_pool import Crashed, in_order, in_processes
from tests.helpers.jobs import wait_until


def act(word):
    """Do what an item says, in a process of the pool."""
    if word == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if word == "raise":
        raise ValueError
    return f"did {word}"


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("crashes", [(), (0,), (4,), (9,), (3, 4, 5)])
def test_a_crash_costs_one_item(count, crashes):
    items = [("crash", k) if k in crashes else ("work", k) for k in range(10)]
    batches = [[(word, k) for word, k in items[start : start + 4]] for start in (0, 4, 8)]
    found = dict(in_processes(first, batches, count))
    assert found == {(word, k): Crashed("SIGSEGV") if k in crashes else "did work" for word, k in items}


def first(item):
    return act(item[0])


def test_one_batch_more_is_asked_for_than_there_are_processes():
    asked = []

    def batches():
        for k in range(20):
            asked.append(k)
            yield [f"{k}"]

    results = in_processes(act, batches(), 2)
    next(results)
    assert len(asked) <= 3
    assert len(list(results)) == 19


def test_a_process_goes_on_while_its_results_are_used(tmp_path):
    paths = [tmp_path / "first", tmp_path / "second"]
    results = in_processes(create, [[path] for path in paths], 1)
    assert next(results) == (paths[0], None)
    wait_until(paths[1].exists)
    assert list(results) == [(paths[1], None)]


def create(path):
    path.touch()


def test_no_items_start_no_process(monkeypatch):
    monkeypatch.setattr(process_pool.subprocess, "Popen", None)
    assert list(in_processes(act, [], 4)) == []


def test_an_exception_is_a_mistake_of_the_program():
    with pytest.raises(RuntimeError, match="exit code 1"):
        list(in_processes(act, [["raise"]], 1))


def test_a_limit_of_the_users_own_stays(run):
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_CPU, (30, 30)); "
        "from distcnn.system.process_pool import in_processes; "
        "from distcnn.data.importers.decoding import Item, outcome; "
        "print(len(list(in_processes(outcome, [[Item(1, b'', None, 9)]], 1))))"
    )
    done = run("python", "-c", code)
    assert done.stdout == "1\n", done.stderr


def slow_at_first(k):
    """Let others go on before the first result is there."""
    time.sleep(0.3 * (k == 0))
    return 2 * k


@pytest.mark.parametrize("count", [0, 1, 3])
def test_results_come_in_the_order_of_the_items_and_few_wait(count):
    asked, found = [], []

    def items():
        for k in range(30):
            asked.append(k)
            yield k

    for result in in_order(slow_at_first, items(), count):
        found.append(result)
        assert len(asked) - len(found) <= process_pool.AHEAD * count + 1
    assert found == [2 * k for k in range(30)]


def test_a_crash_has_its_place_in_the_order():
    assert [*in_order(act, ["1", "crash", "2"], 2)] == ["did 1", Crashed("SIGSEGV"), "did 2"]
