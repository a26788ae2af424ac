"""The folder of a run: `find` chooses the folder and the state to resume from, `create` makes the folder.

`find` writes nothing; all other checks come between the two, so that a user's mistake leaves nothing behind.
"""

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from distcnn.config.settings import Config, Request, resumed
from distcnn.config.toml import FILE_LIMIT, from_toml, to_toml
from distcnn.data.settings import first_file, with_absolute_paths
from distcnn.errors import CheckpointError, OutputError
from distcnn.numerics import NUMERICS
from distcnn.run import checkpoint
from distcnn.run.state import State
from distcnn.system import job_status
from distcnn.system.atomic_files import write_whole
from distcnn.system.regular_files import read_regular

TRACES = ("config.toml", "metrics.jsonl", "checkpoints")  # a folder that has any of these holds a run

Warn = Callable[[str], None]  # called with a message for the user


@dataclass(frozen=True)
class Run:
    """A run: its folder, its settings, and the state that it resumes from."""

    folder: Path
    config: Config
    state: State | None = None  # the state to resume from, or None for a new run
    source: Path | None = None  # the checkpoint that holds the state
    begun: bool = False  # whether the folder holds this run already
    named: bool = True  # whether the user chose the folder; otherwise `create` chooses the next free number

    @property
    def checkpoints(self) -> Path:
        """The path of the folder of checkpoints."""
        return self.folder / "checkpoints"

    @property
    def metrics(self) -> Path:
        """The path of the metrics file."""
        return self.folder / "metrics.jsonl"

    @property
    def curves(self) -> Path:
        """The path of the picture of the metrics."""
        return self.folder / "curves.png"


# ---- choosing the run ----


def find(request: Request, warn: Warn) -> Run:
    """Return the Run that a request asks for; write nothing.

    warn: called with a message for each bad checkpoint that is skipped.

    Raises OutputError if the folder holds another run or cannot be written, CheckpointError if the checkpoint cannot be
    used, and ConfigError if a setting differs from the run's but must not.
    """
    config = with_absolute_paths(request.config)
    request = replace(request, config=config)
    if config.resume == "never":
        run = _new_run(config)
    elif config.resume == "auto":
        run = _resumed_run(request, warn)
    else:
        run = _run_of_checkpoint(request, Path(config.resume))
    _require_writable(run)
    return run


def _new_run(config: Config) -> Run:
    """Return a new run, in a folder that holds no run."""
    if config.out is None:
        return Run(next(_free_folders(config)), config, named=False)
    if _holds_run(config.out):
        raise _occupied(config.out)
    return Run(Path(config.out), config)


def _resumed_run(request: Request, warn: Warn) -> Run:
    """Return the run in --out, or the latest run with this model and data, with its newest good checkpoint."""
    folder = request.config.out or _latest_folder(request.config)
    if folder is None or not _holds_run(folder):
        return _new_run(request.config)
    found = checkpoint.newest(Path(folder, "checkpoints"), warn)
    if found is None:
        warn(f"{folder}: no checkpoint to resume from, starting from the beginning")
        return Run(Path(folder), _config_of_file(request, Path(folder, "config.toml")), begun=True)
    path, state = found
    return Run(Path(folder), _config_of_state(request, state, path), state, path, begun=True)


def _run_of_checkpoint(request: Request, path: Path) -> Run:
    """Return the run to which a checkpoint belongs, or a new run if there is none or --out names another folder."""
    state = checkpoint.load(path)
    config, home = _config_of_state(request, state, path), path.resolve().parent
    own = home.parent if home.name == "checkpoints" and _holds_run(home.parent) else None
    if own and (config.out is None or os.path.realpath(config.out) == str(own)):
        return Run(Path(config.out or own), config, state, path, begun=True)
    return replace(_new_run(config), state=state, source=path)


def _config_of_state(request: Request, state: State, path: Path) -> Config:
    """Return the settings of a run that resumes from the state in the checkpoint at this path."""
    if state.numerics != NUMERICS:
        raise CheckpointError(
            f"{path}: numerics {state.numerics}, but this is numerics {NUMERICS}, which gives other bits; "
            f"use the version that wrote it, or start a new run"
        )
    return with_absolute_paths(resumed(request, from_toml(state.config_toml, path)))


def _config_of_file(request: Request, path: Path) -> Config:
    """Return the settings of a run that ended before its first checkpoint, from its config.toml at this path."""
    if not os.path.lexists(path):
        return request.config
    try:
        return with_absolute_paths(resumed(request, from_toml(read_regular(path, FILE_LIMIT).decode(), path)))
    except (OSError, ValueError):
        raise OutputError(f"{path}: cannot be read; remove its folder, or choose another --out") from None


