"""Processes that distcnn starts take code from where their parent does, and from nowhere else."""

import os
import subprocess
import sys

import pytest

from distcnn.system.python import python
from tests.helpers import jobs

HAS_SAFE_PATH = sys.version_info >= (3, 11)
PLANTED = "import os; os.mkdir(os.environ['PLANTED'])\n"
SHOW = "import json; from distcnn.system.python import python; print(json.dumps(python()[1:]))"
ADD = f"import sys; sys.path.insert(0, {str(jobs.ROOT)!r}); "


def ask(*flags, code=SHOW, cwd=None):
    """Return what a Python with these flags prints."""
    done = subprocess.run([sys.executable, *flags, "-c", ADD + code], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_without_flags_there_are_none(tmp_path):
    assert ask(cwd=tmp_path) == "[]"


@pytest.mark.parametrize("flags", [["-E"], ["-s"], ["-I"], ["-E", "-s"], ["-P"], ["-E", "-P"]])
def test_flags_are_passed_on(tmp_path, flags):
    if "-P" in flags and not HAS_SAFE_PATH:
        pytest.skip("-P is new in Python 3.11")
    assert ask(*flags, cwd=tmp_path) == str(flags).replace("'", '"')


@pytest.mark.skipif(not HAS_SAFE_PATH, reason="-P is new in Python 3.11")
def test_a_command_that_does_not_search_the_working_folder_has_children_that_do_not(tmp_path, monkeypatch):
    """As the script `distcnn`, which lies in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        sys, "path", ["/usr/bin", *(each for each in sys.path if each not in ("", os.getcwd()))]
    )
    assert "-P" in python()
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert "-P" not in python()


CHILDREN = {
    "sandbox": "from distcnn.data import sandbox; sandbox.check_in_sandbox({data!r})",
    "checkpoint": "from distcnn.run import checkpoint; checkpoint.load({saved!r})",
    "curves": "from distcnn.run.curves import Curves; c = Curves('m', 'p', 't', print); c.draw(); c.finish()",
    "launcher": "import sys; sys.argv = ['x', '-n', '1', '--', '--max-steps', '1', '--out', 'r'];"
    "from distcnn import launch; sys.exit(launch.main())",
    "versions": "from distcnn.config import versions; versions.show_versions()",
}


@pytest.mark.skipif(not HAS_SAFE_PATH, reason="-P is new in Python 3.11")
@pytest.mark.parametrize("child", CHILDREN)
def test_a_planted_module_does_not_run(tmp_path, child):
    from distcnn.run import checkpoint
    from tests.helpers import sources
    from tests.helpers.states import state

    sources.make(tmp_path)
    checkpoint.save(tmp_path / "saved.h5", state())
    work = tmp_path / "work"
    work.mkdir()
    for name in ("numpy", "h5py", "mpi4py", "json", "random"):
        (work / f"{name}.py").write_text(PLANTED)
    code = CHILDREN[child].format(data=str(tmp_path / "mnist.h5"), saved=str(tmp_path / "saved.h5"))
    env = jobs.clean_environment({"PLANTED": tmp_path / "ran", "NUMBA_CACHE_DIR": tmp_path / "cache"})
    env.pop("PYTHONSAFEPATH", None)
    done = jobs.run("python", "-P", "-c", code, cwd=work, env=env)
    assert done.returncode == 0, jobs.show(done)
    assert not (tmp_path / "ran").exists()
