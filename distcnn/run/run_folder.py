"""The folder of a run: `find` decides where a run lives and what it goes on from, `create` makes the folder.

`find` writes nothing: all other checks come between the two, so that a mistake leaves nothing behind.
"""

import os
import re
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from distcnn.config.settings import NUMERICS, Config, resumed
from distcnn.config.toml import from_toml, to_toml
from distcnn.errors import CheckpointError, OutputError
from distcnn.run import checkpoint
from distcnn.run.state import State
from distcnn.system import job_status
from distcnn.system.atomic_files import write_whole

TRACES = ("config.toml", "metrics.jsonl", "checkpoints")


@dataclass(frozen=True)
class Run:
    """Where a run lives, its settings, and the state that it goes on from, or None to begin."""

    folder: Path
    config: Config
    state: State | None = None
    source: Path | None = None  # the checkpoint that holds the state
    begun: bool = False  # the folder holds this run already
    named: bool = True  # by the user; otherwise the next free number will do

    @property
    def checkpoints(self):
        return self.folder / "checkpoints"

    @property
    def metrics(self):
        return self.folder / "metrics.jsonl"

    @property
    def curves(self):
        return self.folder / "curves.png"


def find(request, warn):
    """Return the Run that a request means, its folder found writable; `warn` is told what was passed over.

    Raises OutputError for a folder that holds another run or cannot be written, CheckpointError for a
    checkpoint that cannot be used, ConfigError for a setting that may not differ from the run's.
    """
    asked = request.config
    if asked.resume == "never":
        run = _new(asked)
    elif asked.resume == "auto":
        run = _newest(request, warn)
    else:
        run = _from_file(request, Path(asked.resume))
    _require_writable(run)
    return run


def create(run, again=False):
    """Make the run's folders, write config.toml and return the Run, perhaps under a later number.

    again: it may be half made already, by a rank of this job that has died.
    """
    try:
        run = replace(run, folder=_made(run))
        # Of two jobs that begin in one folder, one fails here:
        run.checkpoints.mkdir(exist_ok=run.begun or again)
        checkpoint.set_aside(run.checkpoints, run.state.step if run.state else 0)
    except FileExistsError:
        raise _taken(run.folder) from None
    except OSError as error:
        raise _unwritable(run.folder, error) from None
    if run.state and not run.begun:  # so that what began elsewhere can be gone on with from here
        checkpoint.save(run.checkpoints / checkpoint.name(run.state.step), run.state)
    write_whole(run.folder / "config.toml", to_toml(run.config).encode())
    job_status.write(job_status.BEGUN)
    return run


@contextmanager
def reserved(run):
    """Make the folder of a Run beforehand and give its name; in the end it is removed again if it is still empty."""
    missing = [each for each in (run.folder, *run.folder.parents) if not os.path.lexists(each)]
    try:
        folder = _made(run)
    except OSError as error:
        raise _unwritable(run.folder, error) from None
    try:
        yield folder
    finally:
        with suppress(OSError):  # it holds a run now
            for each in [folder, *missing[1:]] if missing else []:
                each.rmdir()


def _new(config):
    """Return a run that begins in a folder without one."""
    config = _located(config)
    if config.out is None:
        return Run(next(_free(config)), config, named=False)
    if _holds_run(config.out):
        raise _taken(config.out)
    return Run(Path(config.out), config)


def _newest(request, warn):
    """Return the run in --out, or the latest of this name, at its newest good checkpoint."""
    folder = request.config.out or _latest(request.config)
    if folder is None or not _holds_run(folder):
        return _new(request.config)
    found = checkpoint.newest(Path(folder, "checkpoints"), warn)
    if found is None:
        warn(f"{folder}: no checkpoint to go on from, beginning again")
        return Run(Path(folder), _planned(request, Path(folder, "config.toml")), begun=True)
    path, state = found
    return Run(Path(folder), _config(request, state, path), state, path, begun=True)


def _from_file(request, path):
    """Return the run of a checkpoint, in its own folder unless it has none or --out names a new one."""
    state = checkpoint.load(path)
    config, home = _config(request, state, path), path.resolve().parent
    own = home.parent if home.name == "checkpoints" and _holds_run(home.parent) else None
    if own and (config.out is None or os.path.realpath(config.out) == str(own)):
        return Run(Path(config.out or own), config, state, path, begun=True)
    return replace(_new(config), state=state, source=path)


def _config(request, state, path):
    """Return the settings that a run goes on with from a checkpoint."""
    if state.numerics != NUMERICS:
        raise CheckpointError(
            f"{path}: numerics {state.numerics}, but this is numerics {NUMERICS}, which gives other bits; "
            f"use the version that wrote it, or begin anew"
        )
    return _located(resumed(request, from_toml(state.config_toml, path)))


def _planned(request, path):
    """Return the settings of a run that ended before its first checkpoint."""
    if not os.path.lexists(path):
        return _located(request.config)
    try:
        return _located(resumed(request, from_toml(path.read_text("utf-8"), path)))
    except (OSError, ValueError):
        raise OutputError(f"{path}: cannot be read; remove its folder, or choose another --out") from None


def _located(config):
    """Return the settings with a data path that holds in any working folder."""
    return replace(config, data=os.path.abspath(config.data)) if config.data else config


def _name(config):
    return f"{config.model}-{Path(config.data).stem if config.data else 'digits'}"


def _numbered(config):
    """Return (number, folder) of what exists under this name: runs/NAME is 1, runs/NAME-2 is 2, ..."""
    pattern = re.compile(re.escape(_name(config)) + r"(?:-([1-9]\d{0,8}))?")
    found = [(pattern.fullmatch(path.name), path) for path in Path("runs").glob("*")]
    return [(int(match[1] or 1), path) for match, path in found if match]


def _latest(config):
    """Return the folder of the last run under this name, or None."""
    return max(((number, path) for number, path in _numbered(config) if _holds_run(path)), default=(0, None))[
        1
    ]


def _free(config):
    """Yield the folders after the last that exists under this name, for ever."""
    last = max((number for number, _ in _numbered(config)), default=0)
    for number in count(last + 1):
        yield Path("runs", _name(config) + (f"-{number}" if number > 1 else ""))


def _made(run):
    """Make the run's folder and return it; a numbered one is made by us alone."""
    if run.named or run.begun:
        run.folder.mkdir(parents=True, exist_ok=True)
        return run.folder
    run.folder.parent.mkdir(parents=True, exist_ok=True)
    for folder in _free(run.config):
        try:
            folder.mkdir()
        except FileExistsError:  # another job was faster
            continue
        return folder


def _holds_run(folder):
    return any(os.path.lexists(Path(folder, trace)) for trace in TRACES)


def _require_writable(run):
    """Raise OutputError unless files can be made where the run's will be, found out without leaving any."""
    for folder in (run.folder, run.checkpoints):
        place = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
        try:
            with suppress(FileNotFoundError):
                os.lstat(folder)  # fails otherwise when the name is too long or a folder above it is closed
            with tempfile.TemporaryFile(dir=place):
                pass
        except OSError as error:
            raise _unwritable(folder, error) from None


def _taken(folder):
    return OutputError(f"{folder}: holds a run; go on with --resume auto, or choose another --out")


def _unwritable(folder, error):
    return OutputError(f"{folder}: cannot be written: {error.strerror}; choose another --out")
