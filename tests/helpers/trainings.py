"""Trainings in the process of a test, without the command around them."""

from distcnn.config.parser import parse
from distcnn.parallel.serial import SerialComm
from distcnn.training.setup import load_data
from distcnn.training.trainer import Trainer


def trainer_of(argv=(), comm=None):
    """Return a trainer with the options of a command line, on this process alone or on the ranks of `comm`."""
    config, comm = parse(argv, "test").config, comm or SerialComm()
    return Trainer(config, load_data(config, comm), comm)


def train_to(trainer, steps):
    """Train up to so many steps in total, which the epochs must have; return the trainer."""
    for blocks in trainer.remaining():
        trainer.step(blocks)
        if trainer.epoch_done:
            trainer.next_epoch()
        if trainer.steps == steps:
            return trainer
    raise AssertionError(f"the epochs end after {trainer.steps} steps; wanted: {steps}")
