"""The folder of a run: `find` chooses the folder and the state to resume from, `create` makes the folder.

`find` writes nothing; all other checks come between the two, so that a user's mistake leaves nothing behind. `find`
makes sure that no other job uses the folder, and `create` locks it, and fails if a job has trained there in between.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from distcnn.config import model_word
from distcnn.config.settings import Config, Request, option, resumed, validated
from distcnn.config.toml import FILE_LIMIT, from_toml, to_toml
from distcnn.data.settings import with_absolute_paths
from distcnn.errors import CheckpointError, ConfigError, OutputError
from distcnn.numerics import NUMERICS
from distcnn.run import checkpoint
from distcnn.run.folder_names import free_folders, holds_run, latest_folder
from distcnn.run.state import State
from distcnn.run.trained_data import with_data
from distcnn.system import job_status
from distcnn.system.atomic_files import remove_temporaries, write_whole
from distcnn.system.regular_files import TooLarge, read_regular

FILES = ("config.toml", "metrics.jsonl", "curves.png")  # that are replaced as a whole

Warn = Callable[[str], None]  # called with a message for the user
Guard = Callable[[Path], None]  # raises OutputError if another job uses the folder


@dataclass(frozen=True)
class Run:
    """A run: its folder, its settings, and the state that it resumes from."""

    folder: Path
    config: Config
    state: State | None = None  # the state to resume from, or None for a new run
    source: Path | None = None  # the checkpoint that holds the state
    begun: bool = False  # whether the folder holds this run already
    steps: frozenset[int] = frozenset()  # of the checkpoints that the folder holds
    named: bool = True  # whether the user chose the folder; otherwise `create` chooses the next free number
    written: bool = True  # whether there is a folder; otherwise nothing of the run is written

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

    @property
    def report(self) -> Path:
        """The path of the folder of the report on the test split."""
        return self.folder / "report"


# ---- choosing the run ----


def leave_unguarded(folder: Path) -> None:
    """Do nothing, as where nothing but this process writes."""


def find(request: Request, warn: Warn, require_free: Guard = leave_unguarded) -> Run:
    """Return the Run that a request asks for; write nothing.

    warn: called with a message for each bad checkpoint that is skipped.
    require_free: called with the folder that the run will have, if it exists, before anything in it is read.

    Raises OutputError if the folder holds another run or cannot be written, CheckpointError if the checkpoint cannot be
    used, and ConfigError if a setting differs from the run's but must not.
    """
    config = _with_places(request.config)
    request = replace(request, config=config)
    if config.resume == "never":
        run = _new_run(config, require_free)
    elif config.resume == "auto":
        run = _resumed_run(request, warn, require_free)
    else:
        run = _run_of_checkpoint(request, Path(config.resume), require_free)
    _require_writable(run)
    return run


def unwritten(request: Request) -> Run:
    """Return a new Run of which nothing will be written; raise ConfigError if it shall resume another run."""
    if request.config.resume != "never":
        raise ConfigError(f"resume {request.config.resume!r} needs the run's folder; name it by out")
    return Run(Path(os.devnull), _with_places(request.config), written=False)


def _with_places(config: Config) -> Config:
    """Return settings whose paths are valid in any working folder."""
    model = validated("model", model_word.parse(config.model).absolute, option("model"))
    path = config.init_from and validated("init_from", os.path.abspath(config.init_from), option("init_from"))
    return replace(with_absolute_paths(config), model=model, init_from=path)


def _new_run(config: Config, require_free: Guard) -> Run:
    """Return a new run, in a folder that holds no run."""
    if config.out is None:
        return Run(next(free_folders(config)), config, named=False)
    if os.path.isdir(config.out):
        require_free(Path(config.out))
    if holds_run(config.out):
        raise _occupied(config.out)
    return Run(Path(config.out), config)


def _resumed_run(request: Request, warn: Warn, require_free: Guard) -> Run:
    """Return the run in --out, or the latest run with this model and data, with its newest good checkpoint."""
    folder = request.config.out or latest_folder(request.config)
    if folder is None or not holds_run(folder):
        return _new_run(request.config, require_free)
    require_free(Path(folder))
    steps = checkpoint.steps(Path(folder, "checkpoints"))
    found = checkpoint.newest(Path(folder, "checkpoints"), warn)
    if found is None:
        warn(f"{folder}: no checkpoint to resume from, starting from the beginning")
        config = _config_of_file(request, Path(folder, "config.toml"))
        return Run(Path(folder), config, begun=True, steps=steps)
    path, state = found
    return Run(Path(folder), _config_of_state(request, state, path), state, path, begun=True, steps=steps)


def _run_of_checkpoint(request: Request, path: Path, require_free: Guard) -> Run:
    """Return the run to which a checkpoint belongs, or a new run if there is none or --out names another folder."""
    out, home = request.config.out, path.resolve().parent
    own = home.parent if home.name == "checkpoints" and holds_run(home.parent) else None
    if own and (out is None or os.path.realpath(out) == str(own)):
        folder = Path(out or own)
        require_free(folder)
        steps, state = checkpoint.steps(home), checkpoint.load(path)
        return Run(folder, _config_of_state(request, state, path), state, path, begun=True, steps=steps)
    state = checkpoint.load(path)
    return replace(_new_run(_config_of_state(request, state, path), require_free), state=state, source=path)


def _config_of_state(request: Request, state: State, path: Path) -> Config:
    """Return the settings of a run that resumes from the state in the checkpoint at this path."""
    if state.numerics != NUMERICS:
        raise CheckpointError(
            f"{path}: numerics {state.numerics}, but this is numerics {NUMERICS}, which gives other bits; "
            f"use the version that wrote it, or start a new run in another folder (--out)"
        )
    return _resumed_config(request, state.config_toml, path)


def _config_of_file(request: Request, path: Path) -> Config:
    """Return the settings of a run that ended before its first checkpoint, from its config.toml at this path."""
    if not os.path.lexists(path):
        return request.config
    try:
        text = read_regular(path, FILE_LIMIT).decode()
    except (OSError, ValueError):
        remedy = "remove its folder, or choose another one (--out)"
        raise OutputError(f"{path}: cannot be read; {remedy}") from None
    return _resumed_config(request, text, path)


def _resumed_config(request: Request, text: str, path: Path) -> Config:
    """Return the settings of a resumed run from the TOML that the file at this path holds."""
    config = resumed(request, from_toml(text, path))
    return with_absolute_paths(with_data(config, request.config.data, path))


# ---- making the folder ----


def create(run: Run, network: str, again: bool = False, hold: Guard = leave_unguarded) -> Run:
    """Make the run's folders, config.toml and network.txt; return the Run, whose folder may have got another number.

    network: the run's network in the notation of networks.
    again: whether a rank of this job that has failed may have made the folders already.
    hold: locks the run's folder, before anything is written there.
    """
    try:
        run = replace(run, folder=_make_folder(run))
        hold(run.folder)
        _require_unchanged(run)
        remove_temporaries(run.folder, FILES)
        # Of two jobs that begin in one folder, one fails here:
        run.checkpoints.mkdir(exist_ok=run.begun or again)
        checkpoint.set_aside(run.checkpoints, run.state.step if run.state else 0)
    except FileExistsError:
        raise _occupied(run.folder) from None
    except OSError as error:
        raise _unwritable(run.folder, error) from None
    if run.state and not run.begun:  # so that the run can be resumed from this folder
        checkpoint.save(run.checkpoints / checkpoint.name(run.state.step), run.state)
    _write_config(run)
    write_whole(run.folder / "network.txt", network.encode())
    job_status.write(job_status.BEGUN)
    return run


def _require_unchanged(run: Run) -> None:
    """Raise OutputError if another job has trained in a run's folder since `find` has looked there."""
    if run.begun and checkpoint.steps(run.checkpoints) != run.steps:
        raise OutputError(f"{run.folder}: another job has trained there just now; start again")


def _write_config(run: Run) -> None:
    """Write config.toml unless it is as it should be, so that a run whose disk is full can be resumed."""
    path, content = run.folder / "config.toml", to_toml(run.config).encode()
    with suppress(OSError, TooLarge):
        if read_regular(path, FILE_LIMIT) == content:
            return
    write_whole(path, content)


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
    return next(folder for folder in free_folders(run.config) if _is_made_here(folder))


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


def _occupied(folder: str | Path) -> OutputError:
    """Return the exception for a folder that holds a run already."""
    remedy = "continue it with --resume auto, or choose another folder (--out)"
    return OutputError(f"{folder}: holds a run; {remedy}")


def _unwritable(folder: str | Path, error: OSError) -> OutputError:
    """Return the exception for a folder that cannot be written."""
    return OutputError(f"{folder}: cannot be written: {error.strerror}; choose another folder (--out)")