# ---- making the folder ----


def create(run: Run, again: bool = False) -> Run:
    """Make the run's folders and write config.toml; return the Run, whose folder may have got another number.

    again: whether a rank of this job that has failed may have made the folders already.
    """
    try:
        run = replace(run, folder=_make_folder(run))
        # Of two jobs that begin in one folder, one fails here:
        run.checkpoints.mkdir(exist_ok=run.begun or again)
        checkpoint.set_aside(run.checkpoints, run.state.step if run.state else 0)
    except FileExistsError:
        raise _occupied(run.folder) from None
    except OSError as error:
        raise _unwritable(run.folder, error) from None
    if run.state and not run.begun:  # so that the run can be resumed from this folder
        checkpoint.save(run.checkpoints / checkpoint.name(run.state.step), run.state)
    write_whole(run.folder / "config.toml", to_toml(run.config).encode())
    job_status.write(job_status.BEGUN)
    return run


@contextmanager
def reserved(run: Run) -> Iterator[Path]:
    """Make the folder of a Run before its job starts, and yield it; after the block remove it if it is empty."""
    missing = [each for each in (run.folder, *run.folder.parents) if not os.path.lexists(each)]
    try:
        folder = _make_folder(run)
    except OSError as error:
        raise _unwritable(run.folder, error) from None
    try:
        yield folder
    finally:
        with suppress(OSError):  # not empty, as it holds a run now
            for each in [folder, *missing[1:]] if missing else []:
                each.rmdir()


def _make_folder(run: Run) -> Path:
    """Make the run's folder and return it; if the user has not named it, choose one that did not exist."""
    if run.named or run.begun:
        run.folder.mkdir(parents=True, exist_ok=True)
        return run.folder
    run.folder.parent.mkdir(parents=True, exist_ok=True)
    return next(folder for folder in _free_folders(run.config) if _is_made_here(folder))


def _is_made_here(folder: Path) -> bool:
    """Make a folder; return whether this job made it, rather than another one."""
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    return True


def _require_writable(run: Run) -> None:
    """Raise OutputError unless files can be written where the run's files will be; leave no file there."""
    for folder in (run.folder, run.checkpoints):
        place = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
        try:
            with suppress(FileNotFoundError):
                os.lstat(folder)  # another OSError: the name is too long, or a parent is not accessible
            with tempfile.TemporaryFile(dir=place):
                pass
        except OSError as error:
            raise _unwritable(folder, error) from None


# ---- names of folders: runs/MODEL-DATA, runs/MODEL-DATA-2, runs/MODEL-DATA-3, ... ----


def _name(config: Config) -> str:
    """Return the name of the first run's folder for this model and data."""
    return f"{config.model}-{Path(first_file(config) or 'digits').stem}"


def _numbered_folders(config: Config) -> list[tuple[int, Path]]:
    """Return (number, folder) of the existing folders for this model and data: runs/NAME is 1, runs/NAME-2 is 2, ..."""
    pattern = re.compile(re.escape(_name(config)) + r"(?:-([1-9]\d{0,8}))?")
    found = [(pattern.fullmatch(path.name), path) for path in Path("runs").glob("*")]
    return [(int(match[1] or 1), path) for match, path in found if match]


def _latest_folder(config: Config) -> Path | None:
    """Return the folder of the latest run with this model and data, or None."""
    runs = [(number, path) for number, path in _numbered_folders(config) if _holds_run(path)]
    return max(runs)[1] if runs else None


def _free_folders(config: Config) -> Iterator[Path]:
    """Yield the paths of folders, without end, after the last folder that exists for this model and data."""
    last = max((number for number, _ in _numbered_folders(config)), default=0)
    for number in count(last + 1):
        yield Path("runs", _name(config) + (f"-{number}" if number > 1 else ""))


def _holds_run(folder: str | Path) -> bool:
    """Return whether a folder holds a run."""
    return any(os.path.lexists(Path(folder, trace)) for trace in TRACES)


def _occupied(folder: str | Path) -> OutputError:
    """Return the exception for a folder that holds a run already."""
    return OutputError(f"{folder}: holds a run; continue it with --resume auto, or choose another --out")


def _unwritable(folder: str | Path, error: OSError) -> OutputError:
    """Return the exception for a folder that cannot be written."""
    return OutputError(f"{folder}: cannot be written: {error.strerror}; choose another --out")
