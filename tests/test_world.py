"""How a job begins and ends: one line from one rank, the same exit code on all, and never a hang."""

from typing import NamedTuple

import pytest

PROGRAM = """
import sys
from distcnn.errors import DataError, Diverged
from distcnn.parallel.world import barrier, mark_collective, on_all, on_root, run

def fail(error):
    raise error

def main(comm):
    last = comm.rank == comm.size - 1
    {body}
    comm.Barrier()

run(main)
"""


class Ending(NamedTuple):
    body: str
    code: int
    said: str = ""  # once, on stderr
    unsaid: str = "distcnn: "


TOGETHER = {
    "done": Ending("print('done')", 0),
    "code": Ending("return 7", 7),
    "help": Ending("on_root(comm, lambda: sys.exit(0))", 0),
    "user error": Ending(
        "on_root(comm, lambda: fail(DataError('no data')))", 2, "distcnn: error: no data\n", "Traceback"
    ),
    "diverged": Ending("raise mark_collective(Diverged('NaN'))", 3, "distcnn: error: NaN\n", "Traceback"),
    "crash of rank 0": Ending("on_root(comm, lambda: 1 / 0)", 1, "ZeroDivisionError", "distcnn: rank 1"),
    "interrupted": Ending("raise KeyboardInterrupt", 130, "", "Traceback"),
}
ON_ONE = {
    "user error": Ending(
        "last and fail(DataError('no data'))", 2, "error: no data\ndistcnn: rank 1 of 2 on "
    ),
    "user error on all": Ending(
        "on_all(comm, lambda: last and fail(DataError('no data')))",
        2,
        "distcnn: error: no data (on rank 1)\n",
        "Traceback",
    ),
    "crash": Ending("last and fail(KeyError('k'))", 1, "KeyError: 'k'\ndistcnn: rank 1 of 2 on ", "rank 0"),
    "exit": Ending("last and sys.exit(0)", 1, "distcnn: rank 1 of 2 on ", "rank 0 of"),
}


@pytest.fixture
def program(tmp_path):
    """Write a program with the given body of `main`; return its command."""

    def write(body):
        path = tmp_path / "program.py"
        path.write_text(PROGRAM.format(body=body))
        return "python", path

    return write


def check(done, ending):
    assert done.returncode == ending.code, done.stderr
    assert not ending.said or done.stderr.count(ending.said) == 1, done.stderr
    assert ending.unsaid not in done.stderr


@pytest.mark.parametrize("name", TOGETHER)
def test_ending_of_one_process(run, program, name):
    check(run(*program(TOGETHER[name].body)), TOGETHER[name])


@pytest.mark.parametrize("name", TOGETHER)
def test_ending_of_ranks_together(mpirun, program, name):
    check(mpirun(2, *program(TOGETHER[name].body)), TOGETHER[name])


@pytest.mark.parametrize("name", ON_ONE)
def test_ending_of_ranks_when_one_fails(mpirun, program, name):
    ending = ON_ONE[name]._replace(unsaid=ON_ONE[name].unsaid.replace("distcnn: ", "Traceback"))
    check(mpirun(2, *program(ending.body)), ending)


@pytest.mark.parametrize("value", ["abc", "", "0", "-1", "1.5", "9" * 30])
def test_a_launcher_s_variable_that_is_no_number_is_told(run, program, value):
    done = run(*program("print('trains')"), env={"PMI_SIZE": value})
    assert (done.returncode, done.stdout) == (2, "")
    wanted = (
        f"distcnn: error: the environment variable PMI_SIZE is {value!r}; wanted is a whole number from 1 on"
    )
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(wanted)
    assert done.stderr.endswith("unset PMI_SIZE\n")


@pytest.mark.parametrize(("rank", "times"), [(0, 1), (1, 0)])
@pytest.mark.parametrize("library", [{}, {"MPI4PY_LIBMPI": "/nonexistent"}], ids=["other MPI", "no MPI"])
def test_ranks_that_do_not_see_each_other_are_refused(run, program, library, rank, times):
    """Stand in for the mpirun of another MPI: the launcher says 2, the library sees 1."""
    env = {"SLURM_STEP_NUM_TASKS": 2, "SLURM_PROCID": rank} | library
    done = run(*program("print('trains')"), env=env)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("distcnn: error: 2 ranks were started") == times
    assert "Traceback" not in done.stderr


def test_one_process_needs_no_mpi_library(run, program):
    body = "barrier(comm); print(comm.size, on_root(comm, lambda: 5), on_all(comm, lambda: 6), comm.allgather(7))"
    done = run(*program(body), env={"MPI4PY_LIBMPI": "/nonexistent"})
    assert done.stdout == "1 5 6 [7]\n", done.stderr


def test_importing_needs_no_mpi_and_no_numba(run):
    code = """
import sys
from distcnn.parallel import allreduce, collective, partition, serial, shared_memory, world
print({"mpi4py.MPI", "numba"} & set(sys.modules))
"""
    assert run("python", "-c", code).stdout == "set()\n"
