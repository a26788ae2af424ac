"""PyTorch compiled, in a process of its own: seen to corrupt memory and to crash, which must not touch the others.

    python benchmarks/peer_compiled.py step|prediction MODEL BATCH_SIZE

Says "ready" when its first result is ours, else why not; then gives a time for each line that it is sent.
"""

import subprocess
import sys

from rounds import HERE


class Compiled:
    """The other side of that process; `seconds` is what it measures next, infinity once it has crashed."""

    def __init__(self, what, model, batch_size):
        words = [sys.executable, HERE / "peer_compiled.py", what, model, str(batch_size)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(words, text=True, **pipes)
        self.answer = self.process.stdout.readline().strip() or "crashed"

    def seconds(self):
        try:
            print(file=self.process.stdin, flush=True)
            return float(self.process.stdout.readline())
        except (OSError, ValueError):
            return float("inf")


def contender(what, model, batch_size):
    """Return {name: function that gives a time, or why there is none}."""
    made = Compiled(what, model, batch_size)
    return {"PyTorch compiled": made.seconds if made.answer == "ready" else made.answer}


def main(what, model, batch_size):
    """Make the call, check it, and measure it when asked."""
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
