"""Folders are the architecture: imports only go down, and importing distcnn costs next to nothing."""

import ast
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import distcnn
from distcnn.kernels import kernel_cache

pytestmark = pytest.mark.check

PACKAGE = Path(distcnn.__file__).parent
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in sorted(PACKAGE.rglob("*.py"))
}
FOLDERS = sorted({module.split(".")[0] for module in MODULES if "." in module})


def imports(module):
    """Yield the modules of distcnn that a module imports."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [f"{node.module}.{name.name}" for name in node.names]
        else:
            continue
        for name in names:
            known = [each for each in prefixes(name.removeprefix("distcnn.")) if each in MODULES]
            if name.startswith("distcnn.") and known:
                yield known[0]


def prefixes(name):
    """Return a dotted name as a module and as a package, then those around it."""
    parts = name.split(".")
    heads = [".".join(parts[:k]) for k in range(len(parts), 0, -1)]
    return [each for head in heads for each in (head, f"{head}.__init__")]


def folder(module):
    """Return the folder that a module lies in; a loose module is its own."""
    return module.split(".")[0]


def cycle(graph):
    """Return a cycle of a graph {name: names that it imports}, or None."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return " -> ".join(error.args[1])
    return None


def test_folders_import_each_other_in_one_direction():
    graph = {}
    for module in MODULES:
        for imported in imports(module):
            if folder(module) != folder(imported):
                graph.setdefault(folder(module), set()).add(folder(imported))
    assert cycle(graph) is None
    assert graph["job"] >= {"training", "resilience", "run"}  # the graph is not empty by mistake


@pytest.mark.parametrize("name", FOLDERS)
def test_modules_of_a_folder_import_each_other_in_one_direction(name):
    inside = [module for module in MODULES if folder(module) == name]
    graph = {m: {i for i in imports(m) if folder(i) == name and i != m} for m in inside}
    assert cycle(graph) is None


COMMANDS = {"train", "evaluate", "predict", "verify", "export", "launch"}


def test_only_commands_lie_loose():
    loose = {module for module in MODULES if "." not in module}
    assert loose == {"__init__", "__main__", "errors", *COMMANDS}
    for module in MODULES:
        assert not COMMANDS & set(imports(module)), f"{module} imports a command"


def test_no_module_is_long():
    assert {name for name, path in MODULES.items() if len(path.read_text().splitlines()) > 300} == set()


@pytest.mark.parametrize(
    ("who", "never"),
    [
        ("kernels", {"layers", "network", "parallel"}),
        ("layers", {"network", "parallel", "data", "run"}),
        ("network", {"parallel", "data", "run"}),
        ("data.order", {"data", "run"}),
        ("data.stream.order", {"data", "run"}),
        ("training", {"resilience.recovery", "resilience.replica_check", "resilience.watchdog"}),
        ("run", {"resilience"}),
    ],
)
def test_what_must_not_know_what(who, never):
    for module in MODULES:
        if module == who or folder(module) == who:
            for imported in imports(module):
                assert imported not in never, f"{module} imports {imported}"
                assert folder(imported) not in never, f"{module} imports {imported}"


def test_the_kernel_cache_knows_all_sources_that_kernels_use():
    """A kernel's constants and functions come from folders whose files are in the cache's key."""
    for module in MODULES:
        if folder(module) in kernel_cache.FOLDERS:
            for imported in imports(module):
                assert folder(imported) in {*kernel_cache.FOLDERS, "system", "errors"}, module


def test_only_the_world_names_comm_world():
    assert [m for m, path in MODULES.items() if "MPI.COMM_WORLD" in path.read_text()] == ["parallel.world"]


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import distcnn", {"numpy", "numba", "mpi4py.MPI", "sklearn"}),
        ("import distcnn.__main__, distcnn.config.parser", {"numpy", "numba", "mpi4py", "h5py"}),
        ("from distcnn import Net, layers", {"mpi4py.MPI", "h5py", "matplotlib"}),
        ("import distcnn.train", {"mpi4py.MPI", "matplotlib", "tqdm", "tomli_w", "torch", "sklearn"}),
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


def test_no_test_file_imports_another():
    """What several of them need lies in tests/helpers."""
    folder = Path(__file__).parent
    for path in folder.rglob("*.py"):
        names = [name for name in imported_names(path) if "test_" in name or name == "tests"]
        assert not names, f"{path.name} imports {names}"


def imported_names(path):
    """Yield all that a file imports, as module.name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
