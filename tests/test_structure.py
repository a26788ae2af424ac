"""The layout is the architecture: imports only go down, and importing distcnn costs next to nothing."""

import ast
import sys
from pathlib import Path

import pytest

import distcnn

PACKAGE = Path(distcnn.__file__).parent
LEVELS = [  # from the top; modules of one level may import each other within their package only
    {"train", "evaluate", "predict", "data.__main__", "data.show", "bench", "launch", "verify"},
    {"job"},
    {"survival"},
    {"training", "report.recorder", "trained"},
    {"models", "evaluation", "prediction", "rundir", "report", "replicas"},
    {"checkpoint", "data.batches", "net", "crew"},
    {"blocknet"},
    {"inference", "group"},
    {"plan", "state", "chain", "memory", "parameters", "blame"},
    {"layers", "data"},
    {"parallel", "files"},
    {"loss", "optim", "averages", "schedule", "combinations", "table"},
    {"kernels"},
    {"lanes", "config", "randomness", "stop"},
    {"arguments", "domains"},
    {"augment", "caches", "environment", "errors", "exact", "outcome", "scalars"},
]


def modules():
    paths = sorted(PACKAGE.rglob("*.py"))
    return {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in paths}


def level(module):
    """Return the level of a module, or of the package that it is in."""
    parts = module.removesuffix(".__init__").split(".")
    for name in (".".join(parts), parts[0]):
        for k, names in enumerate(LEVELS):
            if name in names:
                return k, name
    raise AssertionError(f"{module} has no level: give it one here")


def imports(path):
    """Yield the modules of distcnn that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name.removeprefix("distcnn.") for name in node.names if "distcnn." in name.name)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "distcnn":
            inside = node.module.removeprefix("distcnn").removeprefix(".")
            for name in node.names:
                whole = f"{inside}.{name.name}".removeprefix(".")
                known = whole in modules() or f"{whole}.__init__" in modules()
                if known or inside:
                    yield whole if known else inside


@pytest.mark.parametrize("module", sorted(set(modules()) - {"__init__"}))
def test_imports_only_go_down(module):
    mine, name = level(module)
    for imported in imports(modules()[module]):
        theirs, other = level(imported)
        assert theirs > mine or name.split(".")[0] == other.split(".")[0], f"{module} imports {imported}"


def test_only_the_world_names_comm_world():
    assert [m for m, path in modules().items() if "MPI.COMM_WORLD" in path.read_text()] == ["parallel.world"]


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import distcnn", {"numpy", "numba", "mpi4py.MPI"}),
        ("from distcnn import Net, layers", {"mpi4py.MPI", "h5py", "matplotlib"}),
        ("import distcnn.train", {"mpi4py.MPI", "matplotlib", "tqdm", "tomli_w", "torch"}),
    ],
)
def test_imports_are_cheap(run, statement, absent):
    done = run("python", "-c", f"import sys; {statement}; print(*sys.modules)")
    assert done.returncode == 0, done.stderr
    assert not absent & set(done.stdout.split())


def test_one_process_works_without_an_mpi_library(run, tmp_path):
    """mpi4py without a library behaves as when MPI4PY_LIBMPI names none."""
    words = "python", "-m", "distcnn.train", "--max-steps", 1
    done = run(*words, cwd=tmp_path, env={"MPI4PY_LIBMPI": "/nowhere/libmpi.so"})
    assert done.returncode == 0, done.stderr
    assert "weights_sha256" in done.stdout
    assert sys.version_info >= (3, 10)
