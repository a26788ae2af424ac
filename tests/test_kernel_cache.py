"""The cache of compiled kernels: damage and full disks cost time, never a run; its key covers users' own files."""

import ctypes
import os
import pickle
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from distcnn.kernels import kernel_cache
from distcnn.kernels.pointwise import pack
from distcnn.system import checked_file
from tests.helpers import jobs
from tests.helpers.compute import COMPUTE
from tests.helpers.digests import MLP, TRAIN, digest, train_here
from tests.programs import DAMAGED_KERNELS

DAMAGE = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "zeros": lambda content: bytes(len(content)),
    "random": lambda content: random.Random(1).randbytes(len(content)),
    "foreign": lambda content: b"\x80\x04\x8c\x08no_module\x8c\x01x\x93.",  # a pickle of what is not there
}


def files(place, pattern):
    return sorted(place.rglob(pattern))


@pytest.fixture
def compute(run, tmp_path):
    """Return a function that runs COMPUTE, with code before it; it returns (result, lines about the cache)."""

    def call(before="", cache=tmp_path / "cache"):
        done = run("python", "-c", before + COMPUTE, env={"XDG_CACHE_HOME": cache})
        assert done.returncode == 0, done.stderr
        return done.stdout, [line for line in done.stderr.splitlines() if "cache" in line]

    return call


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Return what COMPUTE prints, and the cache with its kernels, which are compiled once for all tests."""
    cache = tmp_path_factory.mktemp("compiled") / "cache"
    done = jobs.run("python", "-c", COMPUTE, env={"XDG_CACHE_HOME": cache})
    assert (done.returncode, done.stderr) == (0, ""), jobs.show(done)
    return done.stdout, cache


@pytest.fixture
def sound(compiled, tmp_path):
    """Put a sound cache in the place of `compute`'s; return what `compute` returns with it."""
    result, cache = compiled
    shutil.copytree(cache, tmp_path / "cache")
    return result, []


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Train without a cache; return the folder, which has the run and the cache that was made."""
    folder = tmp_path_factory.mktemp("trained")
    words = *TRAIN, *MLP, "--max-steps", 2, "--checkpoint-every", 1
    done = jobs.run(*words, cwd=folder, env={"XDG_CACHE_HOME": folder / "cache"})
    assert digest(done) == train_here(2, MLP)
    assert "damaged" not in done.stderr
    return folder


def test_what_is_compiled_is_cached(compute, sound, tmp_path):
    """As the other tests presume."""
    before = {path: path.stat().st_mtime_ns for path in files(tmp_path, "*.nb?")}
    assert compute() == sound
    assert {path: path.stat().st_mtime_ns for path in files(tmp_path, "*.nb?")} == before


def test_damaged_files_are_replaced(compute, sound, tmp_path):
    contents = {path: path.read_bytes() for path in files(tmp_path, "*.nb?")}
    assert len(contents) >= len(DAMAGE)
    for (path, content), how in zip(contents.items(), DAMAGE.values(), strict=False):
        path.write_bytes(how(content))
    result, (line,) = compute()
    assert result == sound[0]
    assert "damaged" in line
    assert str(tmp_path / "cache") in line
    assert compute() == sound
    assert not {path for path in contents if path.stat().st_size < 100}


@pytest.mark.parametrize("seed", range(3))
def test_a_flipped_bit_is_found(compute, sound, tmp_path, seed):
    """A bit in every file: each is found before the file is unpickled, and its kernel is compiled again."""
    paths, random_ = files(tmp_path, "*.nb?"), random.Random(seed)
    contents = {path: path.read_bytes() for path in paths}
    for path, content in contents.items():
        bit = random_.randrange(8 * len(content))
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
    result, (line,) = compute()
    assert result == sound[0]
    assert "its checksum does not match" in line
    assert files(tmp_path, "*.nb?") == paths
    assert compute() == sound


def test_two_kernels_of_one_function(tmp_path, capsys):
    """The name in the file's name is that of one of them; a damaged file of the other is replaced, too."""
    with kernel_cache.in_folder(str(tmp_path)):
        for kernel in [pack.__wrapped__(dtype) for dtype in ("uint8", "float32")]:
            assert kernel.compiled
        paths = files(tmp_path, "*.nbc")
        assert len(paths) == 2
        for path in paths:
            path.write_bytes(b"")
        for kernel in [pack.__wrapped__(dtype) for dtype in ("uint8", "float32")]:
            assert kernel.compiled
    assert all(map(checked_file.read, paths))
    assert "cannot be cached" not in capsys.readouterr().err


