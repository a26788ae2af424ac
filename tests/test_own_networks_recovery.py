"""Ranks that train a network of the user's own die: the others end the run, which then needs no file of the user's.

Only Open MPI 5 survives the death of a rank.
"""

import pytest

from distcnn.parallel.serial import SerialComm
from tests.helpers import jobs
from tests.helpers.commands import call
from tests.helpers.digests import digest
from tests.helpers.own_networks import CODE, PLAIN
from tests.programs import FAULTS

pytestmark = [
    pytest.mark.mpirun,
    pytest.mark.skipif(not jobs.tolerant(), reason="only Open MPI 5 survives the death of a rank"),
]
STOP, STEPS = 17, 30  # both within an epoch, which has 12 steps
TRAIN = "--epochs", 3, "--checkpoint-every", 5, "--progress", "none"
DEATHS = {  # the network as it is named: of rank 0 before and after it makes the network, then of another rank
    "plain.txt": "death@prepare:0,soon@allreduce:1:14",
    "mynet:plain": "death@create:0,death@step:2:5",
    "mynet.py:own": "death@prepare:0,death@step:1:14",
}


def write(folder):
    (folder / "mynet.py").write_text(CODE)
    (folder / "plain.txt").write_text(PLAIN)


@pytest.fixture(scope="module")
def wanted(tmp_path_factory):
    """Return the digests of runs without deaths, by the last word of the network's name."""
    folder, found = tmp_path_factory.mktemp("whole"), {}
    write(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in "plain", "own":
            words = "--model", f"mynet.py:{name}", "--out", name, "--max-steps", STEPS
            found[name] = digest(call(SerialComm(), "distcnn.train", *TRAIN, *words))
    return found


@pytest.mark.parametrize("word", DEATHS)
def test_deaths_cost_no_bit_and_the_run_needs_no_file(tmp_path, monkeypatch, wanted, word):
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    words = "python", FAULTS, DEATHS[word], *TRAIN, "--model", word, "--out", "run", "--max-steps", STOP
    done = jobs.survivable(3, *words, cwd=tmp_path)
    assert digest(done), done.stderr
    assert done.stderr.count(" died ") == 2
    own = word.endswith("own")
    code = ("--layers", "mynet.py") if own else ()
    if not own:
        (tmp_path / "mynet.py").unlink()
        (tmp_path / "plain.txt").unlink()
    resumed = call(
        SerialComm(), "distcnn.train", "--resume", "auto", "--out", "run", "--max-steps", STEPS, *code
    )
    assert digest(resumed) == wanted["own" if own else "plain"]
    for command in "evaluate", "predict":
        assert call(SerialComm(), f"distcnn.{command}", "run", *code).returncode == 0
