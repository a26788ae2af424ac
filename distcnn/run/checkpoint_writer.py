"""The checkpoints of a run, written by a thread beside training: what it has to wait for is a copy of the state."""

import threading
from collections import deque
from pathlib import Path

from distcnn.errors import OutputError
from distcnn.run import checkpoint


class CheckpointWriter:
    """Keeps the last `keep` checkpoints in a folder, and the best of those that came with a score.

    Whatever fails is a warning, to be fetched from `warnings`, and tried again with the next checkpoint; what was
    written before stays. best: (score, step) of an earlier call, or None.
    """

    def __init__(self, folder, keep, best=None):
        self.folder, self.keep, self.best = Path(folder), keep, best
        self.warnings = deque()
        self._waiting, self._unsaved, self._image = None, None, checkpoint.Image()
        self._closing, self._changed = False, threading.Condition()
        self._thread = threading.Thread(target=self._work, name="checkpoints", daemon=True)
        self._thread.start()

    def save(self, state, score=None):
        """Have a state written soon. One without a score that has waited so long is left out in its favour."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is None or self._waiting[1] is None)
            self._waiting = state, score
            self._changed.notify_all()

    def close(self):
        """Return None when all is written, or words on what is lost after a second try."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        if self._unsaved:
            self._write(*self._unsaved)
        if self._unsaved is None:
            return None
        return f"the state after step {self._unsaved[0].step} is lost, for it could not be saved"

    def _work(self):
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if self._waiting is None:
                    return
                state, score = self._waiting
                self._waiting = None
                self._changed.notify_all()
            self._write(state, score)

    def _write(self, state, score):
        """Save a state, then remove what is kept no longer."""
        self._unsaved = state, score
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            checkpoint.save(self.folder / checkpoint.name(state.step), state, self._image)
            self._unsaved = None
            if score is not None and (self.best is None or score > self.best[0]):
                self.best = score, state.step
            if self.best:
                checkpoint.mark_best(self.folder, self.best[1])
            checkpoint.prune(self.folder, self.keep, self.best and self.best[1])
        except (OutputError, OSError) as error:
            self.warnings.append(f"{error} (training goes on)")
        except Exception as error:  # of a thread nobody would hear
            self.warnings.append(f"no checkpoint of step {state.step}: {error!r} (training goes on)")