@pytest.mark.slow
def test_training_with_damaged_caches(run):
    """In short; `python -m tests.programs.damaged_kernels` tries two thousand."""
    done = run("python", DAMAGED_KERNELS, 30, "--seed", 7)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "30 caches of 14 files, 0 did harm" in done.stdout


def test_every_bit_counts(tmp_path):
    path, content = tmp_path / "file", bytes(range(40))
    checked_file.write(path, content)
    assert checked_file.read(path) == content
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        with pytest.raises(ValueError, match="checksum"):
            checked_file.read(path)
    for changed in (b"", whole[:20], whole[:-1], whole + b"0"):
        path.write_bytes(changed)
        with pytest.raises(ValueError, match="checksum"):
            checked_file.read(path)
    path.write_bytes(whole)
    path.rename(tmp_path / "other")
    with pytest.raises(ValueError, match="checksum"):  # of another name
        checked_file.read(tmp_path / "other")


@pytest.mark.parametrize("kind", ["pipe", "folder", "link"])
def test_what_is_no_file_is_not_read(tmp_path, kind):
    path = tmp_path / "file"
    checked_file.write(tmp_path / "other", b"content")
    {"pipe": os.mkfifo, "folder": os.mkdir, "link": lambda path: path.symlink_to("other")}[kind](path)
    with pytest.raises((ValueError, OSError)):
        checked_file.read(path)


class Payload:
    """What makes a folder where it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("unpickled",)


def test_nothing_is_unpickled_without_its_checksum(compute, sound, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in files(tmp_path, "*.nb?"):
        path.write_bytes(pickle.dumps(Payload()))
    assert compute()[0] == sound[0]
    assert not Path("unpickled").exists()


@pytest.mark.once
@pytest.mark.parametrize("ranks", [0, 2])
def test_verify_trusts_no_cache(run, mpirun, trained, tmp_path, ranks):
    """It neither reads nor changes the user's cache, and leaves no file."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    env = {"XDG_CACHE_HOME": tmp_path / "cache", "TMPDIR": tmp_path / "tmp"}
    (tmp_path / "tmp").mkdir()
    for path in files(tmp_path, "*.nb?"):
        path.write_bytes(b"")
    line = "python", "-m", "distcnn.verify", "run"
    done = mpirun(ranks, *line, cwd=tmp_path, env=env) if ranks else run(*line, cwd=tmp_path, env=env)
    assert digest(done) == train_here(2, MLP)
    assert "verified: " in done.stdout
    assert "cache" not in done.stderr
    assert not any(path.stat().st_size for path in files(tmp_path, "*.nb?"))
    assert not [*(tmp_path / "tmp").glob("distcnn-*")]


@pytest.mark.once
def test_one_rank_warns_of_a_damaged_file(mpirun, trained, tmp_path):
    """The one that has deleted it; of several files several ranks may warn."""
    shutil.copytree(trained / "cache", tmp_path / "cache")
    env = {"XDG_CACHE_HOME": tmp_path / "cache"}
    (path,) = files(tmp_path, "loss.softmax_cross_entropy-*.nbc")
    path.write_bytes(b"")
    done = mpirun(3, *TRAIN, *MLP, "--max-steps", 1, cwd=tmp_path, env=env)
    assert digest(done) == train_here(1, MLP)
    assert done.stderr.count("damaged") == 1
    assert all(path.stat().st_size for path in files(tmp_path, "*.nbc"))


def test_a_folder_in_the_place_of_a_file(compute, sound, tmp_path):
    """What cannot be deleted stays, and the kernel is compiled without a cache."""
    path = files(tmp_path, "*.nbc")[0]
    path.unlink()
    path.mkdir()
    result, lines = compute()
    assert result == sound[0]
    assert "cannot be cached" in lines[-1]


# A full disk for those who may not mount one: files of the cache can be opened, but not written to.
FULL_DISK = """
import builtins, errno, io, os
place, real = os.environ["XDG_CACHE_HOME"], builtins.open

class Full(io.FileIO):
    def write(self, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

def opened(path, mode="r", *more, **named):
    full = str(path).startswith(place) and mode == "xb"
    return Full(path, "xb") if full else real(path, mode, *more, **named)

builtins.open = opened
"""


def test_a_full_disk(compute, sound, tmp_path):
    result, (line,) = compute(FULL_DISK, cache=tmp_path / "full")
    assert result == sound[0]
    assert str(tmp_path / "full") in line
    assert "No space left" in line
    assert not files(tmp_path / "full", "*.tmp*")


