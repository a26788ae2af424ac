"""Measure compiled PyTorch in a separate process, because it sometimes corrupts memory or crashes.

    python benchmarks/peer_compiled.py step|prediction MODEL BATCH_SIZE

The process prints "ready" if its first result is the same as ours, or else why not. Then it reads lines from stdin, and
prints a time for each.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

from rounds import HERE


class Compiled:
    """The handle of such a process; arguments as on its command line.

    answer: the first line that the process prints, or "crashed".
    """

    def __init__(self, what: str, model: str, batch_size: int) -> None:
        words = [sys.executable, HERE / "peer_compiled.py", what, model, str(batch_size)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(words, text=True, **pipes)
        self.answer = self.process.stdout.readline().strip() or "crashed"

    def seconds(self) -> float:
        """Let the process measure, and return its time; infinity if it has crashed."""
        try:
            print(file=self.process.stdin, flush=True)
            return float(self.process.stdout.readline())
        except (OSError, ValueError):
            return float("inf")


def contender(what: str, model: str, batch_size: int) -> dict[str, Callable[[], float] | str]:
    """Return {name: a function that returns a time, or a text that says why there is none}."""
    made = Compiled(what, model, batch_size)
    return {"PyTorch compiled": made.seconds if made.answer == "ready" else made.answer}


def main(what: str, model: str, batch_size: int) -> None:
    """Compile the call, check its result, and measure it for each line on stdin; arguments as on the command line."""
    import peer_pytorch
    import work

    from distcnn.bench.measure import best

    if what == "step":
        trainer = work.training_on_noise(model, batch_size)
        images, normalized, labels = work.batch_of(trainer)
        call = peer_pytorch.compiled_step(trainer.net, normalized, labels)
        wanted = trainer.net.loss_and_gradients(images, labels)[0]
    else:
        net, images = work.prediction_of_noise(model, batch_size)
        call, wanted = peer_pytorch.compiled_prediction(net, images), net.predict(images)
    found = work.checked({"compiled": call}, wanted)["compiled"]
    print("ready" if found is call else found, flush=True)
    if found is call:
        for _ in range(3):
            call()
        for _ in sys.stdin:
            print(best(call), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
