"""The cache of compiled kernels: damage and full disks cost time, never a run; its key covers users' own files."""

import ctypes
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from distcnn.kernels import kernel_cache
from tests.helpers import jobs
from tests.helpers.digests import TRAIN, digest, train_here

STEPS = 1
COMMAND = (*TRAIN, "--max-steps", STEPS)


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A cache with the kernels of one step, and the step's digest."""
    home = tmp_path_factory.mktemp("cache")
    done = jobs.run(*COMMAND, cwd=home, env={"XDG_CACHE_HOME": home / "cache"}, timeout=300)
    return home / "cache", digest(done)


@pytest.fixture
def own(filled, tmp_path):
    """Return a copy of the filled cache; Numba's files may lie anywhere, as they name no absolute path."""
    shutil.copytree(filled[0], tmp_path / "cache")
    return tmp_path / "cache"


def files(place, pattern):
    return sorted(place.rglob(pattern))


def damaged(content, how):
    middle = len(content) // 2
    return {
        "empty": b"",
        "cut": content[:middle],
        "zeroed": bytes(len(content)),
        "random": random.Random(1).randbytes(len(content)),
        "foreign": b"\x80\x04\x8c\x08no_moduleq\x8c\x01xq\x93.",  # a pickle of a module that is not there
    }[how]


@pytest.mark.parametrize("kind", ["*.nbi", "*.nbc"])
@pytest.mark.parametrize("how", ["empty", "cut", "zeroed", "random", "foreign"])
def test_damaged_files_are_replaced(run, filled, own, kind, how, tmp_path):
    for path in files(own, kind)[:3]:
        path.write_bytes(damaged(path.read_bytes(), how))
    env = {"XDG_CACHE_HOME": own}
    done = run(*COMMAND, cwd=tmp_path, env=env, timeout=300)
    assert digest(done) == filled[1]
    (line,) = [each for each in done.stderr.splitlines() if "cache" in each]
    assert "damaged" in line
    assert str(own) in line
    (tmp_path / "again").mkdir()
    again = run(*COMMAND, cwd=tmp_path / "again", env=env, timeout=300)
    assert digest(again) == filled[1]
    assert "cache" not in again.stderr


def test_ranks_share_one_warning_of_a_damaged_file(mpirun, filled, own, tmp_path):
    path = files(own, "*.nbc")[0]
    path.write_bytes(b"")
    done = mpirun(3, *COMMAND, cwd=tmp_path, env={"XDG_CACHE_HOME": own}, timeout=300)
    assert digest(done) == filled[1]
    assert done.stderr.count("damaged") == 1
    assert path.stat().st_size


def test_a_folder_in_the_place_of_a_file(run, filled, own, tmp_path):
    """What cannot be deleted stays, and the kernel is compiled without a cache."""
    path = files(own, "*.nbi")[0]
    path.unlink()
    path.mkdir()
    done = run(*COMMAND, cwd=tmp_path, env={"XDG_CACHE_HOME": own}, timeout=300)
    assert digest(done) == filled[1]
    (line,) = [each for each in done.stderr.splitlines() if "cache" in each]
    assert "cannot be cached" in line


# A disk without room, for whoever may not mount one: every write of more than 100 bytes to the cache fails.
FULL_DISK = """
import builtins, errno, io, os, runpy, sys
place, real = os.environ["XDG_CACHE_HOME"], builtins.open

class Full(io.FileIO):
    def write(self, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

def opened(path, mode="r", *more, **named):
    full = str(path).startswith(place) and mode == "wb"
    return Full(path, mode) if full else real(path, mode, *more, **named)

builtins.open = opened
runpy.run_module("distcnn.train", run_name="__main__")
"""


def test_a_full_disk_costs_the_cache_alone(run, filled, tmp_path):
    command = "python", "-c", FULL_DISK, *COMMAND[3:]
    done = run(*command, cwd=tmp_path, env={"XDG_CACHE_HOME": tmp_path / "cache"}, timeout=300)
    assert digest(done) == filled[1]
    (line,) = [each for each in done.stderr.splitlines() if "cache" in each]
    assert str(tmp_path / "cache") in line
    assert "No space left" in line
    assert not files(tmp_path / "cache", "*.tmp.*")


def mounted(place, options):
    """Mount a small file system in memory; return whether that is allowed."""
    place.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    return not libc.mount(b"tmpfs", os.fsencode(place), b"tmpfs", 0, options)


