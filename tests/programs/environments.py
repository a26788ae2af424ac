"""Environments with the oldest and the newest releases that pyproject.toml allows.

    python -m tests.programs.environments constraints      # prints the lowest versions, as constraints for pip
    python -m tests.programs.environments oldest FOLDER    # these, under the oldest Python here; an editable install
    python -m tests.programs.environments newest FOLDER    # the newest, under the newest Python; a built wheel

The exit code is 77 if pip reaches no packages, with the reason as the last line.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
NOT_HERE = 77  # the exit code
SECONDS = 600  # the limit of each command
MINORS = 10, 12  # the versions of Python 3 for which all lowest versions have wheels
SOURCES = "pyproject.toml", "README.md", "LICENSE", "distcnn", "datasets"  # what a wheel is built from


class Unavailable(Exception):
    """What was asked for cannot be had on this machine."""


def project():
    """Return the table [project] of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def constraints():
    """Return the lowest versions of all dependencies that have one, as lines of constraints for pip."""
    table = project()
    required = [
        *table["dependencies"],
        *table["optional-dependencies"]["mpich"],
        *table["optional-dependencies"]["test"],
    ]
    bounds = [re.match(r"([\w-]+)>=([\w.]+)", each) for each in required]
    return [f"{bound[1]}=={bound[2]}" for bound in bounds if bound]


def pythons():
    """Return the interpreters here, by their minor version of Python 3, of those that pyproject.toml names."""
    minors = [int(found) for found in re.findall(r"Python :: 3\.(\d+)", "\n".join(project()["classifiers"]))]
    found = {minor: _interpreter(minor) for minor in sorted(minors)}
    return {minor: path for minor, path in found.items() if path}


def _interpreter(minor):
    """Return the path of Python 3.`minor` if it is on the path, or among those that pyenv has installed, else None."""
    name = f"python3.{minor}"
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    for path in filter(None, [shutil.which(name), *sorted(versions.glob(f"3.{minor}.*/bin/{name}"))]):
        if subprocess.run([path, "-c", "import ensurepip, venv"], capture_output=True).returncode == 0:
            return str(path)
    return None


def pip(python, *words):
    """Run pip in an environment; raise Unavailable if it fails and reaches no packages, and RuntimeError otherwise."""
    command = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", *map(str, words)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"pip is not done within {SECONDS} s") from None
    if done.returncode and "Retrying (" in done.stderr:  # pip's words when there is no connection
        raise Unavailable("pip reaches no packages")
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr[-2000:]}")


def create(folder, interpreter):
    """Create an environment, unless it is there with the same Python; return the path of its Python."""
    python = Path(folder, "bin/python")
    known = Path(folder, "interpreter")
    if not known.exists() or known.read_text() != interpreter:
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([interpreter, "-m", "venv", folder], check=True, capture_output=True)
        known.write_text(interpreter)
    return str(python)


def oldest(folder):
    """Install distcnn, editable, with its tests' packages and all lowest versions, under the oldest Python here.

    An environment that is newer than pyproject.toml stays as it is.
    """
    done = Path(folder, ".installed")
    if done.exists() and done.stat().st_mtime > (ROOT / "pyproject.toml").stat().st_mtime:
        return str(Path(folder, "bin/python"))
    minor, interpreter = next(iter(pythons().items()), (0, ""))
    if not MINORS[0] <= minor <= MINORS[1]:
        raise Unavailable("the lowest versions have wheels for Python 3.{} to 3.{}".format(*MINORS))
    python = create(folder, interpreter)
    listed = Path(folder, "constraints.txt")
    listed.write_text("\n".join(constraints()) + "\n")
    pip(python, "install", "--constraint", listed, "--editable", f"{ROOT}[mpich,test]")
    done.touch()
    return python


def newest(folder):
    """Build a wheel of distcnn and install it with the newest dependencies, under the newest Python here."""
    python = create(folder, next(reversed(pythons().values()), sys.executable))
    with tempfile.TemporaryDirectory() as place:
        sources = Path(place, "sources")
        sources.mkdir()
        for (
            name
        ) in SOURCES:  # a copy, as building leaves files in the folder, which the next wheel would contain
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, sources / name, symlinks=True)
            else:
                shutil.copy(ROOT / name, sources / name)
        pip(python, "wheel", "--no-deps", "--wheel-dir", place, sources)
        wheel = next(Path(place).glob("distcnn-*.whl"))
        pip(python, "install", "--upgrade", "--upgrade-strategy", "eager", f"{wheel}[mpich]")
        pip(python, "install", "--force-reinstall", "--no-deps", wheel)
    return python


def main(what, folder=None):
    """Do what the module's docstring says; return the exit code."""
    if what == "constraints":
        print(*constraints(), sep="\n")
        return 0
    try:
        print({"oldest": oldest, "newest": newest}[what](os.path.abspath(folder)))
    except Unavailable as error:
        print(f"not possible here: {error}")
        return NOT_HERE
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
