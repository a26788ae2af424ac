"""The command `distcnn`, versions, and commands where a library is missing or a folder has the package's name."""

import argparse
import importlib.metadata
import subprocess
import sys
import venv
from pathlib import Path

import pytest

import distcnn
from distcnn import __main__ as command
from distcnn.config.subcommand import subcommand_main
from distcnn.config.toml import tomllib
from distcnn.config.versions import FACTS
from distcnn.numerics import NUMERICS
from tests.helpers import jobs

VERSION = f"distcnn {distcnn.__version__}, numerics {NUMERICS}\n"
BLOCKED = "numpy", "numba", "llvmlite", "mpi4py", "h5py"
WITHOUT = (  # runs the module that the first argument names, as python -m does, where some libraries are missing
    f"import runpy, sys; sys.modules |= dict.fromkeys({BLOCKED!r}); "
    "sys.argv.pop(0); runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
)


@pytest.mark.parametrize("module", ["distcnn", *(f"distcnn.{verb}" for verb in command.VERBS)])
def test_the_version_needs_no_library(run, module):
    done = run("python", "-c", WITHOUT, module, "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, VERSION, "")


def test_what_is_behind_two_dashes_is_for_training(run):
    done = run("python", "-m", "distcnn.launch", "-n", "1", "--", "--version")
    assert (done.returncode, done.stdout) == (0, VERSION)
    assert run("python", "-m", "distcnn.launch", "--", "--version").returncode == 2  # -n is missing


def test_one_rank_prints_the_version(mpirun):
    assert mpirun(2, "python", "-m", "distcnn.train", "--version").stdout == VERSION


@pytest.mark.parametrize("verb", command.VERBS)
def test_every_verb_runs_its_module(run, verb):
    done = run("python", "-m", "distcnn", verb, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: python -m distcnn.{verb}")


def test_a_verb_takes_its_options_and_gives_its_exit_code(run, tmp_path):
    done = run("python", "-m", "distcnn", "train", "--lr", "1", cwd=tmp_path)
    assert done.returncode == 2
    assert "did you mean --learning-rate?" in done.stderr
    done = run("python", "-m", "distcnn", "train", "--max-steps", 1, "--out", "a", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a/config.toml").exists()


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("trian", "did you mean train?"),
        ("fit", "did you mean train?"),
        ("eval", "did you mean evaluate?"),
        ("xyz", "see distcnn --help"),
        ("--lr", "see distcnn --help"),
    ],
)
def test_an_unknown_verb_is_reported_in_one_line(run, word, said):
    done = run("python", "-m", "distcnn", word)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert word in done.stderr
    assert said in done.stderr


def test_every_other_verb_means_one_of_ours():
    assert set(command.OTHER_VERBS.values()) <= set(command.VERBS)
    assert not set(command.OTHER_VERBS) & set(command.VERBS)


def test_the_help_lists_all_verbs(run):
    done = run("python", "-m", "distcnn", "--help")
    assert done.returncode == 0
    assert [verb for verb in command.VERBS if f"  {verb} " not in done.stdout] == []
    assert run("python", "-m", "distcnn").stderr == done.stdout


def test_versions_for_a_report(run):
    done = run("python", "-m", "distcnn", "--show-versions")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line[:12].rstrip() for line in lines] == list(FACTS)
    assert f"{distcnn.__version__}, numerics {NUMERICS}" in lines[0]
    found = {
        name: importlib.metadata.version(name) for name in ("numpy", "numba", "llvmlite", "h5py", "mpi4py")
    }
    assert [name for name, text in found.items() if text not in done.stdout] == []
    assert "HDF5 " in done.stdout
    assert run("python", "-c", "import distcnn; distcnn.show_versions()").stdout == done.stdout


def test_versions_are_shown_where_everything_is_missing(run):
    done = run(
        "python", "-c", WITHOUT, "distcnn", "--show-versions", env={"MPI4PY_LIBMPI": "/nowhere/libmpi.so"}
    )
    assert done.returncode == 0, done.stderr
    lines = {line[:12].rstrip(): line[12:] for line in done.stdout.splitlines()}
    assert list(lines) == list(FACTS)
    missing = {name for name, text in lines.items() if "missing (" in text}
    assert missing == {"processor", "numpy", "numba", "llvmlite", "h5py", "mpi4py", "MPI library"}


@pytest.fixture(scope="module", params=["editable", "wheel"])
def installed(tmp_path_factory, request):
    """The Python of an environment in which the clone is installed as `pip install` does it, with --editable or not."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("env")
    venv.create(folder, symlinks=True)
    build = f"build_{request.param}"
    wheel = f"import sys; from setuptools.build_meta import {build}; print({build}(sys.argv[1]))"
    clone = folder / "source/distcnn"
    clone.mkdir(parents=True)
    for name in ("pyproject.toml", "README.md", "LICENSE", "distcnn"):
        (clone / name).symlink_to(jobs.ROOT / name)
    done = subprocess.run(
        [sys.executable, "-c", wheel, folder], cwd=clone, capture_output=True, text=True, timeout=jobs.LIMIT
    )
    assert done.returncode == 0, done.stderr
    site = next(folder.glob("lib/python3*/site-packages"))
    subprocess.run([sys.executable, "-m", "zipfile", "-e", next(folder.glob("*.whl")), site], check=True)
    return folder / "bin/python", clone


def test_commands_work_in_the_folder_of_the_clone(installed, run):
    """There a folder named distcnn, the clone, is found before what an editable install has added."""
    python, clone = installed
    for folder in (clone.parent, clone, "/"):
        done = run(python, "-m", "distcnn.train", "--version", cwd=folder, env={"PYTHONPATH": ""})
        assert (done.returncode, done.stdout, done.stderr) == (0, VERSION, "")


def test_the_package_installs_the_command_and_its_types():
    project = tomllib.loads(Path(jobs.ROOT, "pyproject.toml").read_text())
    module, function = project["project"]["scripts"]["distcnn"].split(":")
    assert getattr(sys.modules[module], function) is command.main
    assert "py.typed" in project["tool"]["setuptools"]["package-data"]["distcnn"]
    assert Path(distcnn.__file__).with_name("py.typed").exists()


CALLS = []  # of `subcommand` in this process


def subcommand(*arguments):
    """Note the arguments; ranks can send this function to each other, as it lies in a module."""
    CALLS.append(arguments)


@pytest.mark.parametrize("is_collective", [False, True])
@pytest.mark.mpi(ranks=(1, 3))
def test_a_subcommand_runs_on_rank_0_or_on_all_ranks(comm, is_collective):
    CALLS.clear()
    given = argparse.Namespace(command=subcommand, is_collective=is_collective)
    subcommand_main(lambda words: given)(comm)
    if is_collective:
        ((_, found),) = CALLS
        assert found is comm
    else:
        assert len(CALLS) == (comm.rank == 0)