def test_a_small_file_system(compute, sound, tmp_path):
    place = tmp_path / "small"
    place.mkdir()
    libc = ctypes.CDLL(None)
    if sys.platform != "linux" or libc.mount(b"tmpfs", os.fsencode(place), b"tmpfs", 0, b"size=20k"):
        pytest.skip("mounting is not allowed")
    try:
        result, (line,) = compute(cache=place)
    finally:
        libc.umount(os.fsencode(place))
    assert result == sound[0]
    assert "No space left" in line


def test_numba_does_not_cache_elsewhere(compute, sound):
    """Numba's next choice is a folder with the sources, where a kernel's code does not depend on other files."""
    package = Path(kernel_cache.PACKAGE, "kernels", "__pycache__")
    before = files(package, "*.nb?")
    result, (line,) = compute(
        """
from numba.core.caching import UserProvidedCacheLocator as Locator
Locator.from_function = classmethod(lambda *_: None)
"""
    )
    assert result == sound[0]
    assert "cannot be cached" in line
    assert files(package, "*.nb?") == before


def test_an_error_of_the_kernel_itself_is_raised(run, tmp_path):
    Path(tmp_path, "own.py").write_text(
        """
from distcnn.kernels.jit import kernel

@kernel("f8:1")
def wrong(x):
    x[0] = undefined

wrong.compiled
"""
    )
    done = run("python", "own.py", cwd=tmp_path, env={"XDG_CACHE_HOME": tmp_path / "cache"})
    assert done.returncode == 1
    assert "undefined" in done.stderr
    assert "distcnn: warning" not in done.stderr


# ---- the key ----


@pytest.fixture
def copied(tmp_path):
    """Copy distcnn elsewhere; return the folder that holds the copy."""
    leave_out = shutil.ignore_patterns("__pycache__")
    shutil.copytree(kernel_cache.PACKAGE, tmp_path / "elsewhere/distcnn", ignore=leave_out)
    return tmp_path / "elsewhere"


def test_a_copy_of_distcnn_uses_the_same_files(run, sound, copied, tmp_path):
    saved = files(tmp_path / "cache", "*.nb?")
    before = [path.stat().st_mtime_ns for path in saved]
    env = {"XDG_CACHE_HOME": tmp_path / "cache", "PYTHONPATH": copied}
    code = f"import distcnn\nassert distcnn.__file__.startswith({str(copied)!r})\n{COMPUTE}"
    done = run("python", "-c", code, env=env, cwd=copied)
    assert (done.stdout, done.stderr) == (sound[0], ""), jobs.show(done)
    assert files(tmp_path / "cache", "*.nb?") == saved
    assert [path.stat().st_mtime_ns for path in saved] == before


@pytest.mark.parametrize("name", ["kernels/matmul.py", "lanes/sums.py", "numerics/random.py"])
def test_a_copy_with_another_source_has_a_key_of_its_own(copied, monkeypatch, name):
    """Also if the same text stands in a file of another name."""

    def key():
        kernel_cache.sources.cache_clear()
        return kernel_cache._own_key.__wrapped__()

    monkeypatch.setattr(kernel_cache, "PACKAGE", copied / "distcnn")
    path = copied / "distcnn" / name
    try:
        keys = [key()]
        path.write_text(path.read_text() + "\n")
        keys.append(key())
        path.rename(path.with_name(f"z{path.name}"))
        keys.append(key())
    finally:
        monkeypatch.undo()
        assert key() == kernel_cache._own_key() == keys[0]
    assert len(set(keys)) == len(keys)


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


def test_a_file_that_changes_between_its_import_and_compiling(run, tmp_path):
    """The cached code is that of the version which was imported, and is not given to the other version."""
    source = "from distcnn.kernels.jit import kernel\n\n@kernel('f8:1')\ndef add(x):\n    x[0] += {}\n"
    Path(tmp_path, "own.py").write_text(source.format(1))
    code = "import own, pathlib, numpy; {}; x = numpy.zeros(1); own.add(x); print(*x)"
    rewrite = f"pathlib.Path('own.py').write_text({source.format(22)!r})"
    for change, result in ((rewrite, 1), ("", 22)):
        words = "python", "-c", code.format(change or "pass")
        done = run(*words, cwd=tmp_path, env={"XDG_CACHE_HOME": tmp_path / "cache"})
        assert done.stdout == f"{result:.1f}\n", done.stderr


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
