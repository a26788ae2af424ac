"""The context of a block: its samples and settings, which determine the random numbers of layers."""

import numpy as np

from distcnn.kernels.block_settings import EPOCH, SEED, TRAINING
from distcnn.lanes import LANES, aligned


class BlockContext:
    """The samples of a block, and the settings under which it is computed.

    samples: int64 [16], the index in the dataset of the sample in each lane.
    weights: float32 [16], 1 for each lane that holds a sample, 0 for an empty lane.
    settings: int64 [3], training (0 or 1), seed, epoch, in the form that kernels read. All blocks of a worker share it.
    """

    def __init__(self, seed: int) -> None:
        self.samples = np.zeros(LANES, np.int64)
        self.weights = aligned((LANES,))
        self.settings = np.array([0, seed % 2**63, 0], np.int64)

    @property
    def training(self) -> bool:
        """Whether layers such as Dropout behave as in training."""
        return bool(self.settings[TRAINING])

    @training.setter
    def training(self, training: bool) -> None:
        self.settings[TRAINING] = training

    @property
    def seed(self) -> int:
        """The seed of the net."""
        return int(self.settings[SEED])

    @property
    def epoch(self) -> int:
        """The epoch, from 0."""
        return int(self.settings[EPOCH])

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self.settings[EPOCH] = epoch

    def for_next_block(self) -> "BlockContext":
        """Return the context of another block, with separate samples and the same settings."""
        other = BlockContext(0)
        other.settings = self.settings
        return other
