"""Thread counts follow what a rank may use, and never overwrite what the user has set."""

import pytest

from distcnn.system import threads
from distcnn.system.threads import THREADS, limit_threads


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, "8"),
        ({"MPI_LOCALNRANKS": "2"}, "4"),
        ({"OMPI_COMM_WORLD_LOCAL_SIZE": "3"}, "2"),
        ({"SLURM_STEP_TASKS_PER_NODE": "4(x2),3"}, "2"),
        ({"MPI_LOCALNRANKS": "64"}, "1"),
        ({"MPI_LOCALNRANKS": ""}, "8"),
    ],
)
def test_cores_are_shared_by_the_ranks_of_a_node(monkeypatch, environ, wanted):
    monkeypatch.setattr(threads, "cores", lambda: 8)
    limit_threads(environ)
    assert [environ[name] for name in THREADS] == [wanted] * len(THREADS)


def test_what_the_user_has_set_stays():
    environ = {"OMP_NUM_THREADS": "5", "MPI_LOCALNRANKS": "1000"}
    limit_threads(environ)
    assert environ["OMP_NUM_THREADS"] == "5"
    assert environ["NUMBA_NUM_THREADS"] == "1"


def test_importing_distcnn_sets_them_before_numpy(run):
    code = "import sys, os, distcnn; print('numpy' in sys.modules, os.environ['OPENBLAS_NUM_THREADS'])"
    assert run("python", "-c", code, env={"MPI_LOCALNRANKS": 1000}).stdout == "False 1\n"