def test_a_small_file_system(run, filled, tmp_path):
    place = tmp_path / "cache"
    if sys.platform != "linux" or not mounted(place, b"size=300k"):
        pytest.skip("mounting is not allowed")
    try:
        done = run(*COMMAND, cwd=tmp_path, env={"XDG_CACHE_HOME": place}, timeout=300)
    finally:
        ctypes.CDLL(None).umount(os.fsencode(place))
    assert digest(done) == filled[1]
    assert done.stderr.count("cannot be cached") == 1


def test_numba_does_not_cache_elsewhere(run, filled, own, tmp_path):
    """Numba's next choice is a folder with the sources, where a kernel's code does not depend on other files."""
    package = Path(kernel_cache.PACKAGE, "kernels", "__pycache__")
    before = files(package, "*.nb?")
    code = """
import runpy
from numba.core.caching import UserProvidedCacheLocator as Locator
Locator.from_function = classmethod(lambda *_: None)
runpy.run_module("distcnn.train", run_name="__main__")
"""
    command = "python", "-c", code, *COMMAND[3:]
    done = run(*command, cwd=tmp_path, env={"XDG_CACHE_HOME": own}, timeout=300)
    assert digest(done) == filled[1]
    assert done.stderr.count("cannot be cached") == 1
    assert files(package, "*.nb?") == before


# ---- kernels of a user's own file ----

OWN_KERNEL = """
import sys
import helper
import numpy as np
from distcnn.kernels.jit import NotCached, cached_only, kernel
from helper import half, OFFSET

TABLE = np.array([{table}])

@kernel("f8:1")
def shift(x):
    for k in range(x.size):
        x[k] = half(x[k]) + {addend} + OFFSET + TABLE[0] + helper.SCALE

if __name__ == "__main__":
    x = np.array([1.0])
    try:
        with cached_only():
            shift(x)
        print("cached", *x)
    except NotCached:
        shift(x)
        print("compiled", *x)
"""
HELPER = """
from numba import njit

OFFSET, SCALE = {offset}, {scale}

@njit
def half(x):
    return x / {divisor}
"""


def test_a_user_s_kernel_is_compiled_anew_when_a_file_changes(run, tmp_path):
    """Each version has a folder of its own, so that going back to one finds it."""

    def call(addend=10, divisor=2, offset=100, table=0, scale=0):
        values = {"divisor": divisor, "offset": offset, "scale": scale}
        Path(tmp_path, "own.py").write_text(OWN_KERNEL.format(addend=addend, table=table))
        Path(tmp_path, "helper.py").write_text(HELPER.format(**values))
        shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)  # of sources changed within a second
        done = run("python", "own.py", cwd=tmp_path, env={"XDG_CACHE_HOME": tmp_path / "cache"})
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert call() == "compiled 110.5"
    assert call() == "cached 110.5"
    assert call(addend=20) == "compiled 120.5"
    assert call() == "cached 110.5"
    assert call(addend=20) == "cached 120.5"
    assert call(divisor=4) == "compiled 110.25"
    assert call(offset=200) == "compiled 210.5"
    assert call(table=3) == "compiled 113.5"
    assert call(scale=7) == "compiled 117.5"
    assert call() == "cached 110.5"


def test_a_kernel_typed_at_a_prompt_is_not_cached(tmp_path):
    code = "from distcnn.kernels.jit import kernel\nkernel('f8:1')(lambda x: None).compiled\nprint('done')"
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable], input=code, env=env, text=True, capture_output=True, check=False)
    assert (done.stdout, done.stderr) == ("done\n", "")
    assert not files(tmp_path, "*.nb?")


def test_without_a_home(run, tmp_path):
    """A container may run a process whose user has no entry and no HOME."""
    code = """
import os, pathlib, runpy, sys
os.environ.pop("HOME", None)
def home(*_): raise RuntimeError("Could not determine home directory.")
pathlib.Path.home = home
from distcnn.system import cache_dir
print(cache_dir.folder("some"))
"""
    done = run("python", "-c", code, env={"XDG_CACHE_HOME": "", "NUMBA_CACHE_DIR": "", "TMPDIR": tmp_path})
    assert done.stdout.strip() == str(tmp_path / f"distcnn-{os.getuid()}" / "some"), done.stderr


def test_the_digest_is_that_of_this_process(filled):
    assert filled[1] == train_here(steps=STEPS)
