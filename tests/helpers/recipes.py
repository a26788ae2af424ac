"""Options of trainings that together use every optimizer, schedule and option of the update."""

from tests.helpers.trainings import train_to, trainer_of

REGULARIZED = [
    "--weight-decay",
    "0.001",
    "--decay",
    "weights",
    "--clip-norm",
    "0.5",
    "--label-smoothing",
    "0.1",
]
RECIPES = {
    "nesterov": ["--optimizer", "nesterov", "--schedule", "polynomial", "--power", "0.9", *REGULARIZED],
    "adam": ["--optimizer", "adamw", "--learning-rate", "0.002", "--ema-decay", "0.8", *REGULARIZED],
    "lars": ["--optimizer", "lars", "--learning-rate", "3", "--schedule", "one-cycle", "--ema-decay", "0.9"],
    "steps": ["--schedule", "step", "--milestones", "1,2", "--clip-norm", "1", "--model", "mlp"],
}


def train(argv, comm, begin=None, steps=14):
    """Train from the beginning, or from a state, up to a step of the second epoch; return the training."""
    trainer = trainer_of(argv, comm)
    if begin:
        trainer.restore(begin, "here")
    return train_to(trainer, steps)


def bits(trainer):
    """Return the digest, and everything else that a replica holds."""
    return trainer.digest, [array.tobytes() for array in trainer.arrays]
