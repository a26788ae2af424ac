"""Early stopping, also across stops and resumes; and all that fine-tuning has together, on any number of ranks."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from distcnn.run import checkpoint
from distcnn.run.training_progress import Best, TrainingProgress
from distcnn.training import early_stopping, initial_weights
from tests.helpers import datasets
from tests.helpers.digests import digest
from tests.helpers.trainings import train_to, trainer_of

# With a learning rate of 0 no epoch is better than the first. An epoch has three steps.
STILL = (
    "--data",
    "data.h5",
    "--model",
    "mlp",
    "--learning-rate",
    0,
    "--batch-size",
    3,
    "--validation-split",
    0.25,
)
STILL = "distcnn.train", *STILL, "--epochs", 9, "--patience", 2, "--out", "run", "--progress", "lines"


def epochs():
    return [json.loads(line)["epoch"] for line in Path("run/metrics.jsonl").read_text().splitlines()]


def test_training_stops_and_says_where_the_best_state_is(here):
    datasets.write("data.h5")
    done = here(*STILL)
    assert done.returncode == 0, done.stderr
    said = "stopped early after 3 epochs: epoch 1 had the best validation result, checkpoints/best.h5\n"
    assert said in done.stdout
    assert epochs() == [1, 2, 3]
    assert checkpoint.load("run/checkpoints/best.h5").epoch == 1
    evaluated = [
        here("distcnn.evaluate", *words, "--data", "data.h5").stdout for words in (["run"], ["run", "--best"])
    ]
    assert [text.partition(",")[0] for text in evaluated] == [
        "run/checkpoints/step-00000009.h5",
        "run/checkpoints/step-00000003.h5",
    ]
    again = here(*STILL, "--resume", "auto")
    assert again.returncode == 0
    assert digest(again) == digest(done)
    assert (
        "run is finished, as it has done 3 epochs; to train on, resume it with a higher --patience"
        in again.stderr
    )
    longer = here("distcnn.train", "--out", "run", "--resume", "auto", "--patience", 4)
    assert "stopped early after 5 epochs: epoch 1 had" in longer.stdout
    assert epochs() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("steps", [2, 3, 5, 6, 8])
def test_stops_and_resumes_change_nothing(here, steps):
    """In mid-epoch and between epochs: what was best and for how long is in the checkpoint."""
    datasets.write("data.h5")
    assert here(*STILL, "--max-steps", steps).returncode == 0
    done = here(*STILL, "--resume", "auto")
    assert "stopped early after 3 epochs: epoch 1 had" in done.stdout
    assert checkpoint.load("run/checkpoints/step-00000009.h5").best.epoch == 1


def test_best_is_of_runs_with_validation_images(here):
    assert here("distcnn.train", "--model", "mlp", "--max-steps", 1, "--out", "run").returncode == 0
    done = here("distcnn.evaluate", "run", "--best")
    assert done.returncode == 2
    remedy = "train with validation images (--validation-split), or leave --best out"
    assert done.stderr == f"distcnn: error: run: has no best checkpoint: {remedy}\n"
    done = here("distcnn.predict", "run/checkpoints/step-00000001.h5", "--best")
    assert "--best: run/checkpoints/step-00000001.h5 is not the folder of a run; leave the" in done.stderr


def test_it_needs_validation_images(here):
    done = here("distcnn.train", "--model", "mlp", "--patience", 3)
    assert done.returncode == 2
    remedy = "add --validation-split 0.1, or name them (--validation-images)"
    assert done.stderr == f"distcnn: error: --patience 3 needs validation images: {remedy}\n"
    done = here("distcnn.train", "--model", "mlp", "--patience", 1800)
    assert done.stderr.endswith("(--hang-timeout is for ranks that hang)\n")


@pytest.mark.parametrize("word", ["0", "-1", "1.5", "nan", "x"])
def test_wrong_numbers_are_refused(here, word):
    done = here("distcnn.train", f"--patience={word}")
    assert done.returncode == 2
    assert re.fullmatch(
        f"distcnn: error: --patience: .*{word}.* is not valid; wanted a whole .*\n", done.stderr
    )


def test_only_a_better_result_is_the_best():
    """An equal one, as after the repeated work of a recovery, is not."""
    progress = TrainingProgress(steps=5)
    for score, best in [
        (None, None),
        ((0.5, -1.0), Best(2, (0.5, -1.0))),
        ((0.5, -1.0), Best(2, (0.5, -1.0))),
        ((0.5, -0.9), Best(4, (0.5, -0.9))),
        ((0.4, -0.1), Best(4, (0.5, -0.9))),
        (None, Best(4, (0.5, -0.9))),
    ]:
        progress = progress.next_epoch(score)
        assert progress.best == best
    assert progress.epoch == 6
    found = [early_stopping.is_over(patience, progress) for patience in (None, 1, 2, 3)]
    assert found == [False, True, True, False]


# ---- all of it together ----

BATCH = [
    "--model",
    "mlp",
    "--batch-size",
    "64",
    "--validation-split",
    "0.2",
    "--patience",
    "5",
    "--ema-decay",
    "0.5",
]
TUNED = [*BATCH, "--class-weight", "balanced", "--freeze", "1.*", "--init-from", "start.h5"]
STEPS = 24  # of 19 an epoch


def alone(options):
    """Return the digest of the training in this process alone."""
    trainer = trainer_of(options)
    initial_weights.begin(trainer)
    before = trainer.net.parameters["1.weight"].copy()
    found = train_to(trainer, STEPS).digest
    np.testing.assert_array_equal(trainer.net.parameters["1.weight"], before)
    return found


@pytest.mark.once
@pytest.mark.mpi(timeout=120)
@pytest.mark.parametrize("mode", ["memory", "stream"])
def test_the_bits_are_the_same_on_any_number_of_ranks(comm, call, mode):
    """Class weights, frozen parameters and initial weights, stopped in between."""
    if comm.rank == 0:
        checkpoint.save("start.h5", trainer_of(["--model", "mlp", "--seed", "3"]).state())
    options = [*TUNED, "--data-mode", mode]
    run = "--out", "run", "--progress", "none"
    done = call("distcnn.train", *options, *run, "--max-steps", STEPS - 2)
    assert done.returncode == 0, done.stderr
    comm.Barrier()
    done = call("distcnn.train", *run, "--resume", "auto", "--max-steps", STEPS)
    assert digest(done) == alone(options)
