"""An AArch64 Python on another machine: `python -m tests.programs.aarch64 FOLDER` installs it, then prints its path.

It needs apt-get with Debian's or Ubuntu's packages, and pip, but not root: everything lies in FOLDER. That is the
emulator qemu-aarch64, unless it is on the path; Python with its libraries for arm64; and wheels of distcnn's
dependencies. FOLDER/python starts it, and is what distcnn's own subprocesses start there. The exit code is 77 if the
packages cannot be had here, with the reason as the last line.
"""

import shutil
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

from tests.programs.environments import NOT_HERE, Unavailable, project

SECONDS = 300  # the limit of all steps together, which take 45 s where the network is fast
PLATFORMS = [f"manylinux_2_{glibc}_aarch64" for glibc in (17, 26, 27, 28)]
BEGIN = time.monotonic()
# qemu names the emulated program after the script, so that sys.executable is the script, too.
SCRIPT = """#!/bin/sh
export PYTHONHOME="{root}/usr" PYTHONNOUSERSITE=1
export PYTHONPATH="$PYTHONPATH:{wheels}"
exec "{emulator}" -0 "{script}" -L "{root}" "{root}/usr/bin/{python}" "$@"
"""


def call(words, folder, why):
    """Run a command; raise Unavailable if it fails, or if the time is over, as without a network."""
    log, left = folder / "log", max(SECONDS - time.monotonic() + BEGIN, 1)
    with log.open("a") as output:
        try:
            options = {"stdout": output, "stderr": output, "stdin": subprocess.DEVNULL}
            subprocess.run(words, **options, check=True, timeout=left)
        except subprocess.CalledProcessError as error:
            raise Unavailable(f"{why}: exit code {error.returncode}; see {log}") from None
        except subprocess.TimeoutExpired:
            raise Unavailable(f"{why}: not done within {SECONDS} s; see {log}") from None
        except OSError as error:
            raise Unavailable(f"{why}: {error}") from None


def apt(folder, architecture, *words):
    """Run apt-get for an architecture, with its own state, in which no package is installed."""
    state, cache, status = folder / "state", folder / "packages", folder / "status"
    for place in (state / "lists/partial", cache / "archives/partial"):
        place.mkdir(parents=True, exist_ok=True)
    status.touch()
    options = {
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Dir::State": state,
        "Dir::State::status": status,
        "Dir::Cache": cache,
    }
    given = [f"-o{name}={value}" for name, value in options.items()]
    call(["apt-get", *given, "--no-install-recommends", "--yes", *words], folder, f"apt-get {words[-1]}")


def unpack(folder, architecture, into, *packages):
    """Download packages with all that they depend on, and unpack them into a folder."""
    place = folder / architecture
    place.mkdir(parents=True, exist_ok=True)
    apt(place, architecture, "update")
    apt(place, architecture, "--download-only", "install", *packages)
    for package in sorted(place.glob("packages/archives/*.deb")):
        call(["dpkg", "-x", package, into], place, f"dpkg -x {package.name}")


def emulator(folder):
    """Return the path of qemu-aarch64, downloaded if it is not installed."""
    names = "qemu-aarch64", "qemu-aarch64-static"
    found = next(filter(None, map(shutil.which, names)), None)
    if found:
        return found
    unpack(folder, host_architecture(), folder / "emulator", "qemu-user-static")
    return str(only(path for name in names for path in folder.glob(f"emulator/usr/bin/{name}")))


def only(paths):
    """Return the first of some paths; raise Unavailable if the packages hold none."""
    for path in paths:
        return path
    raise Unavailable("the packages lack what they hold on Debian 12")


def host_architecture():
    """Return Debian's name of this machine's architecture."""
    try:
        return subprocess.check_output(["dpkg", "--print-architecture"], text=True).strip()
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(f"no dpkg here: {error}") from None


def python(root):
    """Return the name of the Python in an unpacked root, such as python3.11."""
    return only(path for path in root.glob("usr/bin/python3.*") if path.suffix[1:].isdigit()).name


def install_wheels(folder, version, wheels):
    """Install distcnn's dependencies for AArch64 and a version of Python."""
    options = "--upgrade", "--only-binary=:all:", "--python-version", version, "--target", str(wheels)
    platforms = [word for each in PLATFORMS for word in ("--platform", each)]
    pip = sys.executable, "-m", "pip", "install", *options, *platforms
    call([*pip, *project()["dependencies"], "pytest"], folder, "pip install for AArch64")


@cache
def install(folder):
    """Install into a folder what is not there yet; return the path of the script that starts Python."""
    script, root, wheels = folder / "python", folder / "root", folder / "wheels"
    if not script.exists():
        found = emulator(folder)
        unpack(folder, "arm64", root, "python3", "libstdc++6")
        name = python(root)
        install_wheels(folder, name.removeprefix("python"), wheels)
        text = SCRIPT.format(root=root, wheels=wheels, emulator=found, script=script, python=name)
        script.write_text(text)
        script.chmod(0o755)
    call([script, "-c", "import numpy, numba, h5py, mpi4py"], folder, "starting Python under qemu")
    return script


def main(folder):
    """Install; return the exit code."""
    place = Path(folder).resolve()
    place.mkdir(parents=True, exist_ok=True)
    try:
        print(install(place))
    except Unavailable as error:
        print(f"no AArch64 here: {error}")
        return NOT_HERE
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
