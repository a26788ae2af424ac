"""The errors that distcnn raises, and the exit code that each kind has, the same for every command.

    DistcnnError                  1
    ├── UserError                 2   a mistake of the user: one line is printed, nothing is written
    │   ├── ConfigError               unknown option or key, value out of range
    │   ├── DataError                 a dataset that is missing, damaged or unsuitable
    │   ├── NetError                  layers and shapes that do not fit together
    │   ├── CheckpointError           a checkpoint that is missing, damaged or of another run
    │   ├── OutputError               a folder or file that cannot be written, or holds a run
    │   │   ├── DiskFull                  a file for which the disk or the quota has no room
    │   │   └── FolderInUse               a run's folder in which another job trains
    │   └── LaunchError               ranks, hosts or MPI libraries that do not fit the job
    ├── Diverged                  3   NaN or overflow: all ranks stop at the same step
    │   └── StepDiverged              the same, raised before the cause is known
    └── Stopped                   75  stopped on request after saving: start it again

Every message names, in one line, what was found, what was wanted and the remedy.
"""

from collections.abc import Sequence
from typing import ClassVar


class DistcnnError(Exception):
    """Base of all errors that distcnn raises on purpose.

    exit_code: the exit code of a command that ends with this error.
    collective_rank: if all ranks raise the error together, the rank on which it happened; None if only this rank does.
    is_remote: whether the error happened on another rank.
    """

    exit_code: ClassVar[int] = 1
    collective_rank: int | None = None
    is_remote = False


class UserError(DistcnnError):
    """A mistake of the user, which one rank reports in one line."""

    exit_code = 2


class ConfigError(UserError):
    """An unknown option or key, or a value out of range."""


class DataError(UserError):
    """A dataset that is missing, damaged or unsuitable."""


class NetError(UserError):
    """Layers and shapes that do not fit together."""


class CheckpointError(UserError):
    """A checkpoint that is missing, damaged or belongs to another run."""


class OutputError(UserError):
    """A folder or file that cannot be written, or that holds a run already."""


class DiskFull(OutputError):
    """A file for which the disk or the quota has no room."""


class FolderInUse(OutputError):
    """A run's folder in which another job trains."""


class LaunchError(UserError):
    """Ranks, hosts or MPI libraries that do not fit the job."""


class Diverged(DistcnnError):
    """A loss or gradient is NaN or has overflowed: all ranks stop at the same step, before its update."""

    exit_code = 3


LOWER_RATE = "try a lower learning rate (--learning-rate)"  # a remedy for divergence


class StepDiverged(Diverged):
    """A step has diverged, its update was not applied, and the cause is not known yet.

    step: the number of the step, from 1.
    blocks: this rank's part of the batch; `distcnn.resilience.diagnose` finds the cause from it.
    """

    def __init__(self, step: int, blocks: Sequence = ()):
        where = f"diverged at step {step}, whose update was not applied"
        super().__init__(f"{where}: a loss or gradient is NaN or beyond 2**27; {LOWER_RATE}")
        self.step, self.blocks = step, blocks


class Stopped(DistcnnError):
    """Training has stopped on request and has saved its state; the exit code is EX_TEMPFAIL: start it again."""

    exit_code = 75
