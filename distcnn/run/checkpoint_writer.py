"""A thread that writes checkpoints, so that training only has to copy its state and does not wait for the disk."""

import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

from distcnn.errors import OutputError
from distcnn.run import checkpoint, checkpoint_room
from distcnn.run.hdf5_image import Image
from distcnn.run.state import State
from distcnn.run.training_progress import Score

CONTINUES = "(training continues)"


class CheckpointWriter:
    """Writes checkpoints to a folder and removes old ones; the checkpoint with the best score always stays.

    If a checkpoint cannot be written, a message is appended to `warnings`, and the next checkpoint is tried as usual.

    folder: is made if it is missing.
    last: how many of the newest checkpoints stay.
    best: (score, step) of the best checkpoint that is already in the folder, or None.
    may_write: returns whether this job may still write to the folder.
    warnings: messages that the caller has to show and to remove.
    """

    def __init__(
        self,
        folder: str | Path,
        last: int,
        best: tuple[Score, int] | None = None,
        may_write: Callable[[], bool] = lambda: True,
    ) -> None:
        self.folder, self.last, self.best, self._may_write = Path(folder), last, best, may_write
        self.warnings: deque[str] = deque()  # the thread appends, the caller pops
        self._image = Image()
        self._told = False  # whether the user knows that older checkpoints give way to newer ones
        self._unsaved: tuple[State, Score | None] | None = None  # taken from the queue and not yet on disk
        self._queue_changed = threading.Condition()  # guards _pending and _closing
        self._pending: tuple[State, Score | None] | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="checkpoints", daemon=True)
        self._thread.start()

    def save(self, state: State, score: Score | None = None) -> None:
        """Queue a checkpoint; it replaces a pending one that has no score, and waits for a pending one that has."""
        with self._queue_changed:
            self._queue_changed.wait_for(lambda: self._pending is None or self._pending[1] is None)
            self._pending = state, score
            self._queue_changed.notify_all()

    def close(self) -> str | None:
        """Write the pending checkpoint, then end the thread; return None, or a message if the last state is not saved.

        If the last checkpoint could not be written, this tries once more.
        """
        with self._queue_changed:
            self._closing = True
            self._queue_changed.notify_all()
        self._thread.join()
        if self._unsaved:
            self._write(*self._unsaved, True)
        if self._unsaved is None:
            return None
        return f"the state after step {self._unsaved[0].step} is lost, because it could not be saved"

    def _work(self) -> None:
        """Write pending checkpoints until the writer is closed and none is left."""
        while True:
            with self._queue_changed:
                self._queue_changed.wait_for(lambda: self._pending or self._closing)
                if self._pending is None:
                    return
                state, score = self._pending
                self._pending, last = None, self._closing
                self._queue_changed.notify_all()
            self._write(state, score, last)

    def _write(self, state: State, score: Score | None, last: bool) -> None:
        """Save a state, then remove old checkpoints; any failure becomes a warning.

        last: whether there will be no later state.
        """
        self._unsaved = state, score
        if not self._may_write():
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            path, best = self.folder / checkpoint.name(state.step), self.best and self.best[1]
            gone = checkpoint_room.save(path, state, self._image, best, last)
            self._unsaved = None
            self._tell(gone, path)
            if self._may_write():  # still: this process may have been stopped meanwhile
                self._remove_old(state.step, score)
        except (OutputError, OSError) as error:
            self.warnings.append(f"{error} {CONTINUES}")
        except Exception as error:  # an exception of this thread would be invisible
            self.warnings.append(f"no checkpoint of step {state.step}: {error!r} {CONTINUES}")

    def _remove_old(self, step: int, score: Score | None) -> None:
        """Mark the best checkpoint and remove old ones; step, score: of the one that was just written."""
        if score is not None and (self.best is None or score > self.best[0]):
            self.best = score, step
        best_step = self.best[1] if self.best else None
        if best_step is not None:
            checkpoint.mark_best(self.folder, best_step)
        checkpoint.prune(self.folder, self.last, best_step)

    def _tell(self, gone: list[str], path: Path) -> None:
        """Append a warning when the first checkpoints have given way to another on a full disk."""
        if gone and not self._told:
            have = "has" if len(gone) == 1 else "have"
            what = f"{checkpoint_room.names(gone)} {have} given way to {path.name}"
            self.warnings.append(f"{path.parent}: the disk is full: {what}, as older ones will from now on")
            self._told = True
